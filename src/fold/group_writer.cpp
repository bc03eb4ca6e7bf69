#include "fold/group_writer.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/relscan.h"
#include "access/skey.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/execnodes.h"
}

namespace pipeline::fold {

struct GroupWriter {
    Relation matrel;
    ViewMachine *machine;
    EState *estate;
    ResultRelInfo *target;
    TupleTableSlot *stored;  ///< the group's row as it is
    TupleTableSlot *changed; ///< and as it will be
    MemoryContext scratch;   ///< reset after each group
    MemoryContext context;   ///< lives as long as the scans
    Relation index;          ///< nullptr for a view of a single row
    IndexScanDesc index_scan;
    TableScanDesc table_scan;
    ScanKeyData keys[INDEX_MAX_KEYS];
};

namespace {

/// The index over exactly the key columns, or for a view without keys any unique index: its
/// presence says that a restore has come to its end.
Relation open_key_index(Relation matrel, int nkeys)
{
    Relation found = nullptr;
    for (Oid const oid : pg::each_oid(RelationGetIndexList(matrel))) {
        Relation index = index_open(oid, RowExclusiveLock);
        Form_pg_index const form = index->rd_index;
        bool fits = form->indisunique && form->indisvalid && form->indisready &&
                    form->indimmediate && index->rd_rel->relam == BTREE_AM_OID &&
                    RelationGetIndexPredicate(index) == NIL;
        if (nkeys > 0) {
            fits = fits && form->indnkeyatts == nkeys && RelationGetIndexExpressions(index) == NIL;
            for (int i = 0; fits && i < nkeys; i++)
                fits = form->indkey.values[i] <= nkeys;
        }
        if (fits && found == nullptr)
            found = index;
        else
            index_close(index, NoLock);
    }
    return found;
}

void prepare_keys(GroupWriter *writer)
{
    Relation const index = writer->index;
    for (int i = 0; i < writer->machine->nkeys; i++) {
        Oid const op = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
                                           index->rd_opcintype[i], BTEqualStrategyNumber);
        if (!OidIsValid(op))
            elog(ERROR, "no equality operator in operator family %u", index->rd_opfamily[i]);
        ScanKeyEntryInitialize(&writer->keys[i], 0, static_cast<AttrNumber>(i + 1),
                               BTEqualStrategyNumber, InvalidOid, index->rd_indcollation[i],
                               get_opcode(op), static_cast<Datum>(0));
    }
}

void set_keys(GroupWriter *writer, TupleTableSlot *group)
{
    for (int i = 0; i < writer->machine->nkeys; i++) {
        int const column = writer->index->rd_index->indkey.values[i] - 1;
        ScanKeyData &key = writer->keys[i];
        bool const isnull = group->tts_isnull[column];
        // NULL groups: the index is NULLS NOT DISTINCT, and a search for IS NULL finds them.
        key.sk_flags = isnull ? SK_ISNULL | SK_SEARCHNULL : 0;
        key.sk_argument = isnull ? static_cast<Datum>(0) : group->tts_values[column];
    }
}

/// Fetching through the index prunes the page first (heapam_index_fetch_tuple calls
/// heap_page_prune_opt), so that the update after it finds room and stays HOT.
bool find_stored(GroupWriter *writer, TupleTableSlot *group)
{
    ExecClearTuple(writer->stored);
    if (writer->machine->nkeys == 0) {
        table_rescan(writer->table_scan, nullptr);
        return table_scan_getnextslot(writer->table_scan, ForwardScanDirection, writer->stored);
    }
    set_keys(writer, group);
    index_rescan(writer->index_scan, writer->keys, writer->machine->nkeys, nullptr, 0);
    return index_getnext_slot(writer->index_scan, ForwardScanDirection, writer->stored);
}

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

void check_row(GroupWriter *writer)
{
    if (RelationGetDescr(writer->matrel)->constr != nullptr)
        ExecConstraints(writer->target, writer->changed, writer->estate);
}

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

void update_stored(GroupWriter *writer)
{
    TM_FailureData failure;
    LockTupleMode lock_mode;
    pg::UpdateIndexes update_indexes{};
    // wait = false: a session that sits on a row lock must not stop every view.
    TM_Result const result = table_tuple_update(
        writer->matrel, &writer->stored->tts_tid, writer->changed, GetCurrentCommandId(true),
        GetActiveSnapshot(), InvalidSnapshot, false, &failure, &lock_mode, &update_indexes);
    if (result != TM_Ok)
        raise_lost_race(result, writer->matrel);
    if (writer->target->ri_NumIndices > 0 && pg::needs_index_entries(update_indexes))
        pg::insert_index_entries(writer->target, writer->changed, writer->estate, true,
                                 pg::only_summarizing(update_indexes));
}

void insert_new(GroupWriter *writer)
{
    table_tuple_insert(writer->matrel, writer->changed, GetCurrentCommandId(true), 0, nullptr);
    if (writer->target->ri_NumIndices > 0)
        pg::insert_index_entries(writer->target, writer->changed, writer->estate, false, false);
}

} // namespace

GroupWriter *open_groups(Relation matrel, ViewMachine *machine)
{
    Relation const index = open_key_index(matrel, machine->nkeys);
    if (index == nullptr)
        return nullptr;
    refuse_triggers(matrel);
    auto *writer = static_cast<GroupWriter *>(palloc0(sizeof(GroupWriter)));
    writer->matrel = matrel;
    writer->context = CurrentMemoryContext;
    writer->machine = machine;
    writer->index = index;
    writer->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "fold group", ALLOCSET_DEFAULT_SIZES);
    writer->estate = CreateExecutorState();
    writer->target = makeNode(ResultRelInfo);
    InitResultRelInfo(writer->target, matrel, 0, nullptr, 0);
    ExecOpenIndices(writer->target, false);
    writer->stored = table_slot_create(matrel, nullptr);
    writer->changed = MakeSingleTupleTableSlot(RelationGetDescr(matrel), &TTSOpsVirtual);
    if (machine->nkeys > 0) {
        prepare_keys(writer);
        writer->index_scan =
            pg::begin_index_scan(matrel, index, GetActiveSnapshot(), machine->nkeys);
    } else {
        writer->table_scan =
            table_beginscan_strat(matrel, GetActiveSnapshot(), 0, nullptr, true, false);
    }
    return writer;
}

GroupWriter *require_groups(Relation matrel, ViewMachine *machine)
{
    GroupWriter *const writer = open_groups(matrel, machine);
    if (writer == nullptr)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("table \"%s\" has no unique index over the groups",
                               RelationGetRelationName(matrel)),
                        errhint("Rows wait until the index of the view's table is back.")));
    return writer;
}

static void take_group(TupleTableSlot *group, GroupWriter *writer, bool write)
{
    slot_getallattrs(group);
    // Not in the scratch context: the scan keeps what it allocates on the way (nbtree.c:
    // btgettuple, killedItems).
    bool const found = pg::in_context(writer->context, [&] { return find_stored(writer, group); });
    pg::in_context(writer->scratch, [&] {
        ExecClearTuple(writer->changed);
        if (found) {
            fill_combined(writer, group);
        } else {
            memset(writer->changed->tts_isnull, true,
                   static_cast<Size>(RelationGetDescr(writer->matrel)->natts));
            fill_new(writer, group);
        }
        ExecStoreVirtualTuple(writer->changed);
        writer->changed->tts_tableOid = RelationGetRelid(writer->matrel);
        check_row(writer);
        if (write && found)
            update_stored(writer);
        else if (write)
            insert_new(writer);
    });
    ExecClearTuple(writer->changed);
    ResetPerTupleExprContext(writer->estate);
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
    if (writer->index_scan != nullptr)
        index_endscan(writer->index_scan);
    if (writer->table_scan != nullptr)
        table_endscan(writer->table_scan);
    index_close(writer->index, NoLock);
    ExecDropSingleTupleTableSlot(writer->stored);
    ExecDropSingleTupleTableSlot(writer->changed);
    ExecCloseIndices(writer->target);
    FreeExecutorState(writer->estate);
    MemoryContextDelete(writer->scratch);
}

} // namespace pipeline::fold
