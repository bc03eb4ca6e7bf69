// What a scan of a stream returns at this moment: the chunks of the running tick.
//
// Owns: the per-process pointer to the feed. The fold sets it around planning and running a
// query; the stream's scan callbacks read it. Without a feed, a scan of a stream is refused.
// May call: chunk. Invariant: a feed outlives the executor run that reads it.
#pragma once

#include "pg/postgres.hpp"

#include "spool/chunk.hpp"

namespace pipeline::spool {

/// Where the scan of a feed stands, for the search for bad rows: the row at which an error is
/// raised is most often the one that was handed out last.
struct FeedTrace {
    uint64 last = 0;    ///< number of that row
    uint64 count = 0;   ///< how many rows were handed out
    bool ended = false; ///< the scan at hand knows that there are no more
};

/// The chunks of one stream lie side by side, so that a scan knows where to look, and rows are
/// handed out in the order of their numbers (UNION ALL runs one branch after the other).
struct StreamChunks {
    Oid stream;
    int begin;
    int end;
    uint64 first; ///< number of the first row
};

struct Feed {
    int nstreams = 0;
    const StreamChunks *streams = nullptr;
    int nchunks = 0;
    const Chunk **chunks = nullptr;
    double rows = 0; ///< how many rows they hold: the planner's estimate, too
    int npartials = 0;
    const Chunk **partials = nullptr; ///< states of the view's groups, from writers

    // A part of the rows. They are numbered from 0 through all chunks.
    int first_chunk = 0;          ///< a scan begins at this row of this chunk, ...
    uint32 first_row = 0;         //
    uint64 first = 0;             ///< ... which has this number, ...
    uint64 end = UINT64_MAX;      ///< ... and ends before this one
    const uint64 *skip = nullptr; ///< one bit per row: those that are left out
    FeedTrace *trace = nullptr;
};

/// nullptr: no rows of this stream are fed, and nobody may scan it.
inline const StreamChunks *find_stream(const Feed *feed, Oid stream)
{
    for (int i = 0; feed != nullptr && i < feed->nstreams; i++)
        if (feed->streams[i].stream == stream)
            return &feed->streams[i];
    return nullptr;
}

/// InvalidOid if there are several.
inline Oid only_stream(const Feed &feed)
{
    return feed.nstreams == 1 ? feed.streams[0].stream : InvalidOid;
}

/// True unless only a part of the rows is meant, or somebody follows the scan.
inline bool is_whole(const Feed &feed)
{
    return feed.first == 0 && feed.end == UINT64_MAX && feed.skip == nullptr &&
           feed.trace == nullptr;
}

inline bool is_skipped(const uint64 *skip, uint64 row)
{
    return skip != nullptr && (skip[row / 64] >> (row % 64) & 1) != 0;
}

/// The column of a chunk that holds an attribute of the stream, -1 if the chunk has none. A chunk
/// keeps the type of each column as it was written. ALTER COLUMN TYPE is refused on streams, so
/// another type means a chunk that must not be decoded: ERRCODE_DATATYPE_MISMATCH.
int find_column(const Chunk &chunk, const FormData_pg_attribute *attribute);

/// The feed of this process; nullptr outside the fold.
const Feed *current_feed();

/// Sets it; returns the former one, which the caller restores. After an ERROR the fold worker
/// calls set_feed(nullptr).
const Feed *set_feed(const Feed *feed);

} // namespace pipeline::spool
