// Between writers that aggregate and those who create views of the same stream.
//
// Owns: the stream's gate and the marks of writers (both locks of the server's). May call: pg/.
// Invariant: a writer that leaves groups in the spool instead of rows has passed the gate, and is
// marked to its end. So who has closed the gate and reads the marks, then takes a snapshot, knows
// every transaction whose groups it cannot know: it is marked, or visible. Writers never wait.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::spool {

struct Transactions {
    int count;
    uint64 *xids;
};

/// For a writer, before it looks which views there are: marks its transaction to its end, or to
/// the rollback of the subtransaction. False if somebody creates a view of the stream.
bool begin_aggregating(Oid stream);

/// Takes the last begin_aggregating() back: nothing came of it.
void cancel_aggregating(Oid stream);

/// For who creates a view, to the end of the transaction: no other transaction begins to
/// aggregate. Waits only for writers that are just passing the gate.
void close_gate(Oid stream);

/// The other transactions that aggregate rows of one of the streams, or have done so and not
/// ended, prepared ones included; in CurrentMemoryContext. Of use behind closed gates, and before
/// the snapshot: who has ended meanwhile is visible there.
Transactions aggregating_writers(const Oid *streams, int nstreams);

/// As close_gate(), and waits for the end of those writers: a seam that every row of theirs is
/// before. Comes before the snapshot.
void lock_views_of(Oid stream);

} // namespace pipeline::spool
