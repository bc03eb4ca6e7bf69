#include "unit/catch2.hpp"
#include "unit/chunk_samples.hpp"

namespace {

using namespace pipeline;
using namespace pipeline::samples;
using batch::Batch;
using batch::ColumnLayout;
using batch::kVarlena;
using spool::Chunk;

constexpr ColumnLayout kDate{1, 4, 1082, -1, 4};
constexpr ColumnLayout kVarchar{2, kVarlena, 1043, 36, 4};
constexpr ColumnLayout kTimestamptz{3, 8, 1184, -1, 8};

/// Stores, loads and compares; returns the bytes.
Bytes round_trip(const Layout &layout, const std::vector<Row> &rows)
{
    const Bytes bytes = encoded(layout, rows);
    const ExactBuffer buffer(bytes);
    std::pmr::monotonic_buffer_resource arena;
    const Chunk chunk = Chunk::parse(buffer.span(), &arena);
    REQUIRE(chunk.nrows() == rows.size());
    REQUIRE((read_layout(chunk) == layout));
    REQUIRE((read_rows(chunk, buffer.span()) == rows));
    return bytes;
}

Bytes bytes_of(std::initializer_list<int> numbers)
{
    Bytes bytes;
    for (const int number : numbers)
        bytes.push_back(static_cast<std::byte>(number));
    return bytes;
}

TEST_CASE("chunk: format version 1, byte by byte", "[chunk]")
{
    // These bytes are on disks. If this test turns red, the version must change.
    SECTION("one row")
    {
        const Bytes bytes =
            round_trip({kDate, kVarchar, kTimestamptz},
                       {{fixed(0x01020304), short_varlena("abc"), fixed(std::int64_t{5})}});
        CHECK(bytes == bytes_of({0xC7, 1,    3,    0,   1, 0, 0, 0,    // header
                                 0x0E, 0x3A, 0x04,                     // date: 4 bytes, align 4
                                 0x22, 0x13, 0x04, 36,  0, 0, 0,       // varchar(32)
                                 0x13, 0xA0, 0x04,                     // timestamptz
                                 4,    0,    4,                        // flags
                                 4,    3,    2,    1,                  // at 24
                                 0x09, 'a',  'b',  'c',                // at 28
                                 5,    0,    0,    0,   0, 0, 0, 0})); // at 32
    }
    SECTION("NULLs, a long value, what a layout can have")
    {
        const Layout layout{{-7, 6, 70000, -1, 2}, {9, kVarlena, 25, 4, 8}, {10, 1, 16, -1, 1}};
        const std::vector<Row> rows{
            {bytes_of({1, 2, 3, 4, 5, 6}), short_varlena("a"), std::nullopt},
            {bytes_of({1, 2, 3, 4, 5, 7}), std::nullopt, std::nullopt},
            {std::nullopt, long_varlena(1), std::nullopt}};
        const Bytes bytes = round_trip(layout, rows);
        CHECK(bytes == bytes_of({0xC7, 1,    3,    0,    3,    0, 0, 0,    // header
                                 0xDD, 0xF9, 0xFF, 0x70, 0x11, 1, 0, 6, 0, // column 0
                                 0xA3, 9,    0,    25,   0,    4, 0, 0, 0, // column 1
                                 0x04, 16,   0,                            // column 2
                                 1,    9,    2,                            // flags
                                 0x03, 0,                                  // bitmap, padding
                                 1,    2,    3,    4,    5,    6, 1, 2, 3,
                                 4,    5,    7,    0,    0,    0, 0, 0, 0, // at 34
                                 0x05, 2,    0,    8,    0,    0, 0, 0,    // bitmap, starts
                                 0,    0,    0,    0,                      // padding to 64
                                 0x05, 'a',  0,    0,    0,    0, 0, 0,    // at 64
                                 20,   0,    0,    0,    'x'}));           // at 72
    }
}

TEST_CASE("chunk: a row of (date, varchar, timestamptz) takes less than 60 bytes", "[chunk]")
{
    const Bytes bytes =
        round_trip({kDate, kVarchar, kTimestamptz},
                   {{fixed(8000), short_varlena("twelve chars"), fixed(std::int64_t{1} << 50)}});
    CHECK(bytes.size() < 60);
}

TEST_CASE("chunk: no rows, no columns, neither", "[chunk]")
{
    CHECK(round_trip({}, {}).size() == 8);
    CHECK(round_trip({}, {{}, {}, {}}).size() == 8);
    CHECK(round_trip({kDate, kVarchar}, {}).size() == 8 + 3 + 7 + 2);
}

TEST_CASE("chunk: every width with every alignment", "[chunk]")
{
    for (const int width : {1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 63, 64, 65, 1000, 32767}) {
        for (const unsigned align : {1u, 2u, 4u, 8u}) {
            const Layout layout{
                {1, 1, 18, -1, 1},
                {2, static_cast<std::int16_t>(width), 17000, -1, static_cast<std::uint8_t>(align)},
                {3, 1, 18, -1, 1}};
            std::vector<Row> rows;
            for (int row = 0; row < 5; ++row) {
                Bytes value(static_cast<std::size_t>(width), static_cast<std::byte>(row * 3));
                value.back() = static_cast<std::byte>(row);
                rows.push_back({bytes_of({row}), value, bytes_of({-row})});
                round_trip(layout, rows);
            }
        }
    }
}

TEST_CASE("chunk: NULLs in every pattern", "[chunk]")
{
    const Layout layout{kDate, kVarchar, kTimestamptz};
    constexpr std::uint32_t kRows = 9; // one more than a byte of the bitmap
    for (std::uint32_t pattern = 0; pattern < 1u << kRows; ++pattern) {
        std::vector<Row> rows;
        for (std::uint32_t row = 0; row < kRows; ++row) {
            const bool null = (pattern >> row & 1) != 0;
            rows.push_back({null ? Value{} : fixed(row),
                            null           ? Value{}
                            : row % 3 == 0 ? long_varlena(row)
                                           : short_varlena(std::string(row, 'v')),
                            null ? Value{} : fixed(std::int64_t{77})});
        }
        round_trip(layout, rows);
    }
}

TEST_CASE("chunk: a constant column is stored once", "[chunk]")
{
    const Layout layout{kTimestamptz};
    std::vector<Row> rows(1000, Row{fixed(std::int64_t{123456789})});
    const std::size_t constant = round_trip(layout, rows).size();
    CHECK(constant == 24);

    SECTION("with NULLs before, between and after")
    {
        rows.front()[0] = rows[500][0] = rows.back()[0] = std::nullopt;
        CHECK(round_trip(layout, rows).size() == 8 + 4 + 125 + 7 + 8);
    }
    SECTION("until a value differs, at any row")
    {
        for (const std::size_t row : {std::size_t{0}, std::size_t{1}, std::size_t{999}}) {
            std::vector<Row> changed = rows;
            changed[row][0] = fixed(std::int64_t{123456788});
            CHECK(round_trip(layout, changed).size() == 16 + 8000);
        }
    }
    SECTION("a change in the last byte counts, for every width")
    {
        for (const int width : {1, 2, 4, 8, 16, 64, 11}) {
            Bytes value(static_cast<std::size_t>(width), std::byte{1});
            std::vector<Row> some(20, Row{value});
            value.back() = std::byte{2};
            some.push_back({value});
            round_trip({{1, static_cast<std::int16_t>(width), 17000, -1, 1}}, some);
        }
    }
}

TEST_CASE("chunk: starts are u16 up to 65535 bytes", "[chunk]")
{
    const Layout layout{kVarchar};
    // Everything but the payload of the last value.
    const std::vector<Row> start{{short_varlena("a")}, {std::nullopt}, {short_varlena("b")}};
    const auto with_last = [&](std::size_t payload) {
        std::vector<Row> rows = start;
        rows.push_back({long_varlena(payload)});
        return rows;
    };
    const std::size_t other = encoded(layout, with_last(0)).size();
    const auto size_for = [&](std::size_t total) {
        return round_trip(layout, with_last(total - other)).size();
    };
    CHECK(size_for(65534) == 65534);
    CHECK(size_for(65535) == 65535);
    // One byte more: the three starts take 6 bytes more, and padding moves.
    CHECK(size_for(65536) > 65536);
    CHECK(size_for(65540) > 65540);
}

TEST_CASE("chunk: many rows", "[chunk]")
{
    std::vector<Row> rows;
    for (int row = 0; row < 20000; ++row) {
        rows.push_back({fixed(row), row % 7 == 0 ? Value{} : short_varlena(std::to_string(row)),
                        fixed(std::int64_t{row / 20000})});
    }
    CHECK(round_trip({kDate, kVarchar, kTimestamptz}, rows).size() > 65536);
}

TEST_CASE("chunk: not more than kMaxRows rows", "[chunk]")
{
    const Layout layout{kDate};
    Batch batch(layout, std::pmr::new_delete_resource());
    const Row row{fixed(1)};
    for (std::uint32_t i = 0; i < spool::kMaxRows; ++i)
        append(batch, row);
    CHECK(spool::encoded_size(batch) == 16);
    const ExactBuffer buffer(encoded(batch));
    std::pmr::monotonic_buffer_resource arena;
    CHECK(Chunk::parse(buffer.span(), &arena).nrows() == spool::kMaxRows);

    CHECK(spool::encoded_size_with(batch, cells_of(row)) > spool::kMaxChunkSize);
    append(batch, row);
    CHECK(spool::encoded_size(batch) > spool::kMaxChunkSize);
    CHECK_THROWS_AS(spool::encode(batch, buffer.span()), std::length_error);
}

TEST_CASE("chunk: larger than a field is seen before it is copied", "[chunk]")
{
    const std::uint32_t size = 600u << 20;
    const Bytes word = fixed(size << 2);
    const std::vector<batch::Cell> one{{word.data(), size}, {}};
    const std::vector<batch::Cell> two{{word.data(), size}, {word.data(), size}};
    const Batch batch(Layout{kVarchar, kVarchar}, std::pmr::new_delete_resource());
    CHECK(spool::encoded_size_with(batch, one) <= spool::kMaxChunkSize);
    CHECK(spool::encoded_size_with(batch, two) > spool::kMaxChunkSize);
    CHECK_THROWS_AS(spool::encoded_size_with(batch, {}), std::invalid_argument);
}

TEST_CASE("chunk: most rows are known to fit without computing the size", "[chunk]")
{
    Batch batch(Layout{kDate, kVarchar}, std::pmr::new_delete_resource());
    const Row row{fixed(1), short_varlena("worker")};
    const std::size_t limit = 8000;
    std::uint32_t known = 0;
    while (spool::encoded_size_with(batch, cells_of(row)) <= limit) {
        known += spool::surely_fits(batch, cells_of(row), limit) ? 1U : 0U;
        append(batch, row);
    }
    // The date is constant and takes no bytes, which the bound does not believe.
    CHECK(known > batch.nrows() / 3);
    CHECK(known < batch.nrows());
    batch.clear();
    CHECK(spool::surely_fits(batch, cells_of(row), limit));
    CHECK_FALSE(spool::surely_fits(batch, {}, limit));
}

// Hidden: takes 4 GB.
TEST_CASE("chunk: the largest row", "[.large]")
{
    const Layout layout{kVarchar, kVarchar};
    Batch batch(layout, std::pmr::new_delete_resource());
    const std::size_t least = encoded(layout, {{long_varlena(0), std::nullopt}}).size();
    const Row largest{long_varlena(spool::kMaxChunkSize - least), std::nullopt};
    append(batch, largest);
    const ExactBuffer buffer(encoded(batch));
    CHECK(buffer.span().size() == spool::kMaxChunkSize);
    std::pmr::monotonic_buffer_resource arena;
    const Chunk chunk = Chunk::parse(buffer.span(), &arena);
    CHECK((read_value(chunk, buffer.span(), 0, 0) == largest[0]));

    append(batch, {std::nullopt, short_varlena("x")});
    CHECK_THROWS_AS(spool::encode(batch, buffer.span()), std::length_error);
}

TEST_CASE("chunk: a buffer that is too small is not written to", "[chunk]")
{
    Batch batch(Layout{kDate}, std::pmr::new_delete_resource());
    append(batch, {fixed(1)});
    const std::size_t size = spool::encoded_size(batch);
    const ExactBuffer exact(size);
    CHECK(spool::encode(batch, exact.span()) == size);
    const ExactBuffer small(Bytes(size - 1, std::byte{0xEE}));
    CHECK_THROWS_AS(spool::encode(batch, small.span()), std::length_error);
    for (const std::byte byte : small.span())
        REQUIRE(byte == std::byte{0xEE});
}

TEST_CASE("chunk: encode needs no alignment and leaves the rest of the buffer", "[chunk]")
{
    const Layout layout{kDate, kVarchar, kTimestamptz};
    const std::vector<Row> rows{{fixed(1), long_varlena(3), fixed(std::int64_t{2})},
                                {fixed(2), short_varlena("z"), std::nullopt}};
    Batch batch(layout, std::pmr::new_delete_resource());
    for (const Row &row : rows)
        append(batch, row);
    const Bytes expected = encoded(batch);
    Bytes buffer(expected.size() + 10, std::byte{0xEE});
    const std::size_t size = spool::encode(batch, std::span(buffer).subspan(3));
    REQUIRE(size == expected.size());
    CHECK(std::equal(expected.begin(), expected.end(), buffer.begin() + 3));
    CHECK(std::count(buffer.end() - 7, buffer.end(), std::byte{0xEE}) == 7);
}

TEST_CASE("chunk: columns are found by attnum, layouts compared by bytes", "[chunk]")
{
    const Layout layout{
        {5, 4, 23, -1, 4}, {2, kVarlena, 25, -1, 4}, {32767, 8, 20, -1, 8}, {-32768, 8, 20, -1, 8}};
    const Row row{fixed(1), short_varlena("a"), std::nullopt, std::nullopt};
    const auto layout_of = [](const Layout &columns, const std::vector<Row> &rows) {
        const ExactBuffer buffer(encoded(columns, rows));
        std::pmr::monotonic_buffer_resource arena;
        const auto bytes = Chunk::parse(buffer.span(), &arena).layout_bytes();
        return Bytes(bytes.begin(), bytes.end());
    };
    const ExactBuffer buffer(encoded(layout, {row}));
    std::pmr::monotonic_buffer_resource arena;
    const Chunk chunk = Chunk::parse(buffer.span(), &arena);
    CHECK(chunk.find_column(5) == 0);
    CHECK(chunk.find_column(2) == 1);
    CHECK(chunk.find_column(32767) == 2);
    CHECK(chunk.find_column(-32768) == 3);
    CHECK(chunk.find_column(1) == -1);
    CHECK(chunk.find_column(0) == -1);

    CHECK(layout_of(layout, {}) == layout_of(layout, {row, row}));
    for (std::size_t column = 0; column < layout.size(); ++column) {
        Layout other = layout;
        other[column].type_oid += 1;
        CHECK(layout_of(layout, {}) != layout_of(other, {}));
        other = layout;
        other[column].typmod += 1;
        CHECK(layout_of(layout, {}) != layout_of(other, {}));
        other = layout;
        other[column].attnum = 100;
        CHECK(layout_of(layout, {}) != layout_of(other, {}));
        other = layout;
        other[column].align = 1;
        CHECK(layout_of(layout, {}) != layout_of(other, {}));
    }
}

TEST_CASE("chunk: what is stored comes back, and its size was foreseen", "[chunk][property]")
{
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        Random random(seed);
        const Sample sample = random_sample(random);
        const std::uint32_t nrows = seed % 40 == 0 ? 1500 : below(random, 150);
        Batch batch(sample.layout, std::pmr::new_delete_resource());
        std::vector<Row> rows;
        bool foreseen = true;
        for (std::uint32_t i = 0; i < nrows; ++i) {
            rows.push_back(random_row(random, sample));
            const std::vector<batch::Cell> cells = cells_of(rows.back());
            const std::size_t size = spool::encoded_size_with(batch, cells);
            foreseen = foreseen && !spool::surely_fits(batch, cells, size - 1);
            std::vector<batch::ColumnExtent> extents;
            for (std::size_t column = 0; column < cells.size(); ++column)
                extents.push_back(batch.columns()[column].extent_with(cells[column], i));
            batch.append(cells);
            foreseen = foreseen && spool::encoded_size(batch) == size;
            for (std::size_t column = 0; column < cells.size(); ++column)
                foreseen = foreseen && batch.columns()[column].extent() == extents[column];
        }
        CAPTURE(seed);
        REQUIRE(foreseen);
        REQUIRE((encoded(batch) == round_trip(sample.layout, rows)));
    }
}

} // namespace
