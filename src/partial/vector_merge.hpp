// Views over the same rows: inputs, groups and states that several of them need are computed once.
//
// Owns: which parts of queries are the same. May call: partial/vector_plan. Invariants: views
// are merged only if they have the same WHERE, so that the same rows count for each of them; a
// merged plan of one view computes exactly what its VectorPlan says.
#pragma once

#include "partial/vector_plan.hpp"

namespace pipeline::partial {

struct MergedState {
    agg::StateKind kind;
    int input;  ///< -1 for count(*)
    int filter; ///< -1 for none
};

/// A list of keys, and the states of all views that group by it.
struct Grouping {
    int nkeys;
    int *keys; ///< inputs
    agg::KeyKind *kinds;
    int nstates;
    MergedState *states;
};

struct MergedView {
    const VectorPlan *plan;
    int grouping;
    int *states; ///< of the grouping, one per aggregate of the plan
};

struct MergedPlan {
    VectorPlan *lanes; ///< the inputs and the WHERE of all; has no keys and aggregates
    int ngroupings;
    Grouping *groupings;
    int nviews;
    MergedView *views;
};

/// Have the two the same WHERE?
bool can_merge(const VectorPlan *one, const VectorPlan *other);

/// All of them can_merge() with each other. In CurrentMemoryContext; refers to the plans.
MergedPlan *merge_plans(const VectorPlan *const *plans, int nplans);

} // namespace pipeline::partial
