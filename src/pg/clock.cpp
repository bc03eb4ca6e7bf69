#include "pg/clock.hpp"

#include "pg/settings.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/timestamp.h"
}

namespace pipeline::pg {
namespace {

TimestampTz shifted(TimestampTz time)
{
    return time + int64{settings::clock_offset} * USECS_PER_SEC;
}

} // namespace

TimestampTz now()
{
    return shifted(GetCurrentTimestamp());
}

TimestampTz statement_time()
{
    return shifted(GetCurrentStatementStartTimestamp());
}

} // namespace pipeline::pg
