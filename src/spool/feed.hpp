// What a scan of a stream returns at this moment: the chunks of the running tick.
//
// Owns: the per-process pointer to the feed. The fold sets it around planning and running a
// query; the stream's scan callbacks read it. Without a feed, a scan of a stream is refused.
// May call: chunk. Invariant: a feed outlives the executor run that reads it.
#pragma once

#include "pg/postgres.hpp"

#include "spool/chunk.hpp"

namespace pipeline::spool {

struct Feed {
    Oid stream = InvalidOid;
    int nchunks = 0;
    const Chunk **chunks = nullptr;
    double rows = 0; ///< how many rows they hold: the planner's estimate, too
};

/// The feed of this process; nullptr outside the fold.
const Feed *current_feed();

/// Sets it; returns the former one, which the caller restores. After an ERROR the fold worker
/// calls set_feed(nullptr).
const Feed *set_feed(const Feed *feed);

} // namespace pipeline::spool
