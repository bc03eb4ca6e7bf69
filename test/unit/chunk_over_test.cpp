// Chunk::over(batch) shows what Chunk::parse(encode(batch)) shows.
#include "unit/catch2.hpp"
#include "unit/chunk_samples.hpp"

namespace {

using namespace pipeline;
using namespace pipeline::samples;
using batch::Batch;
using batch::ColumnLayout;
using batch::kVarlena;
using spool::Chunk;

Bytes value_of(const Chunk &chunk, std::size_t column, std::uint32_t row)
{
    const std::byte *const value = chunk.value(column, row);
    const std::int16_t width = chunk.layout(column).width;
    const std::size_t size = width == kVarlena ? batch::varlena_size(value, std::size_t{1} << 30)
                                               : static_cast<std::size_t>(width);
    return {value, value + size};
}

bool is_valid(const Chunk::Slots &slots, std::uint32_t row)
{
    if (slots.validity == nullptr)
        return slots.first != nullptr;
    return (std::to_integer<unsigned>(slots.validity[row / 8]) >> (row % 8) & 1) != 0;
}

void compare_slots(const Chunk &over, const Chunk &parsed, std::size_t column)
{
    const Chunk::Slots seen = over.slots(column);
    const Chunk::Slots due = parsed.slots(column);
    REQUIRE((seen.first == nullptr) == (due.first == nullptr));
    REQUIRE((seen.validity == nullptr) == (due.validity == nullptr));
    const bool is_fixed = over.layout(column).width != kVarlena;
    if (is_fixed)
        REQUIRE(seen.stride == due.stride);
    for (std::uint32_t row = 0; row < over.nrows(); ++row) {
        REQUIRE(is_valid(seen, row) == is_valid(due, row));
        if (is_fixed && is_valid(seen, row))
            REQUIRE(seen.first + std::size_t{row} * seen.stride == over.value(column, row));
    }
}

/// The values of a batch begin where its memory does, at a multiple of 8 at least.
void compare_value(const Chunk &over, const Chunk &parsed, std::size_t column, std::uint32_t row)
{
    REQUIRE(over.is_null(column, row) == parsed.is_null(column, row));
    if (over.is_null(column, row)) {
        REQUIRE(over.value(column, row) == nullptr);
        return;
    }
    REQUIRE((value_of(over, column, row) == value_of(parsed, column, row)));
    const ColumnLayout &layout = over.layout(column);
    const std::byte *const value = over.value(column, row);
    std::size_t align = layout.align;
    if (layout.width == kVarlena)
        align = batch::is_short_varlena(*value) ? 1 : batch::long_varlena_align(layout);
    REQUIRE(reinterpret_cast<std::uintptr_t>(value) % align == 0);
}

void compare(const Batch &batch)
{
    std::pmr::monotonic_buffer_resource arena;
    const Bytes bytes = encoded(batch);
    const ExactBuffer buffer(bytes);
    const Chunk parsed = Chunk::parse(buffer.span(), &arena);
    const Chunk over = Chunk::over(batch, &arena);
    REQUIRE(over.nrows() == parsed.nrows());
    REQUIRE((read_layout(over) == read_layout(parsed)));
    for (std::size_t column = 0; column < over.ncolumns(); ++column) {
        REQUIRE(over.find_column(over.layout(column).attnum) == static_cast<int>(column));
        compare_slots(over, parsed, column);
        for (std::uint32_t row = 0; row < over.nrows(); ++row)
            compare_value(over, parsed, column, row);
    }
    REQUIRE(over.find_column(32000) == -1);
}

void compare(const Layout &layout, const std::vector<Row> &rows)
{
    Batch batch(layout, std::pmr::new_delete_resource());
    compare(batch);
    for (const Row &row : rows) {
        append(batch, row);
        compare(batch);
    }
}

} // namespace

TEST_CASE("a chunk over a batch: constants, NULLs, short and long values", "[chunk]")
{
    const ColumnLayout number{1, 4, 23, -1, 4};
    const ColumnLayout text{2, kVarlena, 25, -1, 4};
    const ColumnLayout aligned{3, kVarlena, 20, -1, 8};
    const ColumnLayout odd{4, 6, 829, -1, 4};
    const Bytes mac{std::byte{1}, std::byte{2}, std::byte{3},
                    std::byte{4}, std::byte{5}, std::byte{6}};
    compare({number, text}, {{fixed(7), short_varlena("a")}, {fixed(7), long_varlena(200)}});
    compare(
        {number, text},
        {{fixed(7), std::nullopt}, {std::nullopt, short_varlena("")}, {fixed(8), std::nullopt}});
    compare({number, text}, {{std::nullopt, std::nullopt}, {std::nullopt, std::nullopt}});
    compare({text, aligned}, {{short_varlena("abc"), short_varlena("x")},
                              {long_varlena(1), long_varlena(5)},
                              {long_varlena(8, std::byte{3}, 2), long_varlena(9)}});
    compare({odd, number}, {{mac, fixed(1)}, {mac, fixed(1)}, {std::nullopt, fixed(1)}});
    compare({}, {{}, {}});
}

TEST_CASE("a chunk over a batch that was cleared", "[chunk]")
{
    const Layout layout{{1, 4, 23, -1, 4}, {2, kVarlena, 25, -1, 4}};
    Batch batch(layout, std::pmr::new_delete_resource());
    append(batch, {fixed(1), long_varlena(300)});
    append(batch, {std::nullopt, std::nullopt});
    batch.clear();
    append(batch, {fixed(2), short_varlena("b")});
    append(batch, {fixed(3), short_varlena("c")});
    compare(batch);
}

TEST_CASE("a chunk over random rows", "[chunk]")
{
    Random random(43);
    for (int round = 0; round < 300; ++round) {
        const Sample sample = random_sample(random);
        Batch batch(sample.layout, std::pmr::new_delete_resource());
        for (std::uint32_t i = below(random, 150); i > 0; --i)
            append(batch, random_row(random, sample));
        compare(batch);
    }
}
