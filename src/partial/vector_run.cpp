#include "partial/vector_run.hpp"

#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/scope.hpp"

#include <new>

namespace pipeline::partial {

/// The groups of one Grouping. Lives in the run's `groups` context and is dropped with it.
struct GroupSet {
    agg::GroupTable *table;
    agg::StateArray **states;
};

struct VectorRun {
    const MergedPlan *plan;
    MemoryContext context;
    MemoryContext groups;     ///< of the sets
    LaneBuilder *lanes;       ///< nullptr if lanes are given
    const agg::Lane *given;   ///< lanes of the block at hand, if they come from elsewhere
    agg::Selection selection; ///< of the evaluated block
    GroupSet *sets;           ///< one per grouping
    // For one block:
    uint32 *numbers;  ///< groups of the selected rows
    uint32 *filtered; ///< of those that pass an aggregate's filter
    uint16 *filtered_rows;
    agg::Lane *keys;
};

namespace {

[[noreturn]] void raise_overflow()
{
    ereport(ERROR,
            (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("value out of range: overflow")));
    pg_unreachable();
}

/// The resource must live as long as the containers that were made with it.
pg::ContextResource *resource_of(MemoryContext context)
{
    return new (MemoryContextAlloc(context, sizeof(pg::ContextResource)))
        pg::ContextResource(context);
}

GroupSet make_set(const Grouping &grouping, MemoryContext context, pg::ContextResource *memory)
{
    auto const nstates = static_cast<Size>(grouping.nstates);
    GroupSet set;
    void *const table = MemoryContextAlloc(context, sizeof(agg::GroupTable));
    void *const states = MemoryContextAlloc(context, sizeof(agg::StateArray) * (nstates + 1));
    set.states = static_cast<agg::StateArray **>(
        MemoryContextAlloc(context, sizeof(agg::StateArray *) * (nstates + 1)));
    pg::enter([&] {
        set.table = new (table)
            agg::GroupTable({grouping.kinds, static_cast<std::size_t>(grouping.nkeys)}, memory);
        for (Size s = 0; s < nstates; s++)
            set.states[s] = new (static_cast<agg::StateArray *>(states) + s)
                agg::StateArray(grouping.states[s].kind, memory);
    });
    return set;
}

void make_sets(VectorRun *run)
{
    run->groups =
        AllocSetContextCreate(run->context, "continuous query groups", ALLOCSET_DEFAULT_SIZES);
    pg::ContextResource *const memory = resource_of(run->groups);
    for (int g = 0; g < run->plan->ngroupings; g++)
        run->sets[g] = make_set(run->plan->groupings[g], run->groups, memory);
}

const agg::Lane &lane_of(const VectorRun *run, int input)
{
    return run->lanes != nullptr ? lane_of(run->lanes, input) : run->given[input];
}

/// A row counts for an aggregate if its FILTER is true, not NULL.
agg::Selection apply_filter(VectorRun *run, const agg::Lane &filter)
{
    uint32 count = 0;
    for (uint32 i = 0; i < run->selection.count; i++) {
        uint16 const row = run->selection.rows[i];
        run->filtered_rows[count] = row;
        run->filtered[count] = run->numbers[i];
        count += filter.words[row] != 0 && !filter.is_null(row);
    }
    return {run->filtered_rows, count};
}

bool take_into(VectorRun *run, const Grouping &grouping, GroupSet *set)
{
    for (int k = 0; k < grouping.nkeys; k++)
        run->keys[k] = lane_of(run, grouping.keys[k]);
    set->table->resolve({run->keys, static_cast<std::size_t>(grouping.nkeys)}, run->selection,
                        run->numbers);
    bool fits = true;
    for (int s = 0; s < grouping.nstates; s++) {
        const MergedState &state = grouping.states[s];
        agg::StateArray *const states = set->states[s];
        states->grow(set->table->ngroups());
        const agg::Lane *const argument = state.input < 0 ? nullptr : &lane_of(run, state.input);
        if (state.filter < 0) {
            fits &= states->update(argument, run->selection, run->numbers);
        } else {
            agg::Selection const some = apply_filter(run, lane_of(run, state.filter));
            fits &= states->update(argument, some, run->filtered);
        }
    }
    return fits;
}

bool is_first_of_its_state(const MergedView &view, int aggregate)
{
    for (int a = 0; a < aggregate; a++)
        if (view.states[a] == view.states[aggregate])
            return false;
    return true;
}

} // namespace

VectorRun *open_run(const MergedPlan *plan, Relation stream)
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "vector run", ALLOCSET_DEFAULT_SIZES);
    return pg::in_context(context, [&] {
        auto *run = static_cast<VectorRun *>(palloc0(sizeof(VectorRun)));
        run->plan = plan;
        run->context = context;
        run->numbers = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
        run->filtered = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
        run->filtered_rows = static_cast<uint16 *>(palloc(sizeof(uint16) * agg::kBlockRows));
        run->keys = static_cast<agg::Lane *>(palloc0(sizeof(agg::Lane) * (agg::kMaxKeys + 1)));
        run->sets = static_cast<GroupSet *>(
            palloc0(sizeof(GroupSet) * static_cast<Size>(plan->ngroupings)));
        if (stream != nullptr)
            run->lanes = open_lanes(plan->lanes, stream);
        make_sets(run);
        return run;
    });
}

void begin_chunk(VectorRun *run, const spool::Chunk *chunk)
{
    set_chunk(run->lanes, chunk);
}

void begin_block(VectorRun *run, const DatumBlock *block)
{
    set_block(run->lanes, block);
}

void evaluate_block(VectorRun *run, uint32 first, uint32 nrows)
{
    run->selection = fill_lanes(run->lanes, first, nrows);
}

void set_lanes(VectorRun *run, const agg::Lane *lanes, agg::Selection selection)
{
    run->given = lanes;
    run->selection = selection;
}

bool is_moderate(const VectorRun *run)
{
    for (int g = 0; g < run->plan->ngroupings; g++) {
        const Grouping &grouping = run->plan->groupings[g];
        for (int s = 0; s < grouping.nstates; s++) {
            const MergedState &state = grouping.states[s];
            if (state.input >= 0 &&
                !agg::is_moderate(state.kind, lane_of(run, state.input), run->selection))
                return false;
        }
    }
    return true;
}

void take_block(VectorRun *run)
{
    bool const fits = pg::enter([&] {
        bool all_fit = true;
        for (int g = 0; g < run->plan->ngroupings; g++)
            all_fit &= take_into(run, run->plan->groupings[g], &run->sets[g]);
        return all_fit;
    });
    if (!fits)
        raise_overflow();
}

void merge_lanes(VectorRun *run, int view, std::span<const agg::Lane> lanes,
                 agg::Selection selection)
{
    const MergedView &merged = run->plan->views[view];
    auto const nkeys = static_cast<std::size_t>(merged.plan->nkeys);
    GroupSet *const set = &run->sets[merged.grouping];
    bool const fits = pg::enter([&] {
        set->table->resolve(lanes.first(nkeys), selection, run->numbers);
        std::size_t next = nkeys;
        bool all_fit = true;
        for (int a = 0; a < merged.plan->naggregates; a++) {
            agg::StateArray *const states = set->states[merged.states[a]];
            std::size_t const nwords = agg::words_of(states->kind());
            states->grow(set->table->ngroups());
            // Two aggregates may have one state: sum(x) and avg(x).
            if (is_first_of_its_state(merged, a))
                all_fit &= states->merge(lanes.subspan(next, nwords), selection, run->numbers);
            next += nwords;
        }
        return all_fit;
    });
    if (!fits)
        raise_overflow();
}

const VectorPlan *plan_of(const VectorRun *run, int view)
{
    return run->plan->views[view].plan;
}

uint32 count_groups(const VectorRun *run, int view)
{
    return run->sets[run->plan->views[view].grouping].table->ngroups();
}

agg::KeyValue group_key(const VectorRun *run, int view, uint32 group, int key)
{
    return run->sets[run->plan->views[view].grouping].table->key(group, static_cast<Size>(key));
}

const agg::StateArray &states_of(const VectorRun *run, int view, int aggregate)
{
    const MergedView &merged = run->plan->views[view];
    return *run->sets[merged.grouping].states[merged.states[aggregate]];
}

Size run_size(const VectorRun *run)
{
    return MemoryContextMemAllocated(run->groups, true);
}

uint64 count_all_groups(const VectorRun *run)
{
    uint64 count = 0;
    for (int v = 0; v < run->plan->nviews; v++)
        count += count_groups(run, v);
    return count;
}

void clear_groups(VectorRun *run)
{
    MemoryContextDelete(run->groups);
    make_sets(run);
}

void close_run(VectorRun *run)
{
    if (run->lanes != nullptr)
        close_lanes(run->lanes);
    MemoryContextDelete(run->context);
}

} // namespace pipeline::partial
