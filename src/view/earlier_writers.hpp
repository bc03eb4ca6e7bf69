// Writers that had aggregated rows when a view was created: the view does not count them.
//
// Owns: access to pipelinedb.earlier_writer. May call: pg/, spool/view_lock, view/catalog.
// Invariant: a row is written behind the closed gate of the view's stream, before the snapshot
// with which the view starts. It stands apart from the progress, as that is shared with views that
// count the transaction. Only DROP VIEW and a new start delete it.
#pragma once

#include "pg/postgres.hpp"

#include "spool/view_lock.hpp"

namespace pipeline::view {

struct EarlierWriter {
    Oid view;
    uint64 xid;
};

/// Replaces those of the view.
void store_earlier_writers(Oid view, const spool::Transactions &writers);

/// All of them as a List of EarlierWriter *, as `snapshot` sees them.
List *list_earlier_writers(Snapshot snapshot);

/// Waits until those of the view that are still running have ended.
void wait_for_earlier_writers(Oid view);

void delete_earlier_writers(Oid view);

} // namespace pipeline::view
