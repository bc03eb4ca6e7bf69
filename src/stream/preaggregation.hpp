// A large statement's rows are aggregated where they are written: groups go to the spool, not rows.
//
// Owns: the runs of all views of one stream, for one statement. May call: partial, spool,
// view/catalog. Invariants: all views of the stream are served, or none; a view that is created
// while it lives does not count the transaction (spool/view_lock); a block of rows is taken whole
// or not at all, and what was taken is written by write_groups() in the same statement.
#pragma once

#include "pg/postgres.hpp"

#include "partial/datum_block.hpp"
#include "spool/writer.hpp"

namespace pipeline::stream {

struct Preaggregation;

/// nullptr if the stream has no view, if some view is not served (joins, functions of users, an
/// aggregate that partial/vector does not know), or somebody creates or drops one now.
/// It lives in `context`.
Preaggregation *begin_preaggregation(Relation stream, MemoryContext context);

/// Takes the rows of a block. False, with nothing taken, if a row has an error or a
/// value that may overflow: the fold worker has to see these rows.
bool take_rows(Preaggregation *preaggregation, const partial::DatumBlock &rows);

enum class Advice {
    kGoOn,
    kWrite, ///< memory is used up: write_groups(), then go on
    kStop   ///< it does not pay, or the views are not those of the beginning
};
Advice advice(const Preaggregation *preaggregation);

/// Writes all groups to the spool and forgets them.
void write_groups(Preaggregation *preaggregation, spool::StatementWriter *writer);

void end_preaggregation(Preaggregation *preaggregation);

} // namespace pipeline::stream
