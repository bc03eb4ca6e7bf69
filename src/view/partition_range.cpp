#include "view/partition_range.hpp"

#include "view/view_options.hpp"

extern "C" {
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
}

namespace pipeline::view {
namespace {

constexpr int kEpochYear = 2000;

int64 floor_to(int64 value, int64 step)
{
    int64 const rest = value % step;
    return value - rest - (rest < 0 ? step : 0);
}

[[noreturn]] void refuse_value()
{
    ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
                    errmsg("time out of range for a partition")));
    pg_unreachable();
}

/// In microseconds, as a timestamp without a zone.
Timestamp as_timestamp(Oid type, int64 number)
{
    return type == DATEOID ? number * USECS_PER_DAY : number;
}

int64 as_number(Oid type, Timestamp time)
{
    return type == DATEOID ? time / USECS_PER_DAY : time;
}

struct Fields {
    pg_tm tm;
    fsec_t fraction;
};

Fields fields_of(Timestamp time)
{
    Fields fields;
    if (timestamp2tm(time, nullptr, &fields.tm, &fields.fraction, nullptr, nullptr) != 0)
        refuse_value();
    return fields;
}

/// The first of the month that is so many after January 2000.
Timestamp month_start(int64 months)
{
    int64 const year = kEpochYear + floor_to(months, MONTHS_PER_YEAR) / MONTHS_PER_YEAR;
    int const month = static_cast<int>(months - floor_to(months, MONTHS_PER_YEAR)) + 1;
    if (year < -4712 || year > 294275)
        refuse_value();
    return int64{date2j(static_cast<int>(year), month, 1) - POSTGRES_EPOCH_JDATE} * USECS_PER_DAY;
}

} // namespace

void check_partition_size(Oid type, const Interval *size)
{
    if (size->month != 0 && (size->day != 0 || size->time != 0))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"partition_duration\" must be of months, or of days and shorter "
                               "units"),
                        errhint("Write partition_duration = '1 month' or '7 days'.")));
    int64 const length = int64{size->day} * USECS_PER_DAY + size->time;
    if (size->month < 0 || (size->month == 0 && length < USECS_PER_SEC) ||
        size->time % USECS_PER_SEC != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"partition_duration\" must be of whole seconds, at least one"),
                        errhint("Write partition_duration = '1 day'.")));
    if (type == DATEOID && size->month == 0 && length % USECS_PER_DAY != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"partition_duration\" must be of whole days for a column of type "
                               "date"),
                        errhint("Write partition_duration = '1 day'.")));
}

bool partition_number(Oid type, Datum value, int64 *number)
{
    if (type == DATEOID) {
        DateADT const date = DatumGetDateADT(value);
        *number = date;
        return !DATE_NOT_FINITE(date);
    }
    *number = DatumGetTimestamp(value);
    return !TIMESTAMP_NOT_FINITE(*number);
}

PartitionRange partition_range(Oid type, const Interval *size, int64 number)
{
    Timestamp const time = as_timestamp(type, number);
    if (type == DATEOID && !IS_VALID_TIMESTAMP(time))
        refuse_value();
    if (size->month > 0) {
        Fields const fields = fields_of(time);
        int64 const months =
            int64{fields.tm.tm_year - kEpochYear} * MONTHS_PER_YEAR + fields.tm.tm_mon - 1;
        int64 const first = floor_to(months, size->month);
        return {as_number(type, month_start(first)),
                as_number(type, month_start(first + size->month))};
    }
    int64 const length = int64{size->day} * USECS_PER_DAY + size->time;
    Timestamp const from = floor_to(time, length);
    if (!IS_VALID_TIMESTAMP(from) || !IS_VALID_TIMESTAMP(from + length))
        refuse_value();
    return {as_number(type, from), as_number(type, from + length)};
}

char *partition_bound(Oid type, int64 number)
{
    Fields const fields = fields_of(as_timestamp(type, number));
    const pg_tm &tm = fields.tm;
    bool const is_bc = tm.tm_year <= 0;
    int const year = is_bc ? 1 - tm.tm_year : tm.tm_year;
    const char *const era = is_bc ? " BC" : "";
    if (type == DATEOID)
        return psprintf("%04d-%02d-%02d%s", year, tm.tm_mon, tm.tm_mday, era);
    return psprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d%s%s", year, tm.tm_mon, tm.tm_mday,
                    tm.tm_hour, tm.tm_min, tm.tm_sec, static_cast<int>(fields.fraction),
                    type == TIMESTAMPTZOID ? "+00" : "", era);
}

char *partition_label(Oid type, int64 number)
{
    pg_tm const tm = fields_of(as_timestamp(type, number)).tm;
    char *const day =
        psprintf("%s%04d%02d%02d", tm.tm_year <= 0 ? "bc" : "",
                 tm.tm_year <= 0 ? 1 - tm.tm_year : tm.tm_year, tm.tm_mon, tm.tm_mday);
    if (tm.tm_hour == 0 && tm.tm_min == 0 && tm.tm_sec == 0)
        return day;
    return psprintf("%s_%02d%02d%02d", day, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

} // namespace pipeline::view
