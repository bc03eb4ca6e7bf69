#include "fold/expiry_rule.hpp"

extern "C" {
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace pipeline::fold {
namespace {

/// What lies further from the clock than this is not computed with.
constexpr int64 kFar = int64{1000} * 365 * USECS_PER_DAY;

TimestampTz time_of(const ExpiryRule &rule, ExpiryKey key)
{
    if (key == kNoKey || key == kFirstKey || rule.type == TIMESTAMPTZOID)
        return key; // DT_NOEND and DT_NOBEGIN are the same numbers
    int overflow = 0;
    TimestampTz const time =
        rule.type == DATEOID ? date2timestamptz_opt_overflow(static_cast<DateADT>(key), &overflow)
                             : timestamp2timestamptz_opt_overflow(key, &overflow);
    if (overflow != 0)
        return overflow < 0 ? DT_NOBEGIN : DT_NOEND;
    return time;
}

} // namespace

ExpiryRule make_rule(Relation matrel, AttrNumber column, const Interval &after)
{
    Oid const type = getBaseType(TupleDescAttr(RelationGetDescr(matrel), column - 1)->atttypid);
    if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("rows of \"%s\" cannot expire by a column of type %s",
                               RelationGetRelationName(matrel), format_type_be(type))));
    return {column, type, after};
}

ExpiryKey key_of(const ExpiryRule &rule, Datum value, bool isnull)
{
    if (isnull)
        return kNoKey;
    if (rule.type != DATEOID)
        return DatumGetInt64(value);
    DateADT const date = DatumGetDateADT(value);
    if (DATE_NOT_FINITE(date))
        return DATE_IS_NOEND(date) ? kNoKey : kFirstKey;
    return date;
}

Datum value_of(const ExpiryRule &rule, ExpiryKey key)
{
    if (rule.type != DATEOID)
        return Int64GetDatum(key);
    if (key == kNoKey || key == kFirstKey)
        return DateADTGetDatum(key == kNoKey ? DATEVAL_NOEND : DATEVAL_NOBEGIN);
    return DateADTGetDatum(static_cast<DateADT>(key));
}

TimestampTz cutoff_at(const ExpiryRule &rule, TimestampTz clock)
{
    return DatumGetTimestampTz(DirectFunctionCall2(
        timestamptz_mi_interval, TimestampTzGetDatum(clock), IntervalPGetDatum(&rule.after)));
}

bool is_expired(const ExpiryRule &rule, ExpiryKey key, TimestampTz cutoff)
{
    TimestampTz const time = time_of(rule, key);
    return time != DT_NOEND && time <= cutoff;
}

TimestampTz expires_at(const ExpiryRule &rule, ExpiryKey key, TimestampTz clock)
{
    TimestampTz const time = time_of(rule, key);
    if (time == DT_NOEND)
        return DT_NOEND;
    if (time < clock - kFar)
        return clock;
    if (time > clock + kFar)
        return clock + kFar;
    return DatumGetTimestampTz(DirectFunctionCall2(
        timestamptz_pl_interval, TimestampTzGetDatum(time), IntervalPGetDatum(&rule.after)));
}

} // namespace pipeline::fold
