// INSERT, COPY FROM and tuple routing into a stream.
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "spool/targets.hpp"
#include "stream/row_encoder.hpp"
#include "stream/stream.hpp"

extern "C" {
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "executor/nodeModifyTable.h"
#include "foreign/foreign.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
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

/// The sum of an output stream's rows would no longer be what is behind it. Rows for some views
/// alone repair one, or tell it what was before.
void refuse_output(Oid stream)
{
    if (spool::has_targets(stream))
        return;
    for (auto *option : pg::each<DefElem>(GetForeignTable(stream)->options))
        if (strcmp(option->defname, "output_of") == 0)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("cannot insert into output stream \"%s\"", get_rel_name(stream)),
                            errdetail("Its rows are the changes of \"%s\".", defGetString(option)),
                            errhint("Insert into a stream that it reads, or name the readers in "
                                    "pipelinedb.stream_targets.")));
}

extern "C" List *pipeline_plan_modify(PlannerInfo *root, ModifyTable *, Index target, int)
{
    refuse_output(planner_rt_fetch(target, root)->relid);
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
    refuse_output(RelationGetRelid(target->ri_RelationDesc));
    begin_insert(target, state->ps.state);
}

/// The policies of a partitioned table that the row was routed from. ModifyTable checks them
/// for partitions that are tables only. The list holds those of the statement's own kind; of
/// MERGE, which may insert and update, a row must pass both.
void check_policies(EState *estate, ResultRelInfo *target, TupleTableSlot *slot)
{
    CmdType const command =
        estate->es_plannedstmt != nullptr ? estate->es_plannedstmt->commandType : CMD_INSERT;
    if (command != CMD_UPDATE)
        ExecWithCheckOptions(WCO_RLS_INSERT_CHECK, target, slot, estate);
    if (command != CMD_INSERT)
        ExecWithCheckOptions(WCO_RLS_UPDATE_CHECK, target, slot, estate);
}

/// Core enforces no constraint of a foreign table (nodeModifyTable.c:ExecInsert,
/// copyfrom.c:CopyFrom leave it to the wrapper). The partition constraint holds for a routed
/// row, unless something changed the row since: a BEFORE trigger, or the time stamp.
void check_row(EState *estate, ResultRelInfo *target, TupleTableSlot *slot, bool stamped)
{
    Relation const stream = target->ri_RelationDesc;
    const TriggerDesc *const triggers = target->ri_TrigDesc;
    if (target->ri_WithCheckOptions != NIL)
        check_policies(estate, target, slot);
    if (RelationGetDescr(stream)->constr != nullptr)
        ExecConstraints(target, slot, estate);
    if (stream->rd_rel->relispartition &&
        (stamped || target->ri_RootResultRelInfo == nullptr ||
         (triggers != nullptr && triggers->trig_insert_before_row)))
        ExecPartitionCheck(target, slot, estate, true);
}

/// The executor copies each row into a slot of the kind that the table has (nodeModifyTable.c,
/// ExecGetInsertNewTuple), for foreign tables that of heap tuples: it forms a tuple, and we take
/// it apart. With a virtual slot it hands over what the plan returns, or copies the values. Made
/// at the first row, since ExecInitInsertProjection comes after BeginForeignModify.
void want_virtual_slot(EState *estate, ResultRelInfo *target, const TupleTableSlot *slot)
{
    const TupleConstr *const constraints = RelationGetDescr(target->ri_RelationDesc)->constr;
    bool const is_generated = constraints != nullptr && constraints->has_generated_stored;
    if (slot != target->ri_newTupleSlot || !TTS_IS_HEAPTUPLE(slot) ||
        target->ri_projectNew != nullptr || target->ri_projectReturning != nullptr ||
        target->ri_TrigDesc != nullptr || is_generated)
        return;
    target->ri_newTupleSlot = pg::in_context(estate->es_query_cxt, [&] {
        return ExecInitExtraTupleSlot(estate, RelationGetDescr(target->ri_RelationDesc),
                                      &TTSOpsVirtual);
    });
}

/// Generated columns have been computed before the time stamp was there, so those that use it
/// hold the wrong value.
extern "C" TupleTableSlot *pipeline_insert_row(EState *estate, ResultRelInfo *target,
                                               TupleTableSlot *slot, TupleTableSlot *)
{
    RowEncoder *const encoder = encoder_of(target);
    Relation const stream = target->ri_RelationDesc;
    const TupleConstr *const constraints = RelationGetDescr(stream)->constr;
    bool const stamped =
        stamp_arrival(encoder, slot,
                      target->ri_TrigDesc != nullptr || target->ri_projectReturning != nullptr ||
                          target->ri_RootResultRelInfo != nullptr);
    slot->tts_tableOid = RelationGetRelid(stream); // expressions may use it
    if (stamped && constraints != nullptr && constraints->has_generated_stored)
        ExecComputeStoredGenerated(target, estate, slot, CMD_INSERT);
    check_row(estate, target, slot, stamped);
    add_row(encoder, slot);
    want_virtual_slot(estate, target, slot);
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

extern "C" List *pipeline_import(ImportForeignSchemaStmt *statement, Oid)
{
    ereport(ERROR, (errcode(ERRCODE_FDW_NO_SCHEMAS),
                    errmsg("server \"%s\" has no schemas to import", statement->server_name),
                    errhint("Streams are created here: CREATE FOREIGN TABLE name (columns) SERVER "
                            "%s.",
                            quote_identifier(statement->server_name))));
    pg_unreachable();
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
    routine->ImportForeignSchema = pipeline_import;
}

} // namespace pipeline::stream
