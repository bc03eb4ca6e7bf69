// Rows to put into chunks, made or random, and a reader that distrusts a parsed chunk.
//
// Owns: nothing that lasts. Used by the unit tests and by the fuzzer, hence no test framework
// here: a breach is a std::logic_error.
// Invariant: the random part depends on the seed alone, on every machine.
#pragma once

#include "batch/batch.hpp"
#include "spool/chunk.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <memory_resource>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pipeline::samples {

using Bytes = std::vector<std::byte>;
using Value = std::optional<Bytes>;
using Row = std::vector<Value>;
using Layout = std::vector<batch::ColumnLayout>;
using Random = std::mt19937_64;

inline std::uint32_t below(Random &random, std::uint64_t bound)
{
    return static_cast<std::uint32_t>(random() % bound);
}

// ---- values ----------------------------------------------------------------------------

template <typename Number> Bytes fixed(Number number)
{
    Bytes bytes(sizeof(number));
    std::memcpy(bytes.data(), &number, sizeof(number));
    return bytes;
}

inline Bytes short_varlena(std::string_view payload)
{
    Bytes bytes(payload.size() + 1);
    bytes[0] = static_cast<std::byte>((bytes.size() << 1) | 1);
    std::memcpy(bytes.data() + 1, payload.data(), payload.size());
    return bytes;
}

/// With a 4-byte length word; `kind` 0 is plain, 2 is compressed.
inline Bytes long_varlena(std::size_t payload_size, std::byte fill = std::byte{'x'},
                          std::uint32_t kind = 0)
{
    Bytes bytes(payload_size + 4, fill);
    const std::uint32_t word = static_cast<std::uint32_t>(bytes.size() << 2) | kind;
    std::memcpy(bytes.data(), &word, sizeof(word));
    return bytes;
}

inline std::vector<batch::Cell> cells_of(const Row &row)
{
    std::vector<batch::Cell> cells;
    for (const Value &value : row) {
        if (value)
            cells.push_back({value->data(), static_cast<std::uint32_t>(value->size())});
        else
            cells.push_back({});
    }
    return cells;
}

inline void append(batch::Batch &batch, const Row &row)
{
    batch.append(cells_of(row));
}

// ---- chunks ----------------------------------------------------------------------------

/// Bytes at a multiple of 8 that end where their allocation ends, so that AddressSanitizer
/// sees every step beyond them.
class ExactBuffer {
  public:
    explicit ExactBuffer(std::size_t size) : size_(size), bytes_(new std::byte[size]) {}
    explicit ExactBuffer(std::span<const std::byte> bytes) : ExactBuffer(bytes.size())
    {
        std::copy(bytes.begin(), bytes.end(), bytes_.get());
    }

    std::span<std::byte> span() const { return {bytes_.get(), size_}; }

  private:
    std::size_t size_;
    std::unique_ptr<std::byte[]> bytes_;
};

inline Bytes encoded(const batch::Batch &batch)
{
    Bytes bytes(spool::encoded_size(batch), std::byte{0xEE});
    const std::size_t size = spool::encode(batch, bytes);
    if (size != bytes.size())
        throw std::logic_error("encode() and encoded_size() differ");
    return bytes;
}

inline Bytes encoded(const Layout &layout, const std::vector<Row> &rows)
{
    batch::Batch batch(layout, std::pmr::new_delete_resource());
    for (const Row &row : rows)
        append(batch, row);
    return encoded(batch);
}

/// Reads one value after checking where it lies.
inline Value read_value(const spool::Chunk &chunk, std::span<const std::byte> bytes,
                        std::size_t column, std::uint32_t row)
{
    const std::byte *value = chunk.value(column, row);
    if (chunk.is_null(column, row)) {
        if (value != nullptr)
            throw std::logic_error("a NULL has a value");
        return std::nullopt;
    }
    if (value < bytes.data() || value >= bytes.data() + bytes.size())
        throw std::logic_error("a value lies outside its chunk");
    const auto offset = static_cast<std::size_t>(value - bytes.data());
    const batch::ColumnLayout &layout = chunk.layout(column);
    std::size_t size = 0;
    std::size_t align = layout.align;
    if (layout.width == batch::kVarlena) {
        size = batch::varlena_size(value, bytes.size() - offset);
        // Not by the functions under test: postgres.h reads a 4-byte word unless the bit is set.
        align = (*value & std::byte{1}) != std::byte{0} ? 1 : std::max<std::size_t>(align, 4);
    } else {
        size = static_cast<std::size_t>(layout.width);
    }
    if (size == 0 || size > bytes.size() - offset)
        throw std::logic_error("a value reaches beyond its chunk");
    if (reinterpret_cast<std::uintptr_t>(value) % align != 0)
        throw std::logic_error("a value is not aligned");
    return Bytes(value, value + size);
}

inline std::vector<Row> read_rows(const spool::Chunk &chunk, std::span<const std::byte> bytes)
{
    std::vector<Row> rows(chunk.nrows(), Row(chunk.ncolumns()));
    for (std::uint32_t row = 0; row < chunk.nrows(); ++row) {
        for (std::size_t column = 0; column < chunk.ncolumns(); ++column)
            rows[row][column] = read_value(chunk, bytes, column, row);
    }
    return rows;
}

inline Layout read_layout(const spool::Chunk &chunk)
{
    Layout layout;
    for (std::size_t column = 0; column < chunk.ncolumns(); ++column)
        layout.push_back(chunk.layout(column));
    return layout;
}

/// What no input may break. False if the bytes are refused; otherwise everything in them was
/// read and survives being stored again.
inline bool survives(std::span<const std::byte> input)
{
    const ExactBuffer buffer(input);
    std::pmr::monotonic_buffer_resource arena;
    try {
        const spool::Chunk chunk = spool::Chunk::parse(buffer.span(), &arena);
        const Layout layout = read_layout(chunk);
        for (const batch::ColumnLayout &column : layout) {
            const int found = chunk.find_column(column.attnum);
            if (found < 0 || chunk.layout(static_cast<std::size_t>(found)).attnum != column.attnum)
                throw std::logic_error("a column is not found");
        }
        // A changed nrows can turn few bytes into very many rows of constants.
        if (std::size_t{chunk.nrows()} * chunk.ncolumns() > 4096) {
            for (std::size_t column = 0; column < chunk.ncolumns(); ++column) {
                for (std::uint32_t row = 0; row < chunk.nrows(); row += 1 + chunk.nrows() / 1024)
                    read_value(chunk, buffer.span(), column, row);
                read_value(chunk, buffer.span(), column, chunk.nrows() - 1);
            }
            return true;
        }
        const std::vector<Row> rows = read_rows(chunk, buffer.span());
        const Bytes again = encoded(layout, rows);
        const ExactBuffer second(again);
        const spool::Chunk copy = spool::Chunk::parse(second.span(), &arena);
        if (read_rows(copy, second.span()) != rows || read_layout(copy) != layout)
            throw std::logic_error("a chunk differs from itself after being stored again");
        return true;
    } catch (const spool::MalformedChunk &) {
        return false;
    }
}

// ---- random rows -----------------------------------------------------------------------

/// How the values of one column are drawn.
struct Mood {
    std::uint32_t null_percent;
    std::uint32_t variety;     ///< number of different values, 0: no limit
    std::uint32_t max_payload; ///< varlena
    std::uint32_t long_percent;
};

struct Sample {
    Layout layout;
    std::vector<Mood> moods;
};

inline Sample random_sample(Random &random, std::uint64_t max_columns = 9)
{
    static constexpr std::int16_t kSomeWidths[] = {
        batch::kVarlena, batch::kVarlena, 1, 2, 4, 8, 16, 64, 3, 6, 12, 24, 100};
    static constexpr std::uint32_t kNulls[] = {0, 0, 0, 5, 50, 95, 100};
    static constexpr std::uint32_t kVarieties[] = {1, 2, 0, 0};
    static constexpr std::uint32_t kPayloads[] = {0, 10, 126, 300};
    static constexpr std::uint32_t kLongs[] = {0, 20, 100};
    Sample sample;
    const std::uint32_t ncolumns = below(random, max_columns + 1);
    std::int16_t attnum = 0;
    for (std::uint32_t i = 0; i < ncolumns; ++i) {
        attnum = static_cast<std::int16_t>(attnum + 1 + (below(random, 4) == 0 ? 2 : 0));
        batch::ColumnLayout layout{};
        layout.attnum = attnum;
        layout.width = kSomeWidths[below(random, std::size(kSomeWidths))];
        layout.type_oid = below(random, 2) == 0 ? below(random, 65536) : below(random, 1ull << 32);
        layout.typmod = below(random, 2) == 0 ? -1 : static_cast<std::int32_t>(random());
        layout.align = static_cast<std::uint8_t>(1u << below(random, 4));
        sample.layout.push_back(layout);
        sample.moods.push_back({kNulls[below(random, std::size(kNulls))],
                                kVarieties[below(random, std::size(kVarieties))],
                                kPayloads[below(random, std::size(kPayloads))],
                                kLongs[below(random, std::size(kLongs))]});
    }
    return sample;
}

inline Value random_value(Random &random, const batch::ColumnLayout &layout, const Mood &mood)
{
    if (below(random, 100) < mood.null_percent)
        return std::nullopt;
    Random content(mood.variety == 0 ? random() : below(random, mood.variety));
    Bytes value;
    if (layout.width != batch::kVarlena) {
        value.resize(static_cast<std::size_t>(layout.width));
    } else if (below(content, 100) < mood.long_percent) {
        const std::uint32_t kind = below(content, 3) == 0 ? 2 : 0;
        const std::uint32_t least = kind == 2 ? 4 : 0;
        value = long_varlena(least + below(content, mood.max_payload + 1), std::byte{0}, kind);
    } else {
        const std::uint32_t size = below(content, std::min(mood.max_payload, 126u) + 1);
        value = short_varlena(std::string(size, 'x'));
    }
    std::size_t start = 0;
    if (layout.width == batch::kVarlena)
        start = batch::is_short_varlena(value[0]) ? 1 : 4;
    for (std::size_t i = start; i < value.size(); ++i)
        value[i] = static_cast<std::byte>(content());
    return value;
}

inline Row random_row(Random &random, const Sample &sample)
{
    Row row;
    for (std::size_t i = 0; i < sample.layout.size(); ++i)
        row.push_back(random_value(random, sample.layout[i], sample.moods[i]));
    return row;
}

} // namespace pipeline::samples
