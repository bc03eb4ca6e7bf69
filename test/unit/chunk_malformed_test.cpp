#include "unit/catch2.hpp"
#include "unit/chunk_samples.hpp"

namespace {

using namespace pipeline;
using namespace pipeline::samples;
using batch::kVarlena;
using spool::Chunk;
using spool::MalformedChunk;

/// Small chunks that have everything the format has.
std::vector<Bytes> valid_chunks()
{
    const Layout mixed{{1, 4, 1082, -1, 4}, {2, kVarlena, 1043, 36, 4},
                       {3, 8, 1184, -1, 8}, {9, kVarlena, 600000, -1, 8},
                       {4, 6, 27, -1, 2},   {5, 1, 16, -1, 1}};
    const auto row = [](int i, Value text, Value wide) {
        return Row{fixed(i),
                   std::move(text),
                   fixed(std::int64_t{7}),
                   std::move(wide),
                   i % 2 == 0 ? Value{} : Bytes(6, static_cast<std::byte>(i)),
                   Value{}};
    };
    return {encoded({}, {}), encoded({}, {{}, {}}), encoded(mixed, {}),
            encoded(mixed, {row(1, short_varlena("abc"), std::nullopt)}),
            encoded(mixed, {row(1, short_varlena("abc"), long_varlena(3)),
                            row(2, std::nullopt, std::nullopt),
                            row(3, short_varlena(""), short_varlena("x")),
                            row(4, long_varlena(2), long_varlena(9, std::byte{3}, 2)),
                            row(5, short_varlena("end"), std::nullopt)})};
}

bool refused(const Bytes &bytes)
{
    return !survives(bytes);
}

/// A valid chunk of one text column with three short values; offsets are those of its parts.
struct ThreeTexts {
    static constexpr std::size_t kFlags = 11;
    static constexpr std::size_t kStarts = 12;
    static constexpr std::size_t kValues = 16;

    Bytes bytes = encoded({{1, kVarlena, 25, -1, 4}},
                          {{short_varlena("aa")}, {short_varlena("bb")}, {short_varlena("cc")}});
};

Bytes with(Bytes bytes, std::size_t at, std::initializer_list<int> numbers)
{
    for (const int number : numbers)
        bytes.at(at++) = static_cast<std::byte>(number);
    return bytes;
}

TEST_CASE("malformed: cut off anywhere, or with a byte more", "[chunk][malformed]")
{
    for (const Bytes &bytes : valid_chunks()) {
        REQUIRE_FALSE(refused(bytes));
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            CAPTURE(bytes.size(), size);
            REQUIRE(refused(Bytes(bytes.begin(), bytes.begin() + static_cast<long>(size))));
        }
        for (const int more : {0, 1, 0xFF}) {
            Bytes longer = bytes;
            longer.push_back(static_cast<std::byte>(more));
            REQUIRE(refused(longer));
        }
    }
}

TEST_CASE("malformed: every byte set to every value", "[chunk][malformed]")
{
    std::size_t accepted = 0;
    std::size_t rejected = 0;
    for (const Bytes &bytes : valid_chunks()) {
        for (std::size_t at = 0; at < bytes.size(); ++at) {
            for (int value = 0; value < 256; ++value) {
                const Bytes changed = with(bytes, at, {value});
                ++(refused(changed) ? rejected : accepted);
            }
        }
    }
    // Contents of values and oids may change unseen; most of the rest may not.
    CHECK(accepted > 1000);
    CHECK(rejected > 10000);
}

TEST_CASE("malformed: random changes of random chunks", "[chunk][malformed]")
{
    std::size_t accepted = 0;
    std::size_t rejected = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        Random random(seed);
        const Sample sample = random_sample(random, 5);
        std::vector<Row> rows(below(random, 20));
        for (Row &row : rows)
            row = random_row(random, sample);
        const Bytes bytes = encoded(sample.layout, rows);
        for (int round = 0; round < 60; ++round) {
            Bytes changed = bytes;
            for (std::uint32_t i = 0; i <= below(random, 3); ++i)
                changed[below(random, changed.size())] = static_cast<std::byte>(random());
            ++(refused(changed) ? rejected : accepted);
        }
    }
    CHECK(accepted > 100);
    CHECK(rejected > 1000);
}

TEST_CASE("malformed: garbage behind a good header", "[chunk][malformed]")
{
    std::size_t rejected = 0;
    for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
        Random random(seed);
        Bytes bytes(below(random, 200));
        for (std::byte &byte : bytes)
            byte = static_cast<std::byte>(below(random, 3) == 0 ? random() : below(random, 5));
        if (bytes.size() >= 8 && seed % 4 != 0) {
            bytes = with(bytes, 0,
                         {0xC7, 1, static_cast<int>(below(random, 4)), 0,
                          static_cast<int>(below(random, 10)), 0, 0, 0});
        }
        rejected += refused(bytes) ? 1u : 0u;
    }
    CHECK(rejected > 19000);
}

TEST_CASE("malformed: header", "[chunk][malformed]")
{
    const Bytes bytes = encoded({}, {{}, {}});
    REQUIRE_FALSE(refused(bytes));
    CHECK(refused(with(bytes, 0, {0xC6})));
    CHECK(refused(with(bytes, 1, {0})));
    CHECK(refused(with(bytes, 1, {2})));
    CHECK(refused(with(bytes, 2, {1})));
    CHECK(refused(with(bytes, 2, {0xFF, 0xFF})));
    CHECK_FALSE(refused(with(bytes, 4, {0, 0, 1, 0})));
    CHECK(refused(with(bytes, 4, {1, 0, 1, 0})));
    CHECK(refused(with(bytes, 4, {0xFF, 0xFF, 0xFF, 0xFF})));
}

TEST_CASE("malformed: bytes that are not aligned are the caller's mistake", "[chunk][malformed]")
{
    const Bytes bytes = ThreeTexts().bytes;
    const ExactBuffer buffer(bytes.size() + 8);
    std::pmr::monotonic_buffer_resource arena;
    for (std::size_t shift = 0; shift <= 8; ++shift) {
        const auto moved = buffer.span().subspan(shift, bytes.size());
        std::copy(bytes.begin(), bytes.end(), moved.begin());
        if (shift % 8 == 0)
            CHECK_NOTHROW(Chunk::parse(moved, &arena));
        else
            CHECK_THROWS_AS(Chunk::parse(moved, &arena), std::invalid_argument);
    }
}

TEST_CASE("malformed: a layout has one form", "[chunk][malformed]")
{
    const auto chunk = [](std::initializer_list<int> layout) {
        Bytes bytes = with(Bytes(8), 0, {0xC7, 1, 1, 0, 0, 0, 0, 0});
        for (const int number : layout)
            bytes.push_back(static_cast<std::byte>(number));
        bytes.push_back(std::byte{2});
        return bytes;
    };
    REQUIRE_FALSE(refused(chunk({0x0E, 23, 0})));
    CHECK(refused(chunk({0x8E, 1, 0, 23, 0})));               // attnum 1 written out
    CHECK_FALSE(refused(chunk({0x8E, 2, 0, 23, 0})));         // attnum 2
    CHECK(refused(chunk({0x4E, 23, 0, 0, 0})));               // small oid in 4 bytes
    CHECK_FALSE(refused(chunk({0x4E, 23, 0, 1, 0})));         // large oid
    CHECK(refused(chunk({0x2E, 23, 0, 255, 255, 255, 255}))); // typmod -1 written out
    CHECK_FALSE(refused(chunk({0x2E, 23, 0, 254, 255, 255, 255})));
    CHECK(refused(chunk({0x1E, 23, 0, 4, 0}))); // width 4 written out
    CHECK_FALSE(refused(chunk({0x1E, 23, 0, 5, 0})));
    CHECK(refused(chunk({0x1E, 23, 0, 0, 0})));       // width 0
    CHECK(refused(chunk({0x1E, 23, 0, 0xFF, 0xFF}))); // varlena written out
    CHECK(refused(chunk({0x1E, 23, 0, 0xFE, 0xFF}))); // cstring
}

TEST_CASE("malformed: flags", "[chunk][malformed]")
{
    const ThreeTexts texts;
    REQUIRE_FALSE(refused(texts.bytes));
    for (int flags = 1; flags < 256; ++flags) {
        CAPTURE(flags);
        CHECK(refused(with(texts.bytes, ThreeTexts::kFlags, {flags})));
    }
    const Bytes numbers = encoded({{1, 4, 23, -1, 4}}, {{fixed(0x11111111)}, {fixed(2)}});
    REQUIRE_FALSE(refused(numbers));
    for (int flags = 1; flags < 256; ++flags) {
        CAPTURE(flags);
        CHECK(refused(with(numbers, ThreeTexts::kFlags, {flags})));
    }
    // Without rows there is no value to point to.
    const Bytes empty = encoded({{1, 4, 23, -1, 4}}, {});
    REQUIRE_FALSE(refused(empty));
    CHECK(refused(with(empty, ThreeTexts::kFlags, {0})));
    CHECK(refused(with(empty, ThreeTexts::kFlags, {4})));
}

TEST_CASE("malformed: starts", "[chunk][malformed]")
{
    const ThreeTexts texts; // starts 3 and 6
    REQUIRE_FALSE(refused(with(texts.bytes, ThreeTexts::kStarts, {3, 0, 6, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {6, 0, 3, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {0, 0, 6, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {2, 0, 6, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {3, 0, 7, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {3, 0, 9, 0})));
    CHECK(refused(with(texts.bytes, ThreeTexts::kStarts, {3, 0, 0xFF, 0xFF})));
}

TEST_CASE("malformed: length words", "[chunk][malformed]")
{
    const ThreeTexts texts;
    for (const std::size_t row : {0u, 1u, 2u}) {
        const std::size_t at = ThreeTexts::kValues + 3 * row;
        CHECK(refused(with(texts.bytes, at, {0x01}))); // toast pointer
        CHECK(refused(with(texts.bytes, at, {0x05}))); // too short
        CHECK(refused(with(texts.bytes, at, {0x09}))); // too long
        CHECK(refused(with(texts.bytes, at, {0xFF})));
        CHECK(refused(with(texts.bytes, at, {0x0C, 0, 0})));
    }
    const Bytes empty = encoded({{1, kVarlena, 25, -1, 4}}, {{short_varlena("")}});
    REQUIRE(empty.back() == std::byte{0x03});
    CHECK(refused(with(empty, empty.size() - 1, {0x01}))); // toast pointer, nothing behind it
    const Bytes plain = encoded({{1, kVarlena, 25, -1, 4}}, {{long_varlena(4)}});
    REQUIRE_FALSE(refused(plain));
    const std::size_t at = plain.size() - 8;
    CHECK_FALSE(refused(with(plain, at, {(8 << 2) | 2}))); // compressed, with its second word
    CHECK(refused(with(plain, at, {7 << 2})));
    CHECK(refused(with(plain, at, {9 << 2})));
    CHECK(refused(with(plain, at, {3 << 2})));
    CHECK(refused(with(plain, at, {0})));
    CHECK(refused(with(plain, at, {8 << 2, 0, 0, 0x80}))); // 512 MB more
    const Bytes seven = encoded({{1, kVarlena, 25, -1, 4}}, {{long_varlena(3)}});
    REQUIRE_FALSE(refused(seven));
    CHECK(refused(with(seven, seven.size() - 7, {(7 << 2) | 2}))); // without its second word
}

TEST_CASE("malformed: a 4-byte length word that is not aligned", "[chunk][malformed]")
{
    // "a", padding, long value. Moving the long value to the front of its padding keeps every
    // size right.
    const Bytes bytes =
        encoded({{1, kVarlena, 25, -1, 4}}, {{short_varlena("a")}, {long_varlena(2)}});
    REQUIRE_FALSE(refused(bytes));
    REQUIRE(bytes.size() == 16 + 4 + 6);
    Bytes moved = with(bytes, 12, {2, 0});
    std::copy(bytes.begin() + 20, bytes.end(), moved.begin() + 18);
    moved.resize(24);
    CHECK(refused(moved));
    CHECK(refused(with(bytes, 18, {1}))); // padding that is not zero
    CHECK(refused(with(bytes, 19, {1})));
}

TEST_CASE("malformed: null bitmap", "[chunk][malformed]")
{
    const Bytes bytes = encoded({{1, 1, 18, -1, 1}}, {{fixed('a')}, {std::nullopt}, {fixed('b')}});
    REQUIRE(bytes.size() == 12 + 1 + 3);
    REQUIRE_FALSE(refused(with(bytes, 12, {0x05})));
    CHECK_FALSE(refused(with(bytes, 12, {0x01})));
    CHECK(refused(with(bytes, 12, {0x00}))); // all NULL has its own flag
    CHECK(refused(with(bytes, 12, {0x07}))); // no NULL
    CHECK(refused(with(bytes, 12, {0x09}))); // a fourth row
    CHECK(refused(with(bytes, 12, {0x81})));
}

} // namespace
