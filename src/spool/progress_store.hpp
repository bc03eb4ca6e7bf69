// Reading and writing rows of pipelinedb.progress (fold worker only).
//
// Invariant: replace() changes the row only if it is the version that was read; otherwise it
// raises ERRCODE_T_R_SERIALIZATION_FAILURE, and the tick starts again from what is stored.
#pragma once

#include "spool/progress.hpp"

namespace pipeline::spool {

struct StoredProgress {
    Oid consumer;
    Progress progress;
    TransactionId version; ///< xmin of the row version that was read or written last
};

/// All rows as `snapshot` sees them, as a List of StoredProgress *.
List *list_progress(Snapshot snapshot);

/// Replaces the row if its version is `version`; returns the new version.
TransactionId replace_progress(Oid consumer, TransactionId version, const Progress &progress);

/// Deletes the row if its version is `version`; false if it is not, or another transaction has
/// changed it and not ended. Nobody is waited for.
bool remove_progress(Oid consumer, TransactionId version);

/// Adds the row of a consumer that begins where another stood.
TransactionId add_progress(Oid consumer, const Progress &progress);

} // namespace pipeline::spool
