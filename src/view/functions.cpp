// SQL functions over continuous views: activate, deactivate, the guard trigger of matrels.
//
// Owns: nothing. May call: pg/, spool/rendezvous, view/catalog. Invariant: who changes a view's
// state owns it.
#include "pg/compat.hpp"
#include "pg/settings.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/varlena.h"
}

namespace pipeline::view {
namespace {

Oid continuous_view(text *name)
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

bool change_state(text *name, bool active)
{
    spool::require_preload();
    bool const changed = set_active(continuous_view(name), active);
    if (changed)
        spool::wake_worker_at_commit();
    return changed;
}

Datum guard_matrel(FunctionCallInfo fcinfo)
{
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function %s must be called as a trigger", "guard_matrel")));
    if (settings::matrels_writable)
        return PointerGetDatum(nullptr);
    Relation const rel = reinterpret_cast<TriggerData *>(fcinfo->context)->tg_relation;
    ContinuousQuery *const query = find_query(RelationGetRelid(rel));
    // Where a table was copied with its triggers, no view is behind it.
    if (query == nullptr || query->matrel != RelationGetRelid(rel))
        return PointerGetDatum(nullptr);
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("cannot change materialization table \"%s\" of continuous view \"%s\"",
                    RelationGetRelationName(rel), get_rel_name(query->view)),
             errhint("Set pipelinedb.matrels_writable to on to change it nevertheless.")));
    pg_unreachable();
}

} // namespace
} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_activate);
PG_FUNCTION_INFO_V1(pipeline_deactivate);
PG_FUNCTION_INFO_V1(pipeline_guard_matrel);

Datum pipeline_activate(PG_FUNCTION_ARGS)
{
    PG_RETURN_BOOL(pipeline::view::change_state(PG_GETARG_TEXT_PP(0), true));
}

Datum pipeline_deactivate(PG_FUNCTION_ARGS)
{
    PG_RETURN_BOOL(pipeline::view::change_state(PG_GETARG_TEXT_PP(0), false));
}

Datum pipeline_guard_matrel(PG_FUNCTION_ARGS)
{
    return pipeline::view::guard_matrel(fcinfo);
}
}
