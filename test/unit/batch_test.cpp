#include "unit/catch2.hpp"
#include "unit/chunk_samples.hpp"

namespace {

using namespace pipeline;
using namespace pipeline::samples;
using batch::Batch;
using batch::Cell;
using batch::ColumnLayout;
using batch::kVarlena;

constexpr ColumnLayout kInt4{1, 4, 23, -1, 4};
constexpr ColumnLayout kInt8{2, 8, 20, -1, 8};
constexpr ColumnLayout kText{3, kVarlena, 25, -1, 4};

/// Counts, and fails from the n-th allocation on.
class CountingResource final : public std::pmr::memory_resource {
  public:
    explicit CountingResource(std::size_t limit = SIZE_MAX) : limit_(limit) {}

    std::size_t count() const { return count_; }
    std::size_t bytes() const { return bytes_; }
    void set_limit(std::size_t limit) { limit_ = limit; }

  private:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override
    {
        if (count_ >= limit_)
            throw std::bad_alloc();
        ++count_;
        bytes_ += bytes;
        return std::pmr::new_delete_resource()->allocate(bytes, alignment);
    }
    void do_deallocate(void *p, std::size_t bytes, std::size_t alignment) override
    {
        std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
    }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
        return this == &other;
    }

    std::size_t limit_;
    std::size_t count_ = 0;
    std::size_t bytes_ = 0;
};

TEST_CASE("batch: one row takes one small allocation per column", "[batch]")
{
    CountingResource memory;
    const Layout layout{kInt4, kInt8, kText};
    Batch batch(layout, &memory);
    REQUIRE(memory.count() == 1);
    const std::size_t before = memory.bytes();
    append(batch, {fixed(1), fixed(std::int64_t{2}), short_varlena("three")});
    CHECK(memory.count() == 1 + 3);
    CHECK(memory.bytes() - before <= 3 * 64);
}

TEST_CASE("batch: NULLs alone and rows of constants take no memory", "[batch]")
{
    CountingResource memory;
    const Layout layout{kInt4, kInt8};
    Batch batch(layout, &memory);
    for (int row = 0; row < 10000; ++row)
        append(batch, {std::nullopt, fixed(std::int64_t{7})});
    CHECK(memory.count() == 2);
    CHECK(batch.columns()[0].values().empty());
    CHECK(batch.columns()[0].validity().empty());
    CHECK(batch.columns()[1].values().size() == 8);
}

TEST_CASE("batch: memory grows by doubling", "[batch]")
{
    CountingResource memory;
    const Layout layout{kInt8, kText};
    Batch batch(layout, &memory);
    for (std::int64_t row = 0; row < 10000; ++row)
        append(batch, {fixed(row), short_varlena("abcdefg")});
    CHECK(memory.count() < 50);
    CHECK(memory.bytes() < 8 * 10000 * (8 + 8 + 4));
}

TEST_CASE("batch: clear keeps the memory and forgets the rest", "[batch]")
{
    CountingResource memory;
    const Layout layout{kInt4, kText};
    const std::vector<Row> rows{{fixed(1), std::nullopt},
                                {fixed(2), long_varlena(200)},
                                {std::nullopt, short_varlena("s")}};
    Batch batch(layout, &memory);
    for (const Row &row : rows)
        append(batch, row);
    const Bytes first = encoded(batch);
    const std::size_t allocated = memory.count();

    batch.clear();
    CHECK(batch.nrows() == 0);
    CHECK(encoded(batch) == encoded(layout, {}));
    for (const Row &row : rows)
        append(batch, row);
    CHECK(memory.count() == allocated);
    CHECK(encoded(batch) == first);

    // A column that was not constant, had NULLs and had a long value is none of that now.
    batch.clear();
    append(batch, {fixed(5), short_varlena("t")});
    CHECK(encoded(batch) == encoded(layout, {{fixed(5), short_varlena("t")}}));
}

TEST_CASE("batch: out of memory at any point leaves a batch that clear() mends", "[batch]")
{
    Random random(4);
    const Sample sample = random_sample(random, 9);
    REQUIRE(sample.layout.size() > 2);
    std::vector<Row> rows;
    for (int i = 0; i < 100; ++i)
        rows.push_back(random_row(random, sample));
    const Bytes expected = encoded(sample.layout, rows);

    bool completed = false;
    std::size_t failures = 0;
    for (std::size_t limit = 1; !completed; ++limit) {
        CountingResource memory(limit);
        Batch batch(sample.layout, &memory);
        try {
            for (const Row &row : rows)
                append(batch, row);
            completed = true;
        } catch (const std::bad_alloc &) {
            ++failures;
            memory.set_limit(SIZE_MAX);
            batch.clear();
            for (const Row &row : rows)
                append(batch, row);
        }
        REQUIRE(encoded(batch) == expected);
    }
    CHECK(failures > 10);
}

TEST_CASE("batch: validity words begin when both kinds of rows were seen", "[batch]")
{
    for (const std::uint32_t change : {1u, 7u, 63u, 64u, 65u, 128u}) {
        for (const bool nulls_first : {false, true}) {
            Batch batch(Layout{kInt4}, std::pmr::new_delete_resource());
            for (std::uint32_t row = 0; row < 200; ++row) {
                const bool null = (row < change) == nulls_first;
                append(batch, {null ? Value{} : Value{fixed(row)}});
                const auto words = batch.columns()[0].validity();
                REQUIRE(words.empty() == (row < change));
            }
            const auto words = batch.columns()[0].validity();
            REQUIRE(words.size() == 4);
            bool right = true;
            for (std::uint32_t row = 0; row < 256; ++row) {
                const bool valid = row < 200 && (row < change) != nulls_first;
                right = right && ((words[row / 64] >> (row % 64) & 1) != 0) == valid;
            }
            CHECK(right);
        }
    }
}

TEST_CASE("batch: layouts and rows that cannot be are refused", "[batch]")
{
    auto *memory = std::pmr::new_delete_resource();
    CHECK_THROWS_AS(Batch(Layout{{1, 0, 23, -1, 4}}, memory), std::invalid_argument);
    CHECK_THROWS_AS(Batch(Layout{{1, -2, 2275, -1, 1}}, memory), std::invalid_argument);
    CHECK_THROWS_AS(Batch(Layout{{1, 4, 23, -1, 0}}, memory), std::invalid_argument);
    CHECK_THROWS_AS(Batch(Layout{{1, 4, 23, -1, 3}}, memory), std::invalid_argument);
    CHECK_THROWS_AS(Batch(Layout{{1, 4, 23, -1, 16}}, memory), std::invalid_argument);
    CHECK_THROWS_AS(Batch(Layout(65536, kInt4), memory), std::length_error);
    CHECK_NOTHROW(Batch(Layout(65535, kInt4), memory));

    Batch batch(Layout{kInt4, kText}, memory);
    CHECK_THROWS_AS(append(batch, {fixed(1)}), std::invalid_argument);
    CHECK_THROWS_AS(append(batch, {fixed(1), short_varlena("a"), fixed(1)}), std::invalid_argument);
    CHECK(batch.nrows() == 0);
}

TEST_CASE("batch: a varlena must be what its length word says", "[batch]")
{
    const auto append_text = [](const Bytes &value) {
        Batch batch(Layout{kText}, std::pmr::new_delete_resource());
        append(batch, {value});
    };
    CHECK_NOTHROW(append_text(short_varlena("")));
    CHECK_NOTHROW(append_text(short_varlena(std::string(126, 'x'))));
    CHECK_NOTHROW(append_text(long_varlena(0)));
    CHECK_NOTHROW(append_text(long_varlena(4, std::byte{0}, 2)));

    Bytes external(18, std::byte{0});
    external[0] = std::byte{0x01};
    CHECK_THROWS_AS(append_text(external), std::invalid_argument);
    external.resize(1);
    CHECK_THROWS_AS(append_text(external), std::invalid_argument);
    // Compressed, but without its second word.
    CHECK_THROWS_AS(append_text(long_varlena(3, std::byte{0}, 2)), std::invalid_argument);
    for (const Bytes &value : {short_varlena("abc"), long_varlena(10), long_varlena(10, {}, 2)}) {
        Bytes longer = value;
        longer.push_back(std::byte{0});
        CHECK_THROWS_AS(append_text(longer), std::invalid_argument);
        const Bytes shorter(value.begin(), value.end() - 1);
        CHECK_THROWS_AS(append_text(shorter), std::invalid_argument);
    }
    const std::byte one{0x03};
    Batch batch(Layout{kText}, std::pmr::new_delete_resource());
    CHECK_THROWS_AS(batch.append(std::vector<Cell>{{&one, 0}}), std::invalid_argument);
}

TEST_CASE("batch: a value above the limit of a field is refused before it is read", "[batch]")
{
    const std::uint32_t size = batch::kMaxColumnBytes + 1;
    const Bytes word = fixed(size << 2);
    Batch batch(Layout{kText}, std::pmr::new_delete_resource());
    CHECK_THROWS_AS(batch.append(std::vector<Cell>{{word.data(), size}}), std::length_error);
}

} // namespace
