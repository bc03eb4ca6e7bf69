// The rows of a windowed view at a chosen edge and as a chosen command of this transaction sees
// them.
//
// Owns: the view's own query, with the clock replaced by the edge. May call: pg/, partial, view.
// Invariant: with the edge and the command of an earlier moment, it returns what readers saw then.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::fold {

struct WindowRows {
    AttrNumber time_column; ///< of the matrel
    TimestampTz after;      ///< rows later than this ...
    TimestampTz until;      ///< ... up to this are looked at
    CommandId command;      ///< and what commands before this one have written
    const int *hashed;      ///< key columns of the matrel, from 0
    int nhashed;
    const int32 *groups; ///< only groups of these hashes; all, if no column is hashed
    uint32 ngroups;
};

using RowChangeReceiver = void (*)(NullableDatum before, NullableDatum now, void *arg);

/// Calls `receive` for each group that is in one of the two; datums of the view's row type live
/// during the call.
void compare_windows(Relation view, const WindowRows &before, const WindowRows &now,
                     RowChangeReceiver receive, void *arg);

/// Of a view that keeps rows as they are: each row, as one that was there and is not any more.
void read_leaving_rows(Relation view, const WindowRows &rows, RowChangeReceiver receive, void *arg);

} // namespace pipeline::fold
