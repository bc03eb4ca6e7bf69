// Which rows of a source are history: those that were committed before the seam.
//
// Owns: the test that the statements of a backfill call for each row (pipelinedb.backfill_takes).
// May call: pg/, spool/progress, view/backfill_job. Invariants: what a row says of itself (xmin) is
// compared with the seam's set; whoever committed later has written his rows to the stream, too.
#pragma once

#include "view/backfill_job.hpp"

namespace pipeline::backfill {

/// The test is for the rows of one statement of this job, until the end of the (sub)transaction at
/// the latest.
void begin_history(const view::BackfillJob *job);

/// Returns how many rows it met that had been updated after the seam.
int64 end_history();

} // namespace pipeline::backfill
