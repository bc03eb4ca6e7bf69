#include "fold/group_writer.hpp"

#include "fold/group_places.hpp"
#include "fold/key_lookup.hpp"
#include "fold/matrel_target.hpp"
#include "pg/compat.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/heapam.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

#include <algorithm>

namespace pipeline::fold {

/// New rows go into the table in portions of so many.
constexpr int kRowsAtOnce = 256;

/// After so many groups it is looked again which old versions can go.
constexpr uint32 kLookAtHorizonEvery = 4096;

/// As copyfrom.c: MAX_BUFFERED_BYTES.
constexpr Size kBytesAtOnce = 65535;

struct GroupWriter {
    MatrelTarget target;
    ViewMachine *machine;
    Emission *emission;    ///< nullptr: nobody reads the changes
    TupleTableSlot *delta; ///< for it: what came to a group
    KeyImage keys;
    GroupBatch *batch;                  ///< nullptr: each group is written at once
    KeyLookup *lookup;                  ///< by the index
    IndexFetchTableData *fetch;         ///< by place
    Snapshot snapshot;                  ///< shows what the commands before have written
    BlockNumber nblocks;                ///< the table is not cut while it is locked
    TupleTableSlot *stored;             ///< the group's row as it is
    TupleTableSlot *changed;            ///< and as it will be
    TupleTableSlot *fresh[kRowsAtOnce]; ///< new rows
    int nslots;                         ///< made so far
    MemoryContext context;
    MemoryContext scratch; ///< reset after each group
    bool write;
    bool wrote; ///< the snapshot does not show everything
    bool empty; ///< no row was there, and none has been written
};

namespace {

/// A command of its own, so that rows written before are found, and may be changed once more.
void begin_command(GroupWriter *writer)
{
    if (!writer->wrote)
        return;
    CommandCounterIncrement();
    writer->snapshot->curcid = GetCurrentCommandId(false);
    writer->wrote = false;
}

void end_group(GroupWriter *writer)
{
    ResetPerTupleExprContext(writer->target.estate);
    ResetExprContext(writer->machine->environment.expressions);
    MemoryContextReset(writer->scratch);
}

void fill_new(GroupWriter *writer, const GroupRow &group, TupleTableSlot *row)
{
    const ViewMachine &machine = *writer->machine;
    ExecClearTuple(row);
    for (int i = 0; i < row->tts_tupleDescriptor->natts; i++) {
        row->tts_isnull[i] = i >= machine.ncolumns || group.isnull[i];
        if (row->tts_isnull[i])
            continue;
        bool const as_it_is = i < machine.nkeys || machine.first != nullptr;
        row->tts_values[i] =
            as_it_is ? group.values[i] : stored_form(machine.columns[i], group.values[i]);
    }
    ExecStoreVirtualTuple(row);
    row->tts_tableOid = RelationGetRelid(writer->target.matrel);
}

/// Readers do not see it any more: what it had counted must not come back with the new rows.
bool is_over(const GroupWriter *writer)
{
    const ViewMachine &machine = *writer->machine;
    return machine.expiry.column > machine.nkeys &&
           is_expired(machine.expiry, key_in(machine.expiry, writer->stored),
                      machine.expiry_cutoff);
}

/// The key may look different in the new row, where equal values do.
void take_row(GroupWriter *writer, const GroupRow &group)
{
    std::copy_n(group.values, writer->machine->ncolumns, writer->changed->tts_values);
    std::copy_n(group.isnull, writer->machine->ncolumns, writer->changed->tts_isnull);
}

void combine_with_stored(GroupWriter *writer, const GroupRow &group)
{
    ViewMachine &machine = *writer->machine;
    TupleTableSlot *const changed = writer->changed;
    TupleTableSlot *const stored = writer->stored;
    for (int i = machine.nkeys; i < machine.ncolumns; i++) {
        NullableDatum const result = combine_states(machine.columns[i], machine.environment,
                                                    {stored->tts_values[i], stored->tts_isnull[i]},
                                                    {group.values[i], group.isnull[i]});
        changed->tts_values[i] = result.value;
        changed->tts_isnull[i] = result.isnull;
    }
}

void fill_changed(GroupWriter *writer, const GroupRow &group)
{
    TupleTableSlot *const changed = writer->changed;
    TupleTableSlot *const stored = writer->stored;
    ExecClearTuple(changed);
    for (int i = 0; i < stored->tts_tupleDescriptor->natts; i++) {
        changed->tts_values[i] = stored->tts_values[i];
        changed->tts_isnull[i] = stored->tts_isnull[i];
    }
    if (writer->machine->first != nullptr)
        take_row(writer, group);
    else
        combine_with_stored(writer, group);
    ExecStoreVirtualTuple(changed);
    changed->tts_tableOid = RelationGetRelid(writer->target.matrel);
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

void note_place(GroupWriter *writer, uint32 hash, ItemPointerData place)
{
    remember_place(hash, place);
    writer->nblocks = std::max(writer->nblocks, ItemPointerGetBlockNumber(&place) + 1);
}

void update_stored(GroupWriter *writer, uint32 hash)
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
                                    writer->changed, GetCurrentCommandId(true), writer->snapshot,
                                    InvalidSnapshot, true, &failure, &lock_mode, &update_indexes);
    if (result != TM_Ok)
        raise_lost_race(result, writer->target.matrel);
    writer->wrote = true;
    writer->machine->note_written(writer->changed);
    index_updated(writer->target, writer->changed, update_indexes);
    if (pg::is_new_chain(update_indexes))
        note_place(writer, hash, writer->changed->tts_tid);
}

/// A row of keys alone, and one that no later row of its key replaces.
bool stays_as_it_is(GroupWriter *writer, const GroupRow &group)
{
    const ViewMachine &machine = *writer->machine;
    const TupleTableSlot *const stored = writer->stored;
    if (machine.first == nullptr)
        return machine.ncolumns == machine.nkeys;
    if (is_over(writer))
        return false;
    return pg::in_context(writer->scratch, [&] {
        return !comes_before(machine.first, group.values, group.isnull, stored->tts_values,
                             stored->tts_isnull);
    });
}

/// `stored` is the group's row. It keeps its place, where its HOT chain begins, unless it has to
/// go to another page.
void change_stored(GroupWriter *writer, const GroupRow &group)
{
    slot_getallattrs(writer->stored);
    if (stays_as_it_is(writer, group)) {
        end_group(writer);
        return;
    }
    pg::in_context(writer->scratch, [&] {
        bool const over = is_over(writer);
        if (over)
            fill_new(writer, group, writer->changed);
        else
            fill_changed(writer, group);
        check_row(writer->target, writer->changed);
        if (writer->write)
            update_stored(writer, group.hash);
        if (writer->emission != nullptr) {
            fill_new(writer, group, writer->delta);
            emit_change(writer->emission, over ? nullptr : writer->stored, writer->changed,
                        writer->delta);
            ExecClearTuple(writer->delta);
        }
        ExecClearTuple(writer->changed);
    });
    end_group(writer);
}

/// The row at `place`, if it is that of the group. The tuple has the last word: whatever has
/// happened to the table, a visible row of the same keys is the group's.
bool fetch_at(GroupWriter *writer, const GroupRow &group, ItemPointerData place)
{
    if (ItemPointerGetBlockNumber(&place) >= writer->nblocks)
        return false;
    TupleTableSlot *const stored = writer->stored;
    bool again = false;
    // A page is pruned only with a single pin.
    ExecClearTuple(stored);
    if (!table_index_fetch_tuple(writer->fetch, &place, writer->snapshot, stored, &again, nullptr))
        return false;
    slot_getallattrs(stored);
    return pg::in_context(writer->scratch, [&] {
        return same_image(writer->keys, stored->tts_values, stored->tts_isnull, group.values,
                          group.isnull);
    });
}

bool look_up(GroupWriter *writer, const GroupRow &group, ItemPointer place)
{
    return !writer->empty && find_group(writer->lookup, {group.values, group.isnull},
                                        writer->stored, place, writer->scratch);
}

TupleTableSlot *fresh_slot(GroupWriter *writer, int i)
{
    if (i == writer->nslots)
        writer->fresh[writer->nslots++] = pg::in_context(writer->context, [&] {
            return MakeSingleTupleTableSlot(RelationGetDescr(writer->target.matrel),
                                            &TTSOpsVirtual);
        });
    return writer->fresh[i];
}

/// In sorted order the rows of a large batch lie anywhere in memory: those needed next are
/// fetched meanwhile.
constexpr uint32 kAhead = 8;

void expect_row(const OrderedRow *rows, uint32 i, uint32 count)
{
    if (i + kAhead >= count)
        return;
    auto *const row = reinterpret_cast<const char *>(rows[i + kAhead].row);
    __builtin_prefetch(row);
    __builtin_prefetch(row + 32);
}

/// Inserts `count` rows of the slots; what their values need is in the scratch context.
void insert_fresh(GroupWriter *writer, const OrderedRow *rows, int count)
{
    pg::in_context(writer->scratch, [&] {
        table_multi_insert(writer->target.matrel, writer->fresh, count, GetCurrentCommandId(true),
                           0, nullptr);
        writer->wrote = true;
        writer->empty = false;
        for (int i = 0; i < count; i++) {
            expect_place(rows[std::min(i + static_cast<int>(kAhead), count - 1)].row->hash);
            writer->machine->note_written(writer->fresh[i]);
            index_inserted(writer->target, writer->fresh[i]);
            note_place(writer, rows[i].row->hash, writer->fresh[i]->tts_tid);
            if (writer->emission != nullptr)
                emit_change(writer->emission, nullptr, writer->fresh[i], writer->fresh[i]);
            ResetPerTupleExprContext(writer->target.estate);
        }
    });
}

/// Groups that have no row yet, in the order of the index.
void add_groups(GroupWriter *writer, const OrderedRow *rows, uint32 count)
{
    uint32 done = 0;
    while (done < count) {
        CHECK_FOR_INTERRUPTS();
        int n = 0;
        Size bytes = 0;
        while (n < kRowsAtOnce && done + static_cast<uint32>(n) < count && bytes < kBytesAtOnce) {
            TupleTableSlot *const slot = fresh_slot(writer, n);
            expect_row(rows, done + static_cast<uint32>(n), count);
            pg::in_context(writer->scratch, [&] {
                fill_new(writer, *rows[done + static_cast<uint32>(n)].row, slot);
                bytes += heap_compute_data_size(slot->tts_tupleDescriptor, slot->tts_values,
                                                slot->tts_isnull);
                check_row(writer->target, slot);
            });
            n++;
        }
        if (writer->write)
            insert_fresh(writer, rows + done, n);
        for (int i = 0; i < n; i++)
            ExecClearTuple(writer->fresh[i]);
        end_group(writer);
        done += static_cast<uint32>(n);
    }
}

/// What pruning takes for removable is as of the tick's snapshot, unless somebody asks
/// (procarray.c: GlobalVisTestShouldUpdate; ComputeXidHorizons keeps its result). At that moment
/// writers were running who could still see the versions that the tick before has replaced:
/// in a tick of a second no page would get room, and rows would move to new ones.
void look_at_horizon(const GroupWriter *writer)
{
    (void) GetOldestNonRemovableTransactionId(writer->target.matrel);
}

/// Of the batch's groups those whose row is where it was last; the others are left, and counted.
uint32 change_in_place(GroupWriter *writer, OrderedRow *rows, uint32 count)
{
    uint32 hits = 0;
    uint32 left = count;
    ItemPointerData place;
    // Known places to the front.
    for (uint32 i = 0; i < left;) {
        expect_place(rows[std::min(i + kAhead, left - 1)].row->hash);
        if (find_place(rows[i].row->hash, &place)) {
            rows[i++].order = order_of(place);
            hits++;
        } else {
            std::swap(rows[i], rows[--left]);
        }
    }
    sort_rows(rows, hits);
    left = 0;
    for (uint32 i = 0; i < count; i++) {
        if (i < hits) {
            CHECK_FOR_INTERRUPTS();
            if (i % kLookAtHorizonEvery == 0)
                look_at_horizon(writer);
            expect_row(rows, i, hits);
            place = place_of(rows[i].order);
            if (fetch_at(writer, *rows[i].row, place)) {
                change_stored(writer, *rows[i].row);
                continue;
            }
        }
        rows[left++] = rows[i];
    }
    ExecClearTuple(writer->stored);
    table_index_fetch_reset(writer->fetch);
    return left;
}

/// Those whose row the index finds; the new ones are left, and counted.
uint32 change_by_index(GroupWriter *writer, OrderedRow *rows, uint32 count)
{
    KeyOrder *const order = count > 1 ? order_of_lookup(writer->lookup) : nullptr;
    if (order != nullptr)
        pg::in_context(writer->scratch, [&] { sort_rows_by_key(order, rows, count); });
    uint32 left = 0;
    for (uint32 i = 0; i < count; i++) {
        CHECK_FOR_INTERRUPTS();
        ItemPointerData place;
        if (i % kLookAtHorizonEvery == 0)
            look_at_horizon(writer);
        expect_row(rows, i, count);
        if (look_up(writer, *rows[i].row, &place)) {
            if (ItemPointerIsValid(&place))
                note_place(writer, rows[i].row->hash, place);
            change_stored(writer, *rows[i].row);
        } else {
            end_group(writer);
            rows[left++] = rows[i];
        }
    }
    ExecClearTuple(writer->stored);
    leave_page(writer->lookup);
    return left;
}

void write_batch(GroupWriter *writer)
{
    uint32 count;
    GroupRow **const rows = rows_of(writer->batch, &count);
    if (count == 0)
        return;
    begin_command(writer);
    auto *ordered = static_cast<OrderedRow *>(
        MemoryContextAllocHuge(writer->context, sizeof(OrderedRow) * count));
    for (uint32 i = 0; i < count; i++)
        ordered[i] = {0, rows[i]};
    uint32 left = change_in_place(writer, ordered, count);
    left = change_by_index(writer, ordered, left);
    add_groups(writer, ordered, left);
    pfree(ordered);
    empty_batch(writer->batch);
}

/// Where equal keys may look different, a batch could hold a group twice.
void write_at_once(GroupWriter *writer, const GroupRow &group)
{
    begin_command(writer);
    OrderedRow row{0, const_cast<GroupRow *>(&group)};
    if (change_in_place(writer, &row, 1) > 0 && change_by_index(writer, &row, 1) > 0)
        add_groups(writer, &row, 1);
}

void replace_first_in_batch(GroupWriter *writer, GroupRow *row, TupleTableSlot *group)
{
    ViewMachine &machine = *writer->machine;
    bool const replaces = pg::in_context(writer->scratch, [&] {
        return comes_before(machine.first, group->tts_values, group->tts_isnull, row->values,
                            row->isnull);
    });
    for (int i = machine.nkeys; replaces && i < machine.ncolumns; i++)
        replace_in_batch(writer->batch, row, i, {group->tts_values[i], group->tts_isnull[i]},
                         TupleDescAttr(group->tts_tupleDescriptor, i));
    end_group(writer);
}

void combine_in_batch(GroupWriter *writer, GroupRow *row, TupleTableSlot *group)
{
    if (writer->machine->first != nullptr) {
        replace_first_in_batch(writer, row, group);
        return;
    }
    ViewMachine &machine = *writer->machine;
    pg::in_context(writer->scratch, [&] {
        for (int i = machine.nkeys; i < machine.ncolumns; i++) {
            NullableDatum const sum = combine_partials(
                machine.columns[i], machine.environment, {row->values[i], row->isnull[i]},
                {group->tts_values[i], group->tts_isnull[i]});
            replace_in_batch(writer->batch, row, i, sum,
                             TupleDescAttr(group->tts_tupleDescriptor, i));
        }
    });
    end_group(writer);
}

} // namespace

/// The active snapshot itself may be in use by a query that must not see more than before.
static Snapshot own_snapshot()
{
    PushCopiedSnapshot(GetActiveSnapshot());
    Snapshot const own = RegisterSnapshot(GetActiveSnapshot());
    PopActiveSnapshot();
    return own;
}

GroupWriter *open_groups(Relation matrel, ViewMachine *machine, Emission *emission, bool write,
                         int share)
{
    Snapshot const snapshot = own_snapshot();
    KeyLookup *const lookup = open_lookup(matrel, machine->nkeys, snapshot);
    if (lookup == nullptr) {
        UnregisterSnapshot(snapshot);
        return nullptr;
    }
    auto *writer = static_cast<GroupWriter *>(palloc0(sizeof(GroupWriter)));
    writer->machine = machine;
    writer->emission = write ? emission : nullptr;
    writer->write = write;
    writer->snapshot = snapshot;
    writer->lookup = lookup;
    writer->target = open_target(matrel);
    writer->fetch = table_index_fetch_begin(matrel);
    writer->nblocks = RelationGetNumberOfBlocks(matrel);
    writer->empty = writer->nblocks == 0;
    writer->context = CurrentMemoryContext;
    writer->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "fold group", ALLOCSET_DEFAULT_SIZES);
    writer->stored = table_slot_create(matrel, nullptr);
    writer->changed = MakeSingleTupleTableSlot(RelationGetDescr(matrel), &TTSOpsVirtual);
    if (writer->emission != nullptr) {
        writer->delta = MakeSingleTupleTableSlot(RelationGetDescr(matrel), &TTSOpsVirtual);
    }
    writer->keys = describe_keys(matrel, machine->nkeys);
    if (writer->keys.exact)
        writer->batch = make_batch(&writer->keys, share);
    return writer;
}

void write_group(TupleTableSlot *group, void *arg)
{
    auto *writer = static_cast<GroupWriter *>(arg);
    slot_getallattrs(group);
    uint32 const hash = pg::in_context(writer->scratch, [&] {
        return hash_image(writer->keys, group->tts_values, group->tts_isnull);
    });
    if (writer->batch == nullptr) {
        write_at_once(writer, {hash, group->tts_values, group->tts_isnull});
        return;
    }
    GroupRow *const row = find_in_batch(writer->batch, hash, group->tts_values, group->tts_isnull);
    if (row != nullptr)
        combine_in_batch(writer, row, group);
    else
        add_to_batch(writer->batch, hash, group->tts_values, group->tts_isnull,
                     group->tts_tupleDescriptor);
    if (is_full(writer->batch))
        write_batch(writer);
}

void close_groups(GroupWriter *writer)
{
    if (writer->batch != nullptr)
        write_batch(writer);
    ExecDropSingleTupleTableSlot(writer->stored);
    ExecDropSingleTupleTableSlot(writer->changed);
    if (writer->emission != nullptr) {
        ExecDropSingleTupleTableSlot(writer->delta);
    }
    for (int i = 0; i < writer->nslots; i++)
        ExecDropSingleTupleTableSlot(writer->fresh[i]);
    table_index_fetch_end(writer->fetch);
    close_lookup(writer->lookup);
    close_target(writer->target);
    UnregisterSnapshot(writer->snapshot);
    MemoryContextDelete(writer->scratch);
}

} // namespace pipeline::fold
