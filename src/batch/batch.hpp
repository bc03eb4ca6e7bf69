// A columnar micro-batch: the rows of one statement on their way into a chunk.
//
// Owns: the column vectors, allocated from the memory_resource it was given.
// May call: std only; no server, no clock, no I/O. May throw std::bad_alloc.
// Invariant: every column has exactly nrows() entries between two calls of append().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <vector>

namespace pipeline::batch {

/// What a column holds. type_oid and typmod are carried, never interpreted.
struct ColumnLayout {
    std::int16_t attnum;
    std::int16_t width; ///< bytes of a fixed-width value, or kVarlena
    std::uint32_t type_oid;
    std::int32_t typmod;
    std::uint8_t align; ///< 1, 2, 4 or 8

    bool operator==(const ColumnLayout &) const = default;
};

inline constexpr std::int16_t kVarlena = -1;

/// One value of a row to append. `data` is borrowed for the call and needs no alignment. A
/// varlena is passed whole, with its length word; `size` is its total size. `size` of a
/// fixed-width value is not read: its column's width counts.
struct Cell {
    const void *data = nullptr; ///< nullptr means NULL
    std::uint32_t size = 0;
};

/// The most bytes of values that one column takes; the server's limit of one field.
inline constexpr std::size_t kMaxColumnBytes = (std::size_t{1} << 30) - 64;

/// `align` is a power of two.
constexpr std::size_t align_up(std::size_t position, std::size_t align)
{
    return (position + align - 1) & ~(align - 1);
}

/// A fixed-width value's distance to the next one.
constexpr std::uint32_t stride_of(const ColumnLayout &layout)
{
    return static_cast<std::uint32_t>(
        align_up(static_cast<std::size_t>(layout.width), layout.align));
}

/// Where a varlena with a 4-byte length word may start.
constexpr std::size_t long_varlena_align(const ColumnLayout &layout)
{
    return layout.align > 4 ? layout.align : 4;
}

/// postgres.h, VARATT_IS_1B on little-endian machines: such a value may lie anywhere, all
/// others are read as an aligned 4-byte word.
constexpr bool is_short_varlena(std::byte first)
{
    return (first & std::byte{1}) != std::byte{0};
}

/// Size of the varlena at `bytes` by its own length word, or 0 if that word is not one that a
/// chunk may hold or needs more than `available` bytes. Reads at most `available` bytes.
inline std::uint32_t varlena_size(const std::byte *bytes, std::size_t available)
{
    if (available == 0)
        return 0;
    std::uint32_t size = 0;
    if (is_short_varlena(bytes[0])) {
        // postgres.h, VARATT_IS_1B_E: 0x01 is a pointer to a toast table or to an expanded
        // object, which means nothing to another process. Its size here is 0: refused.
        size = std::to_integer<std::uint32_t>(bytes[0]) >> 1;
    } else {
        if (available < 4)
            return 0;
        std::uint32_t word = 0;
        std::memcpy(&word, bytes, sizeof(word));
        size = word >> 2;
        // A compressed value has a second word (varattrib_4b.va_compressed.va_tcinfo), which
        // the server reads without looking at the size.
        const std::uint32_t least = (word & 3) == 0 ? 4 : 8;
        if (size < least)
            return 0;
    }
    return size <= available ? size : 0;
}

/// What the size of a column's stored form depends on.
struct ColumnExtent {
    std::size_t value_bytes; ///< bytes of the values, the padding between them included
    std::uint32_t nvalid;    ///< rows that are not NULL
    bool constant;           ///< fixed width, and all values are bytewise the same
    bool has_long;           ///< varlena, and one has a 4-byte length word

    bool operator==(const ColumnExtent &) const = default;
};

/// One column of a Batch, in the form in which a chunk stores it.
class Column {
  public:
    Column(const ColumnLayout &layout, std::pmr::memory_resource *resource);

    const ColumnLayout &layout() const { return layout_; }
    ColumnExtent extent() const { return {values_.size(), nvalid_, constant_, has_long_}; }

    /// extent() as it would be after `cell` is appended, for a column that has `nrows` rows.
    ColumnExtent extent_with(const Cell &cell, std::uint32_t nrows) const;

    /// What the value can take at most, with the padding before it and the number that says where
    /// it starts.
    std::size_t most_bytes(const Cell &cell) const
    {
        if (layout_.width != kVarlena)
            return stride_;
        return cell.data == nullptr ? sizeof(std::uint32_t)
                                    : cell.size + sizeof(std::uint32_t) + kMostPadding;
    }

    /// Fixed width: one slot of stride_of(layout()) bytes per row, NULLs included, or a single
    /// slot while the column is constant. Varlena: the values, those with a 4-byte length word
    /// at multiples of long_varlena_align(layout()), zero bytes between.
    std::span<const std::byte> values() const { return values_; }

    /// Varlena only: where the values of row 1, 2, … start in values(); row 0 starts at 0.
    std::span<const std::uint32_t> starts() const { return starts_; }

    /// One bit per row, set if the row is not NULL; empty unless there are both kinds of rows.
    std::span<const std::uint64_t> validity() const { return validity_; }

    /// For the Batch, which knows the number of rows. The same rules as Batch::append.
    void append(const Cell &cell, std::uint32_t nrows);
    void clear();

  private:
    void append_validity(bool valid, std::uint32_t nrows);
    void append_fixed(const void *data, std::uint32_t nrows);
    void append_varlena(const Cell &cell, std::uint32_t nrows);
    void expand_constant(std::uint32_t nrows);
    bool is_first_value(const void *data) const;

    static constexpr std::size_t kMostPadding = 7;

    ColumnLayout layout_;
    std::uint32_t stride_ = 0;
    std::uint32_t nvalid_ = 0;
    bool constant_ = false;
    bool has_long_ = false;
    std::pmr::vector<std::byte> values_;
    std::pmr::vector<std::uint32_t> starts_;
    std::pmr::vector<std::uint64_t> validity_;
};

/// All its memory comes from the resource: a Batch may be dropped without its destructor when
/// the resource gives everything back at once.
class Batch {
  public:
    /// Throws std::invalid_argument for a width or alignment that no type has, and
    /// std::length_error for more than 65535 columns.
    Batch(std::span<const ColumnLayout> layout, std::pmr::memory_resource *resource);

    Batch(const Batch &) = delete;
    Batch &operator=(const Batch &) = delete;

    /// Adds a row of one cell per column. Throws std::invalid_argument for a wrong number of
    /// cells or a varlena whose length word does not fit its size or is a toast pointer, and
    /// std::length_error above kMaxColumnBytes. After any throw, std::bad_alloc included, the
    /// batch may only be cleared or destroyed.
    void append(std::span<const Cell> row);

    /// Forgets the rows and keeps the memory.
    void clear();

    std::uint32_t nrows() const { return nrows_; }
    std::size_t ncolumns() const { return columns_.size(); }
    std::span<const Column> columns() const { return columns_; }

    /// The sum of most_bytes() of all cells.
    std::size_t most_bytes() const { return most_bytes_; }

  private:
    std::uint32_t nrows_ = 0;
    std::size_t most_bytes_ = 0;
    std::pmr::vector<Column> columns_;
};

} // namespace pipeline::batch
