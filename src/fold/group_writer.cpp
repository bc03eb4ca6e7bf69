#include "fold/group_writer.hpp"

#include "fold/key_lookup.hpp"
#include "fold/matrel_target.hpp"
#include "pg/compat.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/heapam.h"
#include "storage/bufmgr.h"
}

namespace pipeline::fold {

struct GroupWriter {
    MatrelTarget target;
    ViewMachine *machine;
    KeyLookup *lookup;
    TupleTableSlot *stored;  ///< the group's row as it is
    TupleTableSlot *changed; ///< and as it will be
    MemoryContext scratch;   ///< reset after each group
};

namespace {

void fill_new(GroupWriter *writer, TupleTableSlot *group)
{
    const ViewMachine &machine = *writer->machine;
    TupleTableSlot *const changed = writer->changed;
    for (int i = 0; i < machine.ncolumns; i++) {
        changed->tts_isnull[i] = group->tts_isnull[i];
        changed->tts_values[i] = group->tts_values[i];
        if (i >= machine.nkeys && !group->tts_isnull[i])
            changed->tts_values[i] = stored_form(machine.columns[i], group->tts_values[i]);
    }
}

void fill_combined(GroupWriter *writer, TupleTableSlot *group)
{
    ViewMachine &machine = *writer->machine;
    TupleTableSlot *const changed = writer->changed;
    TupleTableSlot *const stored = writer->stored;
    slot_getallattrs(stored);
    for (int i = 0; i < stored->tts_tupleDescriptor->natts; i++) {
        changed->tts_values[i] = stored->tts_values[i];
        changed->tts_isnull[i] = stored->tts_isnull[i];
    }
    for (int i = machine.nkeys; i < machine.ncolumns; i++) {
        NullableDatum const result = combine_states(machine.columns[i], machine.environment,
                                                    {stored->tts_values[i], stored->tts_isnull[i]},
                                                    {group->tts_values[i], group->tts_isnull[i]});
        changed->tts_values[i] = result.value;
        changed->tts_isnull[i] = result.isnull;
    }
}

[[noreturn]] void raise_lost_race(TM_Result result, Relation matrel)
{
    if (result == TM_BeingModified || result == TM_WouldBlock)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("a row of \"%s\" is locked by another session",
                               RelationGetRelationName(matrel))));
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("a row of \"%s\" was changed by another session",
                           RelationGetRelationName(matrel))));
}

/// Could the row be updated now? TM_BeingModified: somebody holds a lock on it. The slot has the
/// page pinned since the row was found.
TM_Result state_of_stored(GroupWriter *writer)
{
    auto *const slot = reinterpret_cast<BufferHeapTupleTableSlot *>(writer->stored);
    Assert(TTS_IS_BUFFERTUPLE(writer->stored) && BufferIsValid(slot->buffer));
    LockBuffer(slot->buffer, BUFFER_LOCK_SHARE);
    TM_Result const result =
        HeapTupleSatisfiesUpdate(slot->base.tuple, GetCurrentCommandId(true), slot->buffer);
    LockBuffer(slot->buffer, BUFFER_LOCK_UNLOCK);
    return result;
}

void update_stored(GroupWriter *writer)
{
    TM_FailureData failure;
    LockTupleMode lock_mode;
    pg::UpdateIndexes update_indexes{};
    // A session that sits on a row lock must not stop every view. heap_update knows no way not to
    // wait (heapam.c, Assert(result != TM_BeingModified || wait)), so the row is looked at first;
    // a lock that is taken in between is waited for as long as lock_timeout says.
    TM_Result result = state_of_stored(writer);
    if (result == TM_Ok)
        result = table_tuple_update(writer->target.matrel, &writer->stored->tts_tid,
                                    writer->changed, GetCurrentCommandId(true), GetActiveSnapshot(),
                                    InvalidSnapshot, true, &failure, &lock_mode, &update_indexes);
    if (result != TM_Ok)
        raise_lost_race(result, writer->target.matrel);
    index_updated(writer->target, writer->changed, update_indexes);
}

void insert_new(GroupWriter *writer)
{
    table_tuple_insert(writer->target.matrel, writer->changed, GetCurrentCommandId(true), 0,
                       nullptr);
    index_inserted(writer->target, writer->changed);
}

} // namespace

GroupWriter *open_groups(Relation matrel, ViewMachine *machine)
{
    KeyLookup *const lookup = open_lookup(matrel, machine->nkeys);
    if (lookup == nullptr)
        return nullptr;
    auto *writer = static_cast<GroupWriter *>(palloc0(sizeof(GroupWriter)));
    writer->machine = machine;
    writer->lookup = lookup;
    writer->target = open_target(matrel);
    writer->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "fold group", ALLOCSET_DEFAULT_SIZES);
    writer->stored = table_slot_create(matrel, nullptr);
    writer->changed = MakeSingleTupleTableSlot(RelationGetDescr(matrel), &TTSOpsVirtual);
    return writer;
}

static void take_group(TupleTableSlot *group, GroupWriter *writer, bool write)
{
    slot_getallattrs(group);
    bool const found = find_group(writer->lookup, group, writer->stored, writer->scratch);
    // A row of keys alone stays as it is.
    bool const changes = !found || writer->machine->ncolumns > writer->machine->nkeys;
    pg::in_context(writer->scratch, [&] {
        if (!changes)
            return;
        ExecClearTuple(writer->changed);
        if (found) {
            fill_combined(writer, group);
        } else {
            memset(writer->changed->tts_isnull, true,
                   static_cast<Size>(RelationGetDescr(writer->target.matrel)->natts));
            fill_new(writer, group);
        }
        ExecStoreVirtualTuple(writer->changed);
        writer->changed->tts_tableOid = RelationGetRelid(writer->target.matrel);
        check_row(writer->target, writer->changed);
        if (write && found)
            update_stored(writer);
        else if (write)
            insert_new(writer);
    });
    ExecClearTuple(writer->changed);
    ResetPerTupleExprContext(writer->target.estate);
    ResetExprContext(writer->machine->environment.expressions);
    MemoryContextReset(writer->scratch);
}

void write_group(TupleTableSlot *group, void *arg)
{
    take_group(group, static_cast<GroupWriter *>(arg), true);
}

void check_group(TupleTableSlot *group, void *arg)
{
    take_group(group, static_cast<GroupWriter *>(arg), false);
}

void close_groups(GroupWriter *writer)
{
    close_lookup(writer->lookup);
    ExecDropSingleTupleTableSlot(writer->stored);
    ExecDropSingleTupleTableSlot(writer->changed);
    close_target(writer->target);
    MemoryContextDelete(writer->scratch);
}

} // namespace pipeline::fold
