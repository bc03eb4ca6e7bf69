// The bounds of the partitions of a continuous view's table.
//
// Owns: the calendar. May call: pg/. Invariants: months and years are those of the calendar, any
// other size is counted from 2000-01-01 00:00; of timestamptz all of this is in UTC; every finite
// value lies in exactly one range.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace pipeline::view {

/// As the numbers that values of the column are: from <= value < to.
struct PartitionRange {
    int64 from;
    int64 to;
};

/// Raises an error if partitions of that size cannot be made by a column of that type.
void check_partition_size(Oid type, const Interval *size);

/// The number of a value of type timestamptz, timestamp or date; false for infinity.
bool partition_number(Oid type, Datum value, int64 *number);

/// Raises an error, of the class of a row's faults, for values at the end of the calendar.
PartitionRange partition_range(Oid type, const Interval *size, int64 number);

/// As text that the type reads alike with any setting.
char *partition_bound(Oid type, int64 number);

/// For the name of the partition that begins there: 20240401, or 20240401_153000.
char *partition_label(Oid type, int64 number);

} // namespace pipeline::view
