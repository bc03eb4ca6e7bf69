// The options of CREATE VIEW … WITH (…) that are this extension's: what they may say.
//
// Owns: their names, types and bounds. May call: pg/, view/reloptions. Invariants: whatever leaves
// parse_view_options() is within its bounds; whether a column exists is looked at by whoever
// uses it.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace pipeline::view {

struct ViewOptions {
    int fillfactor;                 ///< -1 = not given
    const char *tablespace;         ///< nullptr: the default one
    const Interval *window;         ///< sw: a sliding window of this size; nullptr = none
    const char *window_column;      ///< sw_column; nullptr: arrival_timestamp
    double step_factor;             ///< percent of the window; -1 = not given
    const Interval *ttl;            ///< rows expire so long after ttl_column; nullptr = never
    const char *ttl_column;         //
    const char *primary_key;        ///< pk: a column that is the primary key of the table
    const char *partition_column;   ///< partition_by
    const Interval *partition_size; ///< partition_duration
    const DefElem *output_function; ///< outputfunc of a transform, as the grammar has it
};

/// Reads the options of a continuous query. Raises an error for a value of the wrong kind, and for
/// options that need another one.
ViewOptions parse_view_options(List *options);

/// Those of `options` that are no business of parse_view_options().
List *without_view_options(List *options);

/// Timestamps begin 4713 BC: so long before the clock is a time still.
inline constexpr int64 kLongestInterval =
    int64{1000} * MONTHS_PER_YEAR * DAYS_PER_MONTH * USECS_PER_DAY;

/// What an interval option says. Raises an error unless it is a string that is an interval of at
/// least a second and at most kLongestInterval.
const Interval *parse_interval_option(const DefElem *option);

/// In microseconds; a month counts 30 days, as in comparisons of intervals. What is too long for
/// the type is the largest number.
int64 interval_length(const Interval *interval);

/// As text that any setting of IntervalStyle and DateStyle reads alike.
char *interval_text(const Interval *interval);

/// A Const of type interval.
Node *interval_constant(const Interval *interval);

} // namespace pipeline::view
