#include "fold/view_machine.hpp"

#include "partial/relation_locks.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/grouping.hpp"

extern "C" {
#include "rewrite/rewriteHandler.h"
}

namespace pipeline::fold {
namespace {

/// Keys come first, then bare aggregates or the rest of a row: columns of definition and matrel
/// correspond.
void describe_columns(ViewMachine *machine, Relation definition)
{
    Query *const query = get_view_query(definition);
    auto const ncolumns = static_cast<Size>(list_length(query->targetList));
    machine->columns = static_cast<CombineColumn *>(
        MemoryContextAllocZero(machine->combining, sizeof(CombineColumn) * ncolumns));
    machine->ncolumns = 0;
    machine->nkeys = 0;
    machine->append = view::is_append_query(query);
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        int const column = machine->ncolumns++;
        if (IsA(entry->expr, Aggref))
            init_combine_column(&machine->columns[column],
                                reinterpret_cast<const Aggref *>(entry->expr), machine->combining);
        else if (!machine->append)
            machine->nkeys++;
    }
    machine->first = nullptr;
    if (view::is_first_row_query(query)) {
        machine->nkeys = list_length(query->distinctClause);
        machine->first = make_first_row_order(query);
    }
}

/// Complete or not at all: `combining` is set at the end.
void make_combining(ViewMachine *machine, Relation definition)
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "combine functions", ALLOCSET_SMALL_SIZES);
    ViewMachine made = *machine;
    made.combining = context;
    pg::in_context(context, [&] { describe_columns(&made, definition); });
    made.environment = make_combine_environment(context);
    MemoryContextSetParent(context, machine->context);
    *machine = made;
}

} // namespace

ViewMachine *make_writing_machine(Relation definition)
{
    auto *machine = static_cast<ViewMachine *>(palloc0(sizeof(ViewMachine)));
    machine->context = CurrentMemoryContext;
    machine->owner = definition->rd_rel->relowner;
    make_combining(machine, definition);
    return machine;
}

void renew_combining(FoldedView *view)
{
    if (view->machine == nullptr || view->machine->combining == nullptr)
        return;
    MemoryContextDelete(view->machine->combining);
    view->machine->combining = nullptr;
}

void drop_machine(FoldedView *view)
{
    if (view->machine == nullptr)
        return;
    if (view->machine->plan != nullptr)
        partial::free_plan(view->machine->plan);
    MemoryContextDelete(view->machine->context);
    view->machine = nullptr;
}

bool lock_joined(const FoldedView *view)
{
    auto const plan = [&] {
        bool const usable = view->machine != nullptr && !partial::is_stale(view->machine->plan);
        return usable ? view->machine->plan : nullptr;
    };
    if (plan() != nullptr && !partial::lock_joined(plan()))
        return false;
    // With a lock comes the news of what others did: the plan may be stale now.
    return plan() != nullptr || !OidIsValid(partial::lock_query_relations(view->query.definition));
}

void ready_machine(FoldedView *view, Relation definition)
{
    if (view->machine != nullptr && !partial::is_stale(view->machine->plan)) {
        partial::ready_plan(view->machine->plan, definition);
        if (view->machine->combining == nullptr)
            make_combining(view->machine, definition);
        return;
    }
    drop_machine(view);

    // Built under the tick's context and moved over when it is complete, so that an ERROR on
    // the way leaves nothing behind.
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "continuous view", ALLOCSET_DEFAULT_SIZES);
    pg::in_context(context, [&] {
        auto *machine = static_cast<ViewMachine *>(palloc0(sizeof(ViewMachine)));
        machine->context = context;
        machine->owner = definition->rd_rel->relowner;
        make_combining(machine, definition);
        machine->plan = partial::make_plan(definition, context);
        if (const PlannedStmt *const statement = partial::single_statement(machine->plan))
            machine->vector_plan = partial::make_vector_plan(statement, definition);
        MemoryContextSetParent(context, state().context);
        view->machine = machine;
    });
}

} // namespace pipeline::fold
