#include "partial/vector_merge.hpp"

extern "C" {
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
}

namespace pipeline::partial {
namespace {

bool is_same_input(const VectorInput &one, const VectorInput &other)
{
    return one.form == other.form && one.attnum == other.attnum && equal(one.expr, other.expr) &&
           !contain_volatile_functions(reinterpret_cast<Node *>(one.expr));
}

/// The number of the input in the merged plan.
int merge_input(VectorPlan *lanes, const VectorInput &input)
{
    for (int i = 0; i < lanes->ninputs; i++)
        if (is_same_input(lanes->inputs[i], input))
            return i;
    lanes->inputs[lanes->ninputs] = input;
    return lanes->ninputs++;
}

int merged_or_none(const int *merged, int input)
{
    return input < 0 ? -1 : merged[input];
}

bool has_keys(const Grouping &grouping, const VectorPlan *plan, const int *merged)
{
    if (grouping.nkeys != plan->nkeys)
        return false;
    for (int k = 0; k < plan->nkeys; k++)
        if (grouping.keys[k] != merged[plan->keys[k]])
            return false;
    return true;
}

int merge_grouping(MergedPlan *all, const VectorPlan *plan, const int *merged)
{
    for (int g = 0; g < all->ngroupings; g++)
        if (has_keys(all->groupings[g], plan, merged))
            return g;
    Grouping &grouping = all->groupings[all->ngroupings];
    auto const nkeys = static_cast<Size>(plan->nkeys);
    grouping.nkeys = plan->nkeys;
    grouping.keys = static_cast<int *>(palloc(sizeof(int) * (nkeys + 1)));
    grouping.kinds = plan->key_kinds;
    for (int k = 0; k < plan->nkeys; k++)
        grouping.keys[k] = merged[plan->keys[k]];
    grouping.states = static_cast<MergedState *>(palloc(sizeof(MergedState)));
    return all->ngroupings++;
}

int merge_state(Grouping *grouping, const MergedState &state)
{
    for (int s = 0; s < grouping->nstates; s++) {
        const MergedState &known = grouping->states[s];
        if (known.kind == state.kind && known.input == state.input && known.filter == state.filter)
            return s;
    }
    grouping->states = static_cast<MergedState *>(repalloc(
        grouping->states, sizeof(MergedState) * (static_cast<Size>(grouping->nstates) + 1)));
    grouping->states[grouping->nstates] = state;
    return grouping->nstates++;
}

void merge_view(MergedPlan *all, const VectorPlan *plan)
{
    auto *merged = static_cast<int *>(palloc(sizeof(int) * static_cast<Size>(plan->ninputs + 1)));
    for (int i = 0; i < plan->ninputs; i++)
        merged[i] = merge_input(all->lanes, plan->inputs[i]);
    MergedView &view = all->views[all->nviews++];
    view.plan = plan;
    view.grouping = merge_grouping(all, plan, merged);
    view.states =
        static_cast<int *>(palloc(sizeof(int) * static_cast<Size>(plan->naggregates + 1)));
    for (int a = 0; a < plan->naggregates; a++) {
        const VectorAggregate &aggregate = plan->aggregates[a];
        view.states[a] = merge_state(&all->groupings[view.grouping],
                                     {aggregate.kind, merged_or_none(merged, aggregate.input),
                                      merged_or_none(merged, aggregate.filter)});
    }
    pfree(merged);
}

} // namespace

bool can_merge(const VectorPlan *one, const VectorPlan *other)
{
    return one->scan->scan.scanrelid == other->scan->scan.scanrelid &&
           equal(one->scan->scan.plan.qual, other->scan->scan.plan.qual) &&
           !contain_volatile_functions(reinterpret_cast<Node *>(one->scan->scan.plan.qual));
}

MergedPlan *merge_plans(const VectorPlan *const *plans, int nplans)
{
    int ninputs = 0;
    for (int i = 0; i < nplans; i++)
        ninputs += plans[i]->ninputs;
    auto *all = static_cast<MergedPlan *>(palloc0(sizeof(MergedPlan)));
    all->lanes = static_cast<VectorPlan *>(palloc0(sizeof(VectorPlan)));
    all->lanes->statement = plans[0]->statement;
    all->lanes->scan = plans[0]->scan;
    all->lanes->inputs =
        static_cast<VectorInput *>(palloc0(sizeof(VectorInput) * static_cast<Size>(ninputs + 1)));
    all->groupings = static_cast<Grouping *>(palloc0(sizeof(Grouping) * static_cast<Size>(nplans)));
    all->views = static_cast<MergedView *>(palloc0(sizeof(MergedView) * static_cast<Size>(nplans)));
    for (int i = 0; i < nplans; i++)
        merge_view(all, plans[i]);
    return all;
}

} // namespace pipeline::partial
