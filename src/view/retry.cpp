// SQL functions over rejected rows: retry_errors and clear_errors.
//
// Owns: nothing. May call: pg/, spool/writer, spool/rendezvous, view/rejected. Invariants: the
// rows leave pipelinedb.rejected and enter the spool in one transaction, the caller's; there
// they wait for their view alone, whose OID stands where a stream's would.
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"
#include "spool/writer.hpp"
#include "view/catalog.hpp"
#include "view/ddl.hpp"
#include "view/rejected.hpp"

extern "C" {
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
}

namespace pipeline::view {
namespace {

/// The view of that name, which the caller owns. The lock is held to the end: DROP VIEW would
/// otherwise leave chunks behind that are nobody's, and its OID may come again.
Oid lock_own_view(text *name)
{
    spool::require_preload();
    Oid const view = own_continuous_view(name);
    LockRelationOid(view, AccessShareLock);
    if (find_query(view) == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("continuous view \"%s\" was dropped", text_to_cstring(name))));
    return view;
}

void put_back(bytea *chunk, Oid stream, void *arg)
{
    auto *const writer = static_cast<spool::StatementWriter *>(arg);
    Size const size = VARSIZE_ANY_EXHDR(chunk);
    void *const buffer = spool::chunk_buffer(writer, size);
    memcpy(buffer, VARDATA_ANY(chunk), size);
    spool::write_chunk(writer, writer->sources[0].id, 1, buffer, size, stream);
    pg::stop_point("reject_put_back");
}

int64 retry_errors(text *name)
{
    Oid const view = lock_own_view(name);
    if (const ContinuousQuery *const query = find_query(view); query->lost)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("continuous view \"%s\" takes no rows", get_rel_name(view)),
                        query->discards ? errdetail("It was deactivated with discard => true.")
                                        : errdetail("It was detached from its stream, since the "
                                                    "spool was full."),
                        errhint("Call pipelinedb.activate() first.")));
    spool::StatementWriter *const writer = spool::begin_statement(view, CurrentMemoryContext);
    int64 const count = delete_rejected(view, put_back, writer);
    spool::end_statement(writer);
    if (count > 0)
        note_rejected(view, -count);
    return count;
}

int64 clear_errors(text *name)
{
    return delete_rejected(lock_own_view(name), nullptr, nullptr);
}

} // namespace
} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_retry_errors);
PG_FUNCTION_INFO_V1(pipeline_clear_errors);

Datum pipeline_retry_errors(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.retry_errors()");
    PreventCommandDuringRecovery("pipelinedb.retry_errors()");
    PG_RETURN_INT64(pipeline::view::retry_errors(PG_GETARG_TEXT_PP(0)));
}

Datum pipeline_clear_errors(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.clear_errors()");
    PreventCommandDuringRecovery("pipelinedb.clear_errors()");
    PG_RETURN_INT64(pipeline::view::clear_errors(PG_GETARG_TEXT_PP(0)));
}
}
