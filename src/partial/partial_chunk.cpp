#include "partial/partial_chunk.hpp"

#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/scope.hpp"
#include "spool/writer.hpp"

#include <algorithm>
#include <new>

namespace pipeline::partial {
namespace {

constexpr std::int16_t kVersionColumn = 0;
constexpr std::int16_t kFirstKey = 1;

int count_words(const VectorPlan *plan)
{
    int count = 0;
    for (int a = 0; a < plan->naggregates; a++)
        count += static_cast<int>(agg::words_of(plan->aggregates[a].kind));
    return count;
}

int count_columns(const VectorPlan *plan)
{
    return kFirstKey + plan->nkeys + count_words(plan);
}

batch::ColumnLayout layout_of_key(const VectorInput &input, std::int16_t attnum)
{
    switch (input.form) {
    case LaneForm::kText:
        return {attnum, batch::kVarlena, TEXTOID, -1, alignof(int32)};
    case LaneForm::kBlock:
        return {attnum, input.length, UUIDOID, -1, 1};
    default:
        return {attnum, sizeof(int64), INT8OID, -1, alignof(int64)};
    }
}

batch::ColumnLayout *layout_of(const VectorPlan *plan)
{
    int const ncolumns = count_columns(plan);
    if (ncolumns > MaxHeapAttributeNumber * 5)
        elog(ERROR, "too many columns in a chunk of states");
    auto *layout = static_cast<batch::ColumnLayout *>(
        palloc(sizeof(batch::ColumnLayout) * static_cast<Size>(ncolumns)));
    for (int i = 0; i < ncolumns; i++) {
        auto const attnum = static_cast<std::int16_t>(i + 1);
        int const key = i - kFirstKey;
        layout[i] = key >= 0 && key < plan->nkeys
                        ? layout_of_key(plan->inputs[plan->keys[key]], attnum)
                        : batch::ColumnLayout{attnum, sizeof(int64), INT8OID, -1, alignof(int64)};
    }
    return layout;
}

// ---- writing -------------------------------------------------------------------------------

/// One group on its way into a batch.
struct GroupRow {
    batch::Cell *cells;
    int64 *words; ///< of all columns that are words
    char **texts; ///< of each key, room for a varlena
    Size *room;   ///< of each key
};

GroupRow make_row(const VectorPlan *plan)
{
    auto const ncolumns = static_cast<Size>(count_columns(plan));
    auto const nkeys = static_cast<Size>(plan->nkeys);
    GroupRow row;
    row.cells = static_cast<batch::Cell *>(palloc0(sizeof(batch::Cell) * ncolumns));
    row.words = static_cast<int64 *>(palloc0(sizeof(int64) * ncolumns));
    row.texts = static_cast<char **>(palloc0(sizeof(char *) * (nkeys + 1)));
    row.room = static_cast<Size *>(palloc0(sizeof(Size) * (nkeys + 1)));
    return row;
}

batch::Cell text_cell(GroupRow *row, int key, std::span<const std::byte> bytes)
{
    Size const needed = bytes.size() + VARHDRSZ;
    if (row->room[key] < needed) {
        row->room[key] = std::max(needed * 2, Size{64});
        row->texts[key] = static_cast<char *>(palloc(row->room[key]));
    }
    char *const text = row->texts[key];
    if (bytes.size() + VARHDRSZ_SHORT <= VARATT_SHORT_MAX) {
        SET_VARSIZE_SHORT(text, bytes.size() + VARHDRSZ_SHORT);
        std::copy_n(reinterpret_cast<const char *>(bytes.data()), bytes.size(),
                    text + VARHDRSZ_SHORT);
        return {text, static_cast<std::uint32_t>(bytes.size() + VARHDRSZ_SHORT)};
    }
    SET_VARSIZE(text, needed);
    std::copy_n(reinterpret_cast<const char *>(bytes.data()), bytes.size(), text + VARHDRSZ);
    return {text, static_cast<std::uint32_t>(needed)};
}

void fill_row(const VectorRun *run, int view, const VectorPlan *plan, uint32 group, GroupRow *row)
{
    row->words[kVersionColumn] = static_cast<int64>(plan->version);
    row->cells[kVersionColumn] = {&row->words[kVersionColumn], sizeof(int64)};
    int column = kFirstKey;
    for (int k = 0; k < plan->nkeys; k++, column++) {
        agg::KeyValue const value = group_key(run, view, group, k);
        LaneForm const form = plan->inputs[plan->keys[k]].form;
        if (value.isnull) {
            row->cells[column] = {};
        } else if (form == LaneForm::kText) {
            row->cells[column] = text_cell(row, k, value.bytes);
        } else if (form == LaneForm::kBlock) {
            row->cells[column] = {value.bytes.data(),
                                  static_cast<std::uint32_t>(value.bytes.size())};
        } else {
            row->words[column] = value.word;
            row->cells[column] = {&row->words[column], sizeof(int64)};
        }
    }
    for (int a = 0; a < plan->naggregates; a++) {
        agg::StateArray const &states = states_of(run, view, a);
        states.write(group, &row->words[column]);
        for (Size w = 0; w < agg::words_of(states.kind()); w++, column++)
            row->cells[column] = {&row->words[column], sizeof(int64)};
    }
}

// ---- reading -------------------------------------------------------------------------------

[[noreturn]] void refuse_version()
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                    errmsg("waiting rows were aggregated for another definition of the view")));
    pg_unreachable();
}

/// A chunk of one's own that does not look like one is damaged.
void check_columns(const VectorPlan *plan, const spool::Chunk &chunk)
{
    const batch::ColumnLayout *const layout = layout_of(plan);
    auto const ncolumns = static_cast<Size>(count_columns(plan));
    bool fits = chunk.ncolumns() >= 1 && chunk.layout(0) == layout[0];
    if (fits && chunk.nrows() > 0) {
        const std::byte *const version = chunk.value(kVersionColumn, 0);
        uint64 number = 0;
        if (version != nullptr)
            memcpy(&number, version, sizeof(number));
        if (number != plan->version)
            refuse_version();
    }
    fits = fits && chunk.ncolumns() == ncolumns;
    for (Size i = 0; fits && i < ncolumns; i++) {
        spool::Chunk::Slots const slots = chunk.slots(i);
        bool const is_key = i >= kFirstKey && i < kFirstKey + static_cast<Size>(plan->nkeys);
        fits = chunk.layout(i) == layout[i] &&
               (is_key || (slots.first != nullptr && slots.validity == nullptr));
    }
    if (!fits)
        ereport(ERROR,
                (errcode(ERRCODE_DATA_CORRUPTED), errmsg("malformed chunk: not the states of its "
                                                         "view")));
}

/// Room for the lanes of one block.
struct LaneRoom {
    int64 *words;
    const std::byte **starts;
    uint32 *sizes;
    uint8 *nulls;
};

LaneRoom make_room(Size rows)
{
    LaneRoom room;
    room.words = static_cast<int64 *>(palloc(sizeof(int64) * rows));
    room.starts = static_cast<const std::byte **>(palloc(sizeof(std::byte *) * rows));
    room.sizes = static_cast<uint32 *>(palloc(sizeof(uint32) * rows));
    room.nulls = static_cast<uint8 *>(palloc(rows));
    return room;
}

agg::Lane word_lane(const spool::Chunk &chunk, Size column, uint32 first, uint32 nrows,
                    const LaneRoom &room)
{
    bool has_nulls = false;
    for (uint32 i = 0; i < nrows; i++) {
        const std::byte *const value = chunk.value(column, first + i);
        room.nulls[i] = value == nullptr;
        has_nulls |= value == nullptr;
        if (value != nullptr)
            memcpy(&room.words[i], value, sizeof(int64));
        else
            room.words[i] = 0;
    }
    return {room.words, nullptr, nullptr, has_nulls ? room.nulls : nullptr};
}

agg::Lane bytes_lane(const spool::Chunk &chunk, Size column, uint32 first, uint32 nrows,
                     const LaneRoom &room)
{
    bool const is_text = chunk.layout(column).width == batch::kVarlena;
    bool has_nulls = false;
    for (uint32 i = 0; i < nrows; i++) {
        const std::byte *const value = chunk.value(column, first + i);
        room.nulls[i] = value == nullptr;
        has_nulls |= value == nullptr;
        if (value == nullptr)
            continue;
        const void *const datum = value;
        room.starts[i] = is_text ? reinterpret_cast<const std::byte *>(VARDATA_ANY(datum)) : value;
        room.sizes[i] = is_text ? static_cast<uint32>(VARSIZE_ANY_EXHDR(datum))
                                : static_cast<uint32>(chunk.layout(column).width);
    }
    return {nullptr, room.starts, room.sizes, has_nulls ? room.nulls : nullptr};
}

} // namespace

void write_partials(const VectorRun *run, int view, PartialSink sink, void *arg)
{
    const VectorPlan *const plan = plan_of(run, view);
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "partial states", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    auto const ncolumns = static_cast<std::size_t>(count_columns(plan));
    const batch::ColumnLayout *const layout = layout_of(plan);
    auto *memory = new (palloc(sizeof(pg::ContextResource))) pg::ContextResource(context);
    void *const place = palloc(sizeof(batch::Batch));
    auto *const batch = pg::enter([&] {
        return new (place) batch::Batch({layout, ncolumns}, memory);
    });
    GroupRow row = make_row(plan);
    std::span<const batch::Cell> const cells{row.cells, ncolumns};
    for (uint32 group = 0; group < count_groups(run, view); group++) {
        fill_row(run, view, plan, group, &row);
        if (batch->nrows() > 0 && !spool::surely_fits(*batch, cells, spool::kMaxPageChunk) &&
            spool::encoded_size_with(*batch, cells) > spool::kMaxPageChunk) {
            sink(*batch, arg);
            batch->clear();
        }
        pg::enter([&] { batch->append(cells); });
        CHECK_FOR_INTERRUPTS();
    }
    if (batch->nrows() > 0)
        sink(*batch, arg);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
}

void merge_partials(VectorRun *run, int view, const spool::Chunk &chunk)
{
    const VectorPlan *const plan = plan_of(run, view);
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "partial states", ALLOCSET_DEFAULT_SIZES);
    pg::in_context(context, [&] {
        check_columns(plan, chunk);
        auto const nlanes = chunk.ncolumns() - kFirstKey;
        auto *lanes = static_cast<agg::Lane *>(palloc0(sizeof(agg::Lane) * nlanes));
        auto *rooms = static_cast<LaneRoom *>(palloc(sizeof(LaneRoom) * nlanes));
        auto *rows = static_cast<uint16 *>(palloc(sizeof(uint16) * agg::kBlockRows));
        for (Size i = 0; i < nlanes; i++)
            rooms[i] = make_room(Min(agg::kBlockRows, chunk.nrows()));
        for (uint32 i = 0; i < agg::kBlockRows; i++)
            rows[i] = static_cast<uint16>(i);
        for (uint32 first = 0; first < chunk.nrows(); first += agg::kBlockRows) {
            uint32 const nrows = Min(agg::kBlockRows, chunk.nrows() - first);
            for (Size i = 0; i < nlanes; i++) {
                bool const is_word = chunk.layout(i + kFirstKey).type_oid == INT8OID;
                lanes[i] = is_word ? word_lane(chunk, i + kFirstKey, first, nrows, rooms[i])
                                   : bytes_lane(chunk, i + kFirstKey, first, nrows, rooms[i]);
            }
            merge_lanes(run, view, {lanes, nlanes}, {rows, nrows});
        }
    });
    MemoryContextDelete(context);
}

} // namespace pipeline::partial
