// pipelinedb.clock(): the time that windows and retention go by.
#include "pg/clock.hpp"

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_clock);

Datum pipeline_clock(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    PG_RETURN_TIMESTAMPTZ(pipeline::pg::statement_time());
}
}
