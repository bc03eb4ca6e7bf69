#include "fold/view_machine.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "rewrite/rewriteHandler.h"
}

namespace pipeline::fold {
namespace {

/// Keys come first, then bare aggregates: columns of definition and matrel correspond.
void describe_columns(ViewMachine *machine, Relation definition)
{
    Query *const query = get_view_query(definition);
    auto const ncolumns = static_cast<Size>(list_length(query->targetList));
    machine->columns = static_cast<CombineColumn *>(palloc0(sizeof(CombineColumn) * ncolumns));
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        int const column = machine->ncolumns++;
        if (IsA(entry->expr, Aggref))
            init_combine_column(&machine->columns[column],
                                reinterpret_cast<const Aggref *>(entry->expr), machine->context);
        else
            machine->nkeys++;
    }
}

} // namespace

void drop_machine(FoldedView *view)
{
    if (view->machine == nullptr)
        return;
    if (view->machine->plan != nullptr)
        partial::free_plan(view->machine->plan);
    MemoryContextDelete(view->machine->context);
    view->machine = nullptr;
}

void ready_machine(FoldedView *view, Relation definition)
{
    if (view->machine != nullptr && !partial::is_stale(view->machine->plan))
        return;
    drop_machine(view);

    // Built under the tick's context and moved over when it is complete, so that an ERROR on
    // the way leaves nothing behind.
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "continuous view", ALLOCSET_DEFAULT_SIZES);
    pg::in_context(context, [&] {
        auto *machine = static_cast<ViewMachine *>(palloc0(sizeof(ViewMachine)));
        machine->context = context;
        machine->owner = definition->rd_rel->relowner;
        describe_columns(machine, definition);
        machine->environment = make_combine_environment(context);
        machine->plan = partial::make_plan(definition, context);
        MemoryContextSetParent(context, state().context);
        view->machine = machine;
    });
}

} // namespace pipeline::fold
