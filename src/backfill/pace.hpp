// How fast a backfill goes: the size of its pieces, and when it waits for the fold worker.
//
// Owns: nothing shared. May call: pg/, spool, view/catalog. Invariants: no snapshot is held while
// it waits, and waits can be cancelled; a backfill never fills more than half of the spool.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::backfill {

struct Pace {
    int64 blocks;           ///< of the next piece
    FullTransactionId last; ///< the piece that was committed last ...
    FullTransactionId last_but_one;
    TimestampTz begun; ///< the piece at hand
    uint64 bytes;      ///< spool::written_bytes() then
};

Pace first_pace();

void begin_piece(Pace *pace);

/// After a piece, before its commit.
void end_piece(Pace *pace);

/// Between two pieces, in a transaction without a snapshot.
void wait_for_room(const Pace &pace, Oid view);

/// Waits until the last piece is in the view, if that is being folded.
void wait_until_folded(const Pace &pace, Oid view);

} // namespace pipeline::backfill
