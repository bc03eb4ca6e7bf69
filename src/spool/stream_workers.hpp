// Which fold workers fold a stream: what a writer has to know in order to wake the right ones.
//
// Owns: a cache per backend, dropped by the relcache message of any change of pipelinedb.query.
// May call: pg/, view/catalog, rendezvous. Invariant: an answer is right as of its epoch
// (assignment_epoch()), which the caller compares after his commit.
#pragma once

#include "spool/rendezvous.hpp"

namespace pipeline::spool {

/// Those that have a view of `stream`; worker 0, which tends the spool, if there is none.
Concerned workers_of_stream(Oid stream);

/// Those that have any view, and worker 0.
Concerned all_folding_workers();

/// Another value than before: a message about pipelinedb.query has been received.
uint64 count_catalog_changes();

} // namespace pipeline::spool
