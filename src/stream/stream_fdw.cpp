#include "stream/stream.hpp"

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_stream_fdw_handler);

/// pipelinedb.stream_fdw_handler() returns fdw_handler.
Datum pipeline_stream_fdw_handler(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    FdwRoutine *const routine = makeNode(FdwRoutine);
    pipeline::stream::add_insert_callbacks(routine);
    pipeline::stream::add_scan_callbacks(routine);
    PG_RETURN_POINTER(routine);
}
}
