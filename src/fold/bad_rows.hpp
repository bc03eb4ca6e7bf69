// The rows that make a view's query fail are found and rejected; all others are folded.
//
// Owns: the search. May call: view_machine, group_writer, row_record, partial, spool/feed.
// Invariants: each row of the feed is folded or counted as rejected, or an ERROR is raised and
// nothing is; what only tries whether rows can be folded is rolled back and costs no xid.
#pragma once

#include "fold/fold_state.hpp"
#include "pg/guard.hpp"

namespace pipeline::fold {

/// SQLSTATE classes 21, 22, 23, 38, 39 and P0. A unique violation in the table of the view is
/// none: somebody has inserted the same group by hand, and the next try finds it.
bool is_row_fault(const pg::Failure &failure, Oid matrel);

/// What became of a search; the caller keeps it, as an ERROR may end the search.
struct BadRows {
    int64 rejected;
    int sqlstate; ///< of the last one
    const char *message;
    bool gave_up; ///< the ERROR means: too much for one turn, take a smaller piece
    double done;  ///< and so much of it was looked through
};

/// Folds `feed` into the view but for the rows that fail, which go to pipelinedb.errors. In a
/// subtransaction, as the owner and with the settings of the view; the feed must be set. An
/// ERROR of a row's class is none of a row: the query fails whatever the rows are. The search
/// may give up if the feed can become `smaller`.
void fold_but_bad_rows(FoldedView *view, Relation definition, Relation matrel,
                       const spool::Feed &feed, bool smaller, BadRows *result);

} // namespace pipeline::fold
