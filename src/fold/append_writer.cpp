#include "fold/append_writer.hpp"

#include "fold/emission.hpp"
#include "fold/matrel_target.hpp"
#include "pg/scope.hpp"
#include "view/matrel.hpp"

extern "C" {
#include "access/heapam.h"
}

namespace pipeline::fold {
namespace {

/// As copyfrom.c: MAX_BUFFERED_TUPLES and MAX_BUFFERED_BYTES.
constexpr int kMaxRows = 1000;
constexpr Size kMaxBytes = 65535;

} // namespace

struct AppendWriter {
    MatrelTarget target;
    Emission *emission; ///< nullptr: nobody reads the changes
    ViewMachine *machine;
    BulkInsertState bulk;
    MemoryContext scratch; ///< reset after each batch
    MemoryContext context; ///< of the slots
    TupleTableSlot *rows[kMaxRows];
    int nslots; ///< made so far
    int nrows;
    Size bytes;
    bool write;
};

namespace {

TupleTableSlot *next_slot(AppendWriter *writer)
{
    if (writer->nrows == writer->nslots)
        writer->rows[writer->nslots++] = pg::in_context(
            writer->context, [&] { return table_slot_create(writer->target.matrel, nullptr); });
    return writer->rows[writer->nrows];
}

void write_batch(AppendWriter *writer)
{
    if (writer->nrows == 0)
        return;
    Relation const matrel = writer->target.matrel;
    // heap_multi_insert leaves its tuples in the current context.
    pg::in_context(writer->scratch, [&] {
        if (!writer->write)
            return;
        table_multi_insert(matrel, writer->rows, writer->nrows, GetCurrentCommandId(true), 0,
                           writer->bulk);
        for (int i = 0; i < writer->nrows; i++) {
            index_inserted(writer->target, writer->rows[i]);
            ResetPerTupleExprContext(writer->target.estate);
        }
    });
    for (int i = 0; i < writer->nrows; i++)
        ExecClearTuple(writer->rows[i]);
    MemoryContextReset(writer->scratch);
    writer->nrows = 0;
    writer->bytes = 0;
    CHECK_FOR_INTERRUPTS();
}

} // namespace

AppendWriter *open_append(Relation matrel, ViewMachine *machine, Emission *emission, bool write)
{
    if (!view::has_guard(matrel))
        return nullptr;
    auto *writer = static_cast<AppendWriter *>(palloc0(sizeof(AppendWriter)));
    writer->context = CurrentMemoryContext;
    writer->write = write;
    writer->machine = machine;
    writer->target = open_target(matrel);
    writer->emission = write ? emission : nullptr;
    writer->bulk = GetBulkInsertState();
    writer->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "fold append", ALLOCSET_DEFAULT_SIZES);
    return writer;
}

void append_row(TupleTableSlot *row, void *arg)
{
    auto *writer = static_cast<AppendWriter *>(arg);
    TupleTableSlot *const slot = next_slot(writer);
    ExecCopySlot(slot, row);
    slot->tts_tableOid = RelationGetRelid(writer->target.matrel);
    check_row(writer->target, slot);
    if (writer->write && writer->machine->expiry.column != 0) {
        slot_getallattrs(slot);
        writer->machine->note_written(slot);
    }
    ResetPerTupleExprContext(writer->target.estate);
    if (writer->emission != nullptr)
        emit_change(writer->emission, nullptr, slot, slot);
    writer->nrows++;
    writer->bytes += ExecFetchSlotHeapTuple(slot, true, nullptr)->t_len;
    if (writer->nrows == kMaxRows || writer->bytes > kMaxBytes)
        write_batch(writer);
}

void close_append(AppendWriter *writer)
{
    write_batch(writer);
    FreeBulkInsertState(writer->bulk);
    for (int i = 0; i < writer->nslots; i++)
        ExecDropSingleTupleTableSlot(writer->rows[i]);
    close_target(writer->target);
    MemoryContextDelete(writer->scratch);
}

} // namespace pipeline::fold
