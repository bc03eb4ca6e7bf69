#include "spool/row_chunk.hpp"

#include "pg/guard.hpp"
#include "pg/memory.hpp"

#include <new>

namespace pipeline::spool {
namespace {

batch::Cell cell_of(const Chunk &chunk, std::size_t column, uint32 row)
{
    const std::byte *const value = chunk.value(column, row);
    if (value == nullptr)
        return {};
    int const width = chunk.layout(column).width;
    return {value,
            static_cast<std::uint32_t>(width == batch::kVarlena ? VARSIZE_ANY(value) : width)};
}

} // namespace

bytea *chunk_of_row(const Chunk &chunk, uint32 row)
{
    std::size_t const ncolumns = chunk.ncolumns();
    auto *layout =
        static_cast<batch::ColumnLayout *>(palloc(sizeof(batch::ColumnLayout) * (ncolumns + 1)));
    auto *cells = static_cast<batch::Cell *>(palloc(sizeof(batch::Cell) * (ncolumns + 1)));
    for (std::size_t i = 0; i < ncolumns; i++) {
        layout[i] = chunk.layout(i);
        cells[i] = cell_of(chunk, i, row);
    }
    MemoryContext const context = CurrentMemoryContext;
    void *const place = palloc(sizeof(batch::Batch));
    pg::ContextResource memory(context);
    // Never destroyed: all it owns comes from `context`.
    auto *rows = pg::enter([&] {
        auto *batch = new (place) batch::Batch({layout, ncolumns}, &memory);
        batch->append({cells, ncolumns});
        return batch;
    });
    std::size_t const size = encoded_size(*rows);
    auto *result = static_cast<bytea *>(palloc(size + VARHDRSZ));
    pg::enter([&] { encode(*rows, {reinterpret_cast<std::byte *>(VARDATA(result)), size}); });
    SET_VARSIZE(result, size + VARHDRSZ);
    return result;
}

} // namespace pipeline::spool
