#include "fold/matrel_target.hpp"

extern "C" {
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
}

namespace pipeline::fold {

/// Rows are written below the executor: triggers would not fire, foreign keys not be checked.
/// The only trigger that belongs here is the statement trigger that refuses others' DML.
void refuse_triggers(Relation matrel)
{
    const TriggerDesc *const triggers = matrel->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++)
        if (TRIGGER_FOR_ROW(triggers->triggers[i].tgtype))
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("trigger \"%s\" on table \"%s\" of a continuous view is not "
                                   "supported",
                                   triggers->triggers[i].tgname, RelationGetRelationName(matrel)),
                            errhint("Drop the trigger or foreign key, then call "
                                    "pipelinedb.activate().")));
}

MatrelTarget open_target(Relation matrel)
{
    refuse_triggers(matrel);
    MatrelTarget target{matrel, CreateExecutorState(), makeNode(ResultRelInfo)};
    InitResultRelInfo(target.info, matrel, 0, nullptr, 0);
    ExecOpenIndices(target.info, false);
    return target;
}

void check_row(MatrelTarget &target, TupleTableSlot *row)
{
    if (RelationGetDescr(target.matrel)->constr != nullptr)
        ExecConstraints(target.info, row, target.estate);
}

void index_inserted(MatrelTarget &target, TupleTableSlot *row)
{
    if (target.info->ri_NumIndices > 0)
        pg::insert_index_entries(target.info, row, target.estate, false, false);
}

void index_updated(MatrelTarget &target, TupleTableSlot *row, pg::UpdateIndexes update)
{
    if (target.info->ri_NumIndices > 0 && pg::needs_index_entries(update))
        pg::insert_index_entries(target.info, row, target.estate, true,
                                 pg::only_summarizing(update));
}

void close_target(MatrelTarget &target)
{
    ExecCloseIndices(target.info);
    FreeExecutorState(target.estate);
}

} // namespace pipeline::fold
