#include "partial/joined_rows.hpp"

#include "partial/block_receiver.hpp"
#include "partial/hash_join.hpp"
#include "partial/vector_run.hpp"
#include "pg/compat.hpp"
#include "pg/scope.hpp"

namespace pipeline::partial {

struct JoinedPlan {
    VectorPlan *aggregation; ///< alone; the inputs of its lanes are the columns of `rows`
    const PlannedStmt *rows; ///< the join, with the inputs as its target list
    AttrNumber *columns;     ///< 1, 2, 3, …
    HashJoinPlan *hash_join; ///< nullptr if it is none that is served
};

namespace {

struct JoinedRun {
    const VectorPlan *aggregation;
    VectorRun *run;
    MemoryContext context;
    GroupReceiver receive;
    void *arg;
};

bool take_joined_rows(const agg::Lane *lanes, agg::Selection rows, void *arg)
{
    auto *const joined = static_cast<JoinedRun *>(arg);
    set_lanes(joined->run, lanes, rows);
    take_block(joined->run);
    if (unlikely(is_too_large(joined->run))) { // a join can make any number of groups out of a row
        pg::in_context(joined->context, [&] {
            emit_groups(joined->run, joined->aggregation, joined->receive, joined->arg);
        });
        clear_groups(joined->run);
    }
    return true;
}

/// The statement as if the join were a scan, which is what make_vector_plan() reads: it then
/// gives keys and arguments in terms of the join's own columns.
PlannedStmt *as_single_scan(const PlannedStmt *statement, const Plan *join)
{
    ForeignScan *const scan = makeNode(ForeignScan);
    scan->scan.scanrelid = 1;
    scan->scan.plan.targetlist = join->targetlist;
    Agg *const agg = makeNode(Agg);
    *agg = *reinterpret_cast<const Agg *>(statement->planTree);
    agg->plan.lefttree = &scan->scan.plan;
    PlannedStmt *const single = makeNode(PlannedStmt);
    *single = *statement;
    single->planTree = &agg->plan;
    single->subplans = NIL; // those of the join stay where they are evaluated
    return single;
}

/// The init plans of `node` and of what is above it. The planner hangs them on the topmost node of
/// a query (subselect.c, SS_attach_initplans), and without their node they would have no value.
List *init_plans_down_to(Plan *top, const Plan *node)
{
    List *plans = NIL;
    for (Plan *at = top;; at = outerPlan(at)) {
        plans = list_concat(plans, at->initPlan);
        if (at == node)
            return plans;
    }
}

/// The join alone. It computes the inputs, so each of them is evaluated for the same rows as by
/// the Agg.
PlannedStmt *rows_of(const PlannedStmt *statement, Plan *join, const VectorPlan *inputs)
{
    auto *top = static_cast<Plan *>(copyObjectImpl(join));
    top->initPlan = init_plans_down_to(statement->planTree, join);
    top->targetlist = NIL;
    for (int i = 0; i < inputs->ninputs; i++)
        top->targetlist = lappend(top->targetlist,
                                  makeTargetEntry(inputs->inputs[i].expr,
                                                  static_cast<AttrNumber>(i + 1), nullptr, false));
    PlannedStmt *const rows = makeNode(PlannedStmt);
    *rows = *statement;
    rows->planTree = top;
    return rows;
}

} // namespace

JoinedPlan *make_joined_plan(const PlannedStmt *statement, Relation definition)
{
    if (!IsA(statement->planTree, Agg))
        return nullptr;
    Plan *join = outerPlan(statement->planTree);
    if (join != nullptr && IsA(join, Sort))
        join = outerPlan(join);
    // These evaluate their target list for each row that they return (createplan.c,
    // is_projection_capable_plan), and it may be any.
    if (join == nullptr || !(IsA(join, NestLoop) || IsA(join, HashJoin) || IsA(join, MergeJoin)))
        return nullptr;
    VectorPlan *const aggregation = make_vector_plan(as_single_scan(statement, join), definition);
    if (aggregation == nullptr)
        return nullptr;
    const VectorPlan *const inputs = aggregation->alone->lanes;
    auto *plan = static_cast<JoinedPlan *>(palloc0(sizeof(JoinedPlan)));
    plan->aggregation = aggregation;
    plan->rows = rows_of(statement, join, inputs);
    plan->columns =
        static_cast<AttrNumber *>(palloc(sizeof(AttrNumber) * static_cast<Size>(inputs->ninputs)));
    for (int i = 0; i < inputs->ninputs; i++)
        plan->columns[i] = static_cast<AttrNumber>(i + 1);
    plan->hash_join = make_hash_join(statement, join, inputs);
    return plan;
}

bool run_joined_plan(const JoinedPlan *plan, GroupReceiver receive, void *arg)
{
    const VectorPlan *const aggregation = plan->aggregation;
    if (!may_run(aggregation))
        return false;
    const VectorPlan *const inputs = aggregation->alone->lanes;
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "joined rows", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    JoinedRun joined{aggregation, open_run(aggregation->alone, nullptr), context, receive, arg};
    if (plan->hash_join == nullptr || !run_hash_join(plan->hash_join, take_joined_rows, &joined))
        receive_blocks(plan->rows, open_block_receiver(inputs->inputs, plan->columns,
                                                       inputs->ninputs, take_joined_rows, &joined));
    emit_groups(joined.run, aggregation, receive, arg);
    close_run(joined.run);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
    return true;
}

} // namespace pipeline::partial
