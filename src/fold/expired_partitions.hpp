// Dropping the partitions of one table of which every row has expired.
//
// Owns: one piece of that work, in the caller's transaction. May call: expiry_rule, view/partition.
// Invariants: the rule's column is the partition column; without `wait` no lock is waited for; what
// other objects depend on raises the server's error.
#pragma once

#include "fold/expiry_rule.hpp"

namespace pipeline::fold {

struct PartitionRemoval {
    Relation matrel; ///< locked, and open
    ExpiryRule rule;
    TimestampTz cutoff;
    int limit;  ///< so many partitions at most
    bool wait;  ///< for locks
    bool count; ///< the rows that go

    // The outcome.
    int64 rows;
    ExpiryKey left;  ///< the last key of the first partition that stays
    bool more;       ///< there are more
    bool locked_out; ///< somebody has a lock
};

void drop_expired_partitions(PartitionRemoval *removal);

} // namespace pipeline::fold
