#include "view/view_options.hpp"

#include "pg/list.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "commands/defrem.h"
#include "common/int.h"
#include "lib/stringinfo.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
}

#include <cmath>

namespace pipeline::view {
namespace {

constexpr int kMinFillfactor = 10;
constexpr int kMaxFillfactor = 100;
constexpr double kLargestStepFactor = 50;

constexpr const char *kNames[] = {
    "fillfactor", "tablespace", "sw",         "sw_column",    "step_factor",        "ttl",
    "ttl_column", "pk",         "outputfunc", "partition_by", "partition_duration",
};

const DefElem *find_option(List *options, const char *name)
{
    for (auto *option : pg::each<DefElem>(options))
        if (option->defnamespace == nullptr && strcmp(option->defname, name) == 0)
            return option;
    return nullptr;
}

[[noreturn]] void refuse_value(const char *name, const char *what, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("\"%s\" must be %s", name, what), errhint("%s", hint)));
    pg_unreachable();
}

int parse_fillfactor(const DefElem *option)
{
    if (option == nullptr)
        return -1;
    int32 const value = pg_strtoint32(defGetString(const_cast<DefElem *>(option)));
    if (value < kMinFillfactor || value > kMaxFillfactor)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("value %d out of bounds for option \"%s\"", value, "fillfactor"),
                        errdetail("Valid values are between \"%d\" and \"%d\".", kMinFillfactor,
                                  kMaxFillfactor)));
    return value;
}

/// A column is named by an identifier or a string.
const char *parse_column(List *options, const char *name)
{
    const DefElem *const option = find_option(options, name);
    if (option == nullptr)
        return nullptr;
    if (option->arg == nullptr || (!IsA(option->arg, String) && !IsA(option->arg, TypeName)))
        refuse_value(name, "the name of a column", psprintf("Write %s = 'column'.", name));
    return defGetString(const_cast<DefElem *>(option));
}

const char *parse_primary_key(const DefElem *option)
{
    if (option == nullptr)
        return nullptr;
    if (option->arg == nullptr || !IsA(option->arg, String))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("continuous view primary keys must be specified with a valid column "
                               "name"),
                        errhint("Write pk = 'column'.")));
    return strVal(option->arg);
}

const Interval *parse_interval(List *options, const char *name)
{
    const DefElem *const option = find_option(options, name);
    return option != nullptr ? parse_interval_option(option) : nullptr;
}

/// PipelineDB: an integer is a percentage, a number with a point is a share of one.
double parse_step_factor(const DefElem *option)
{
    if (option == nullptr)
        return -1;
    const char *const text = defGetString(const_cast<DefElem *>(option));
    char *end;
    double factor = strtod(text, &end);
    if (strchr(text, '.') != nullptr)
        factor *= 100;
    if (*text == '\0' || *end != '\0' || std::isnan(factor) || factor <= 0 ||
        factor > kLargestStepFactor)
        refuse_value("step_factor", "a percentage above 0 and up to 50",
                     "Steps of 5 percent of the window are the default.");
    return factor;
}

/// One option that makes no sense without another.
void require(List *options, const char *name, const char *other)
{
    if (find_option(options, name) != nullptr && find_option(options, other) == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("\"%s\" must be passed in conjunction with the \"%s\" option", name, other),
                 errhint("Add %s = ..., or leave %s out.", other, name)));
}

void check_conjunctions(List *options)
{
    require(options, "sw_column", "sw");
    require(options, "ttl", "ttl_column");
    require(options, "ttl_column", "ttl");
    require(options, "partition_by", "partition_duration");
    require(options, "partition_duration", "partition_by");
    if (find_option(options, "ttl") != nullptr && find_option(options, "sw") != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("\"ttl\" cannot be specified in conjunction with a sliding window"),
                        errhint("What has left the window is removed by itself.")));
}

} // namespace

ViewOptions parse_view_options(List *options)
{
    check_conjunctions(options);
    ViewOptions result{};
    result.fillfactor = parse_fillfactor(find_option(options, "fillfactor"));
    result.tablespace = option_value(options, "tablespace");
    result.window = parse_interval(options, "sw");
    result.window_column = parse_column(options, "sw_column");
    result.step_factor = parse_step_factor(find_option(options, "step_factor"));
    result.ttl = parse_interval(options, "ttl");
    result.ttl_column = parse_column(options, "ttl_column");
    result.primary_key = parse_primary_key(find_option(options, "pk"));
    result.partition_column = parse_column(options, "partition_by");
    result.partition_size = parse_interval(options, "partition_duration");
    result.output_function = find_option(options, "outputfunc");
    return result;
}

List *without_view_options(List *options)
{
    List *rest = NIL;
    for (auto *option : pg::each<DefElem>(options)) {
        bool ours = false;
        for (const char *name : kNames)
            ours |= option->defnamespace == nullptr && strcmp(option->defname, name) == 0;
        if (!ours)
            rest = lappend(rest, option);
    }
    return rest;
}

const Interval *parse_interval_option(const DefElem *option)
{
    if (option->arg == nullptr || !IsA(option->arg, String))
        refuse_value(option->defname, "a valid interval string",
                     psprintf("Write %s = '1 hour'.", option->defname));
    Datum const value = DirectFunctionCall3(interval_in, CStringGetDatum(strVal(option->arg)),
                                            ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
    const Interval *const interval = DatumGetIntervalP(value);
    if (interval_length(interval) < USECS_PER_SEC)
        refuse_value(option->defname, "at least 1 second",
                     psprintf("Write %s = '1 hour'.", option->defname));
    if (interval_length(interval) > kLongestInterval)
        refuse_value(option->defname, "at most 1000 years",
                     psprintf("Leave %s out to keep everything.", option->defname));
    return interval;
}

int64 interval_length(const Interval *interval)
{
    int64 const days = int64{interval->month} * DAYS_PER_MONTH + interval->day;
    int64 length;
    if (pg_mul_s64_overflow(days, USECS_PER_DAY, &length) ||
        pg_add_s64_overflow(length, interval->time, &length))
        return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
    return length;
}

char *interval_text(const Interval *interval)
{
    StringInfoData text;
    initStringInfo(&text);
    if (interval->month != 0)
        appendStringInfo(&text, "%d months ", interval->month);
    if (interval->day != 0)
        appendStringInfo(&text, "%d days ", interval->day);
    if (interval->time % USECS_PER_SEC == 0)
        appendStringInfo(&text, "%lld seconds",
                         static_cast<long long>(interval->time / USECS_PER_SEC));
    else
        appendStringInfo(&text, "%lld microseconds", static_cast<long long>(interval->time));
    return text.data;
}

Node *interval_constant(const Interval *interval)
{
    return reinterpret_cast<Node *>(makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval),
                                              IntervalPGetDatum(interval), false, false));
}

} // namespace pipeline::view
