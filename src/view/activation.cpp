// SQL functions activate and deactivate.
//
// Owns: nothing. May call: pg/, spool/progress, spool/rendezvous, spool/writer, view/catalog.
// Invariants: who changes a view's state owns it; a view that discards has no progress, as one that
// was detached because of a full spool, so nothing waits for it.
#include "pg/stop_points.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"
#include "spool/writer.hpp"
#include "view/catalog.hpp"
#include "view/create_view.hpp"
#include "view/ddl.hpp"
#include "view/output.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
}

namespace pipeline::view {
namespace {

/// What the view lost stays lost: it begins as a new one does.
bool restart_lost(Oid view)
{
    ContinuousQuery *query = find_query(view);
    if (query == nullptr || !query->lost)
        return false;
    // One session at a time; the fold worker's locks do not conflict.
    LockRelationOid(view, ShareUpdateExclusiveLock);
    query = find_query(view);
    if (query == nullptr || !query->lost)
        return false;
    // A tick that ran while it was detached may have given it a row in between (fold/setback).
    spool::delete_progress(view);
    CommandCounterIncrement();
    List *streams = NIL;
    for (int i = 0; i < query->nstreams; i++)
        streams = lappend_oid(streams, query->streams[i]);
    hold_outputs(streams);
    start_counting(*query);
    mark_found(view, spool::last_chunk_seq());
    return true;
}

bool change_state(text *name, bool active)
{
    spool::require_preload();
    Oid const view = own_continuous_view(name);
    bool const changed = (active && restart_lost(view)) || set_active(view, active);
    if (changed)
        spool::wake_worker_at_commit(find_query(view)->worker);
    return changed;
}

[[noreturn]] void refuse_unfolded(Oid view, const char *reason)
{
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("rows that wait for continuous view \"%s\" could not be folded",
                    get_rel_name(view)),
             errdetail_internal("%s", reason),
             errhint("Mend that and try again. To give these rows up, call "
                     "pipelinedb.deactivate() first, then once more with discard => true.")));
}

/// What was committed before the call counts. A view that is stopped has given up what waits.
void fold_what_waits(Oid view)
{
    const ContinuousQuery *query = find_query(view);
    if (!query->active || query->failed || query->lost)
        return;
    spool::WaitResult const result = spool::wait_for_fold(
        spool::WaitKind::kFlush, InvalidFullTransactionId, spool::Concerned{}, -1, true);
    if (result == spool::WaitResult::kHalted)
        refuse_unfolded(view, "Folding is turned off.");
    if (result == spool::WaitResult::kNoWorker)
        refuse_unfolded(view, "No fold worker runs in this database.");
    query = find_query(view);
    if (query != nullptr && query->failed)
        refuse_unfolded(view, "The view has failed.");
    // Some view was left out: this one, if it is on its own.
    if (result == spool::WaitResult::kPartlyDone && spool::has_progress(view))
        refuse_unfolded(view, "Its table is locked, or it is in trouble.");
}

/// A tick that has listed the view before this commits may still fold rows that were committed
/// meanwhile: each counts once or not at all.
bool discard(text *name)
{
    spool::require_preload();
    Oid const view = own_continuous_view(name);
    if (find_query(view)->discards)
        return false;
    fold_what_waits(view);
    pg::stop_point("discard_folded");
    LockRelationOid(view, ShareUpdateExclusiveLock);
    if (!mark_discarding(view))
        return false;
    spool::delete_progress(view);
    pg::stop_point("discard_marked");
    spool::wake_worker_at_commit(find_query(view)->worker);
    return true;
}

} // namespace
} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_activate);
PG_FUNCTION_INFO_V1(pipeline_deactivate);

Datum pipeline_activate(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.activate()");
    PG_RETURN_BOOL(pipeline::view::change_state(PG_GETARG_TEXT_PP(0), true));
}

Datum pipeline_deactivate(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.deactivate()");
    text *const name = PG_GETARG_TEXT_PP(0);
    PG_RETURN_BOOL(PG_GETARG_BOOL(1) ? pipeline::view::discard(name)
                                     : pipeline::view::change_state(name, false));
}
}
