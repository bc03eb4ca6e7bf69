// What a session has to know of the catalog with each statement: which fold workers fold a
// stream, in order to wake the right ones, and which relations belong to views.
//
// Owns: a cache per backend, dropped by the relcache message of any change of pipelinedb.query.
// May call: pg/, view/catalog, rendezvous. Invariant: an answer is right as of its epoch
// (assignment_epoch()), which the caller compares after his commit.
#pragma once

#include "spool/rendezvous.hpp"

namespace pipeline::spool {

/// Those that have a view of `stream`; worker 0, which tends the spool, if there is none.
Concerned workers_of_stream(Oid stream);

/// Is it a continuous view, the table behind one or a definition? To be asked when the relation
/// is locked: whoever makes it one sends a message before that lock can be had.
bool is_of_view(Oid relation);

/// Those that have any view, and worker 0.
Concerned all_folding_workers();

/// Another value than before: a message about pipelinedb.query has been received.
uint64 count_catalog_changes();

} // namespace pipeline::spool
