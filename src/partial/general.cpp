#include "partial/general.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "executor/execdesc.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/inval.h"
}

namespace pipeline::partial {

struct GeneralPlan {
    GeneralPlan *next; ///< of the live plans
    MemoryContext context;
    PlannedStmt *statement;
    Oid definition; ///< its owner is baked into the plan
    bool stale;
};

namespace {

/// Live plans of this process, for the invalidation callbacks.
constinit GeneralPlan *live_plans = nullptr;

/// How many messages came: a plan during whose making one came is stale from the start.
constinit uint64 messages = 0;

/// The same tests as plancache.c:PlanCacheRelCallback and PlanCacheObjectCallback. A stale
/// flag that comes too often costs a planning, one that is missing a wrong answer.
void note_relation(Datum, Oid relid)
{
    messages++;
    for (GeneralPlan *plan = live_plans; plan != nullptr; plan = plan->next)
        if (relid == InvalidOid || relid == plan->definition ||
            list_member_oid(plan->statement->relationOids, relid))
            plan->stale = true;
}

void note_object(Datum, int cache, uint32 hash)
{
    messages++;
    for (GeneralPlan *plan = live_plans; plan != nullptr; plan = plan->next)
        for (auto *item : pg::each<PlanInvalItem>(plan->statement->invalItems))
            if (item->cacheId == cache && (hash == 0 || item->hashValue == hash))
                plan->stale = true;
}

/// Operators, casts, schemas and the like are not tracked per plan (plancache.c does the same).
void note_anything(Datum, int, uint32)
{
    note_relation(0, InvalidOid);
}

/// Makes the top Agg emit serialized transition states. The definition's target list holds
/// keys and bare aggregates only, so nothing is computed on top of a state, and it has no
/// HAVING, which would filter groups by the state of one batch.
void emit_partial_states(PlannedStmt *statement)
{
    Plan *const top = statement->planTree;
    if (!IsA(top, Agg)) {
        // GROUP BY without aggregates (Group, Unique): rows are keys. WHERE false: no rows.
        for (auto *entry : pg::each<TargetEntry>(top->targetlist))
            if (IsA(entry->expr, Aggref))
                elog(ERROR, "top plan node %d is no Agg", static_cast<int>(nodeTag(top)));
        return;
    }
    auto *const agg = reinterpret_cast<Agg *>(top);
    bool has_aggregates = false;
    for (auto *entry : pg::each<TargetEntry>(top->targetlist)) {
        if (!IsA(entry->expr, Aggref))
            continue;
        mark_partial_aggref(reinterpret_cast<Aggref *>(entry->expr), AGGSPLIT_INITIAL_SERIAL);
        has_aggregates = true;
    }
    if (has_aggregates)
        agg->aggsplit = AGGSPLIT_INITIAL_SERIAL;
}

PlannedStmt *plan_definition(Relation definition)
{
    auto *query = static_cast<Query *>(copyObjectImpl(get_view_query(definition)));
    AcquireRewriteLocks(query, true, false);
    List *const rewritten = QueryRewrite(query);
    if (list_length(rewritten) != 1)
        elog(ERROR, "definition rewrites to %d queries", list_length(rewritten));
    // No CURSOR_OPT_PARALLEL_OK: a stream cannot be scanned by a parallel worker.
    PlannedStmt *const statement =
        planner(static_cast<Query *>(linitial(rewritten)), "(continuous query)", 0, nullptr);
    statement->jitFlags = 0;
    emit_partial_states(statement);
    return statement;
}

/// A destination that hands each row to a GroupReceiver.
struct GroupDestination {
    DestReceiver receiver; // first: the executor knows this member only
    GroupReceiver receive;
    void *arg;
};

extern "C" bool pipeline_receive_group(TupleTableSlot *slot, DestReceiver *self)
{
    auto *destination = reinterpret_cast<GroupDestination *>(self);
    destination->receive(slot, destination->arg);
    return true;
}

extern "C" void pipeline_start_groups(DestReceiver *, int, TupleDesc) {}

extern "C" void pipeline_end_groups(DestReceiver *) {}

} // namespace

GeneralPlan *make_plan(Relation definition, MemoryContext parent)
{
    MemoryContext const context =
        AllocSetContextCreate(parent, "continuous query plan", ALLOCSET_DEFAULT_SIZES);
    auto *plan = static_cast<GeneralPlan *>(MemoryContextAllocZero(context, sizeof(GeneralPlan)));
    plan->context = context;
    plan->definition = RelationGetRelid(definition);
    uint64 const messages_before = messages;
    pg::in_context(context, [&] {
        MemoryContext const scratch =
            AllocSetContextCreate(context, "planning", ALLOCSET_DEFAULT_SIZES);
        PlannedStmt *const planned =
            pg::in_context(scratch, [&] { return plan_definition(definition); });
        plan->statement = static_cast<PlannedStmt *>(copyObjectImpl(planned));
        MemoryContextDelete(scratch);
    });
    plan->stale = messages != messages_before;
    plan->next = live_plans;
    live_plans = plan;
    return plan;
}

bool is_stale(const GeneralPlan *plan)
{
    return plan->stale;
}

void free_plan(GeneralPlan *plan)
{
    for (GeneralPlan **at = &live_plans; *at != nullptr; at = &(*at)->next)
        if (*at == plan) {
            *at = plan->next;
            break;
        }
    MemoryContextDelete(plan->context);
}

void run_plan(const GeneralPlan *plan, GroupReceiver receive, void *arg)
{
    GroupDestination destination{};
    destination.receiver.receiveSlot = pipeline_receive_group;
    destination.receiver.rStartup = pipeline_start_groups;
    destination.receiver.rShutdown = pipeline_end_groups;
    destination.receiver.rDestroy = pipeline_end_groups;
    destination.receiver.mydest = DestNone;
    destination.receive = receive;
    destination.arg = arg;

    for (auto *entry : pg::each<RangeTblEntry>(plan->statement->rtable))
        if (entry->rtekind == RTE_RELATION &&
            !ConditionalLockRelationOid(entry->relid, entry->rellockmode))
            ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                            errmsg("relation \"%s\" is locked by another session",
                                   get_rel_name(entry->relid))));

    QueryDesc *const query =
        CreateQueryDesc(plan->statement, "(continuous query)", GetActiveSnapshot(), InvalidSnapshot,
                        &destination.receiver, nullptr, nullptr, 0);
    ExecutorStart(query, 0);
    pg::executor_run(query);
    ExecutorFinish(query);
    ExecutorEnd(query);
    FreeQueryDesc(query);
}

void install_plans()
{
    CacheRegisterRelcacheCallback(note_relation, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(PROCOID, note_object, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(TYPEOID, note_object, static_cast<Datum>(0));
    for (int const cache :
         {NAMESPACEOID, OPEROID, AMOPOPID, FOREIGNSERVEROID, FOREIGNDATAWRAPPEROID, AUTHOID})
        CacheRegisterSyscacheCallback(cache, note_anything, static_cast<Datum>(0));
}

} // namespace pipeline::partial
