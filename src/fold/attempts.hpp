// Rows that crash the server: after a crash, attempts to fold are marked before they are made.
//
// Owns: when pipelinedb.attempt is written, and what follows from it. May call: view/catalog,
// spool/progress, fold_state, setback. Invariants: a mark is on disk before the attempt; it goes
// in the transaction that ends the attempt; a server that ends as it should writes none.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

/// The start of the worker.
void begin_attempts();

/// True if `consumer` must not be folded before mark_attempt().
bool wants_mark(const Consumer *consumer);

/// In a transaction of its own: marks the next attempt of the consumer. If it is the third in a
/// row, its views leave the shared consumer; if a view alone has come to the third and crashed
/// the server again, it is stopped instead.
void mark_attempt(Oid consumer);

/// In the tick: the attempt has not crashed.
void end_attempt(const Consumer *consumer);

/// After its commit. One that has not `folded` (a lock was held, its piece was too large) is
/// made again, under the same number.
void attempt_ended(Consumer *consumer, bool folded);

/// The tick failed: the mark stays until the next attempt of this start.
void forget_attempt();

/// After a round in which nothing was left to do: from here on a crash would be a new one.
void end_attempts();

} // namespace pipeline::fold
