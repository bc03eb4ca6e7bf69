// SQL functions over continuous views: the guard trigger of matrels, and the validator of the
// foreign-data wrapper.
//
// Owns: nothing. May call: pg/, spool/rendezvous, view/catalog. Invariant: who changes a view's
// state owns it.
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "spool/rendezvous.hpp"
#include "spool/writer.hpp"
#include "view/catalog.hpp"
#include "view/output.hpp"
#include "view/stream_rules.hpp"
#include "view/create_view.hpp"
#include "view/ddl.hpp"

extern "C" {
#include "access/reloptions.h"
#include "catalog/pg_foreign_table.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/varlena.h"
}

namespace pipeline::view {

Oid own_continuous_view(text *name)
{
    RangeVar *const range = makeRangeVarFromNameList(textToQualifiedNameList(name));
    Oid const relid = RangeVarGetRelid(range, NoLock, false);
    ContinuousQuery *const query = find_query(relid);
    if (query == nullptr || query->view != relid)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a continuous view", range->relname)));
    if (!pg::owns_relation(relid, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, range->relname);
    return relid;
}

namespace {

/// The fold worker knows when the rows that it has written expire, not of others.
void look_for_expired(const ContinuousQuery *query, Relation matrel)
{
    if (query->expire_column == 0)
        return;
    CacheInvalidateRelcache(matrel);
    spool::wake_worker_at_commit(query->worker);
}

Datum guard_matrel(FunctionCallInfo fcinfo)
{
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function %s must be called as a trigger", "guard_matrel")));
    auto *const trigger = reinterpret_cast<TriggerData *>(fcinfo->context);
    Relation const rel = trigger->tg_relation;
    Oid const matrel = matrel_of_table(RelationGetRelid(rel));
    ContinuousQuery *const query = find_query(matrel);
    // Where a table was copied with its triggers, no view is behind it.
    if (query == nullptr || query->matrel != matrel)
        return PointerGetDatum(nullptr);
    if (settings::matrels_writable) {
        look_for_expired(query, rel);
        return PointerGetDatum(nullptr);
    }
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("cannot change materialization table \"%s\" of continuous view \"%s\"",
                           RelationGetRelationName(rel), get_rel_name(query->view)),
                    TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event)
                        ? errhint("Use pipelinedb.truncate_continuous_view() to empty the view.")
                        : errhint("Set pipelinedb.matrels_writable to on to change it "
                                  "nevertheless.")));
    pg_unreachable();
}

/// Core calls the validator for every CREATE FOREIGN TABLE, also without options. Where the
/// library was not loaded at server start no hook of ours sees the statement, so this is the
/// first use that can say so.
void validate_options(Datum options, Oid catalog)
{
    if (catalog == ForeignTableRelationId)
        spool::require_preload();
    List *const given = untransformRelOptions(options);
    for (auto *option : pg::each<DefElem>(given))
        if (catalog != ForeignTableRelationId ||
            (strcmp(option->defname, kArrival) != 0 && strcmp(option->defname, kOutputOption) != 0))
            ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
                            errmsg("invalid option \"%s\"", option->defname),
                            errhint("The only option is %s, on or off, of a stream.", kArrival)));
    (void) wants_arrival(given); // raises the error for a value that is not boolean
}

} // namespace
} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_stream_fdw_validator);
PG_FUNCTION_INFO_V1(pipeline_guard_matrel);

Datum pipeline_stream_fdw_validator(PG_FUNCTION_ARGS)
{
    pipeline::view::validate_options(PG_GETARG_DATUM(0), PG_GETARG_OID(1));
    PG_RETURN_VOID();
}

Datum pipeline_guard_matrel(PG_FUNCTION_ARGS)
{
    return pipeline::view::guard_matrel(fcinfo);
}
}
