// When a row of a view's table expires: column <= clock - interval, as the reading query has it.
//
// Owns: that comparison, over the numbers that the values of the column are. May call: pg/.
// Invariants: timestamp and date are taken in the session's time zone, so the caller has applied
// the view's creation settings; NULL and infinity never expire; nothing here raises an error
// for a value at the end of its type's range.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "access/attnum.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
}

namespace pipeline::fold {

struct ExpiryRule {
    AttrNumber column; ///< of the table; 0 = its rows stay
    Oid type;          ///< timestamptz, timestamp or date
    Interval after;
};

/// A value of the column as a number of the same order.
using ExpiryKey = int64;
inline constexpr ExpiryKey kFirstKey = PG_INT64_MIN;
inline constexpr ExpiryKey kNoKey = PG_INT64_MAX; ///< of NULL and infinity

/// The rule for that column of `matrel`. Raises an error for another type.
ExpiryRule make_rule(Relation matrel, AttrNumber column, const Interval &after);

ExpiryKey key_of(const ExpiryRule &rule, Datum value, bool isnull);

/// Of a row whose values are in the slot.
inline ExpiryKey key_in(const ExpiryRule &rule, const TupleTableSlot *row)
{
    int const i = rule.column - 1;
    return key_of(rule, row->tts_values[i], row->tts_isnull[i]);
}

Datum value_of(const ExpiryRule &rule, ExpiryKey key);

/// Rows whose time is not later than this are expired at `clock`.
TimestampTz cutoff_at(const ExpiryRule &rule, TimestampTz clock);
bool is_expired(const ExpiryRule &rule, ExpiryKey key, TimestampTz cutoff);

/// When a row expires; an estimate where months and days are involved, so the caller looks then
/// whether it has. DT_NOEND: never.
TimestampTz expires_at(const ExpiryRule &rule, ExpiryKey key, TimestampTz clock);

} // namespace pipeline::fold
