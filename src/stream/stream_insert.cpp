// INSERT, COPY FROM and tuple routing into a stream.
#include "spool/rendezvous.hpp"
#include "stream/row_encoder.hpp"
#include "stream/stream.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::stream {
namespace {

RowEncoder *encoder_of(ResultRelInfo *target)
{
    return static_cast<RowEncoder *>(target->ri_FdwState);
}

extern "C" int pipeline_is_updatable(Relation)
{
    return 1 << CMD_INSERT;
}

extern "C" List *pipeline_plan_modify(PlannerInfo *, ModifyTable *, Index, int)
{
    return NIL;
}

void begin_insert(ResultRelInfo *target, EState *estate)
{
    spool::require_preload();
    target->ri_FdwState = begin_rows(target->ri_RelationDesc, estate->es_query_cxt);
}

extern "C" void pipeline_begin_modify(ModifyTableState *state, ResultRelInfo *target, List *, int,
                                      int eflags)
{
    if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
        begin_insert(target, state->ps.state);
}

/// COPY FROM, and a stream that is a partition.
extern "C" void pipeline_begin_routed_insert(ModifyTableState *state, ResultRelInfo *target)
{
    begin_insert(target, state->ps.state);
}

/// Core enforces no constraint of a foreign table (nodeModifyTable.c:ExecInsert,
/// copyfrom.c:CopyFrom leave it to the wrapper).
extern "C" TupleTableSlot *pipeline_insert_row(EState *estate, ResultRelInfo *target,
                                               TupleTableSlot *slot, TupleTableSlot *)
{
    RowEncoder *const encoder = encoder_of(target);
    Relation const stream = target->ri_RelationDesc;
    stamp_arrival(encoder, slot);
    if (RelationGetDescr(stream)->constr != nullptr)
        ExecConstraints(target, slot, estate);
    if (stream->rd_rel->relispartition && target->ri_RootResultRelInfo == nullptr)
        ExecPartitionCheck(target, slot, estate, true);
    add_row(encoder, slot);
    return slot;
}

void end_insert(ResultRelInfo *target)
{
    if (target->ri_FdwState != nullptr)
        end_rows(encoder_of(target));
    target->ri_FdwState = nullptr;
}

extern "C" void pipeline_end_modify(EState *, ResultRelInfo *target)
{
    end_insert(target);
}

extern "C" void pipeline_truncate(List *relations, DropBehavior, bool)
{
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE),
             errmsg("cannot truncate stream \"%s\"",
                    RelationGetRelationName(static_cast<Relation>(linitial(relations)))),
             errhint("A stream stores nothing. To empty a continuous view, drop it and create it "
                     "again.")));
}

} // namespace

void add_insert_callbacks(FdwRoutine *routine)
{
    routine->IsForeignRelUpdatable = pipeline_is_updatable;
    routine->PlanForeignModify = pipeline_plan_modify;
    routine->BeginForeignModify = pipeline_begin_modify;
    routine->EndForeignModify = pipeline_end_modify;
    routine->BeginForeignInsert = pipeline_begin_routed_insert;
    routine->EndForeignInsert = pipeline_end_modify;
    routine->ExecForeignInsert = pipeline_insert_row;
    routine->ExecForeignTruncate = pipeline_truncate;
}

} // namespace pipeline::stream
