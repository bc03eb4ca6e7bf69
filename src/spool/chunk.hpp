// The stored form of a batch: what one row of a spool table holds.
//
// Owns: the format, both directions, and how large a batch becomes.
// May call: batch/ and std; no server, no I/O. May throw.
// Invariants: decode(encode(x)) = x; the same rows give the same bytes; a parsed chunk reads
// inside its own bytes only, whatever they hold.
//
// Format version 1. Little-endian. Positions and alignments count from the chunk's first byte,
// which lies at a multiple of 8 when the chunk is read: datums point into it. All padding is
// zero, and each fact has one encoding (parse insists on it, but for the filling of fixed-width
// slots and for "constant").
//
//   0  u8   magic, 0xC7
//   1  u8   version, 1
//   2  u16  ncolumns
//   4  u32  nrows, at most kMaxRows
//   8  layout, one entry per column:
//        u8   bits 0-1  log2(align)
//             bits 2-4  width: 0 varlena; 1 to 6 are 1, 2, 4, 8, 16, 64 bytes; 7 written out
//             bit  5    typmod is written out (it is -1 otherwise)
//             bit  6    type oid has 4 bytes (it is at most 65535 otherwise)
//             bit  7    attnum is written out (it is the one before plus 1 otherwise; the
//                       one before the first column is 0)
//        i16  attnum, if bit 7
//        u16  type oid, or u32 if bit 6
//        i32  typmod, if bit 5
//        i16  width, if bits 2-4 are 7
//   then flags, one u8 per column:
//        1 has nulls   rows of both kinds; a bitmap is there
//        2 all null    no value at all, as in a chunk without rows; stands alone
//        4 constant    fixed width, and all values are the same; one is stored
//        8 has long    varlena, and at least one value has a 4-byte length word
//   then the values, per column, nothing for an all-null one:
//        bitmap   if "has nulls": (nrows + 7) / 8 bytes; row r is bit r % 8 of byte r / 8, set
//                 if the row has a value; bits from nrows on are 0
//        fixed width:
//          padding to `align`, then one slot per row (or a single one if "constant") of the
//          width rounded up to `align`; the slot of a NULL holds anything
//        varlena:
//          starts   (nrows - 1) numbers: where the value of row 1, 2, … starts, counted from the
//                   value of row 0; u16 each if the whole chunk has at most 65535 bytes, else
//                   u32. A NULL starts where the next value could start.
//          padding  to max(align, 4), if "has long"
//          values   as datums with their length words. A short one follows the one before
//                   directly; one with a 4-byte length word (plain or compressed inline) lies at
//                   the next multiple of max(align, 4). A toast pointer never occurs.
//   The last value ends the chunk.
#pragma once

#include "batch/batch.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <span>
#include <stdexcept>
#include <type_traits>

namespace pipeline::spool {

/// A chunk is a bytea, and the server's limit of one field is 1 GB.
inline constexpr std::size_t kMaxChunkSize = (std::size_t{1} << 30) - 64;

/// Rows of constant columns take no space, so that size alone would not end a chunk.
inline constexpr std::uint32_t kMaxRows = 65536;

/// Exact size of encode(batch); more than kMaxChunkSize if the batch cannot be one chunk.
/// O(ncolumns), allocates nothing.
std::size_t encoded_size(const batch::Batch &batch);

/// Exact size of encode(batch) after `row` would be appended; may be called for each row.
std::size_t encoded_size_with(const batch::Batch &batch, std::span<const batch::Cell> row);

/// True only if encoded_size_with() is at most `limit`. It may say false where that is so, but
/// takes a fraction of the time: for the many rows that come long before a chunk is full.
bool surely_fits(const batch::Batch &batch, std::span<const batch::Cell> row, std::size_t limit);

/// Writes the chunk to the front of `out`, which needs no alignment, and returns its size.
/// Throws std::length_error if it is larger than `out` or kMaxChunkSize or has more than
/// kMaxRows rows.
std::size_t encode(const batch::Batch &batch, std::span<std::byte> out);

/// The bytes are not a chunk of this version.
class MalformedChunk : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A view of a chunk's bytes, which must stay where they are. No accessor throws; `column` and
/// `row` must be below ncolumns() and nrows().
class Chunk {
  public:
    /// Checks everything that the accessors rely on. Throws MalformedChunk, and
    /// std::invalid_argument if `bytes` do not start at a multiple of 8. The columns are kept
    /// in `arena`, which gives the memory back at once: the chunk never does.
    static Chunk parse(std::span<const std::byte> bytes, std::pmr::memory_resource *arena);

    std::uint32_t nrows() const { return nrows_; }
    std::size_t ncolumns() const { return columns_.size(); }
    const batch::ColumnLayout &layout(std::size_t column) const { return columns_[column].layout; }

    /// Index of the first column with this attnum, or -1.
    int find_column(std::int16_t attnum) const;

    bool is_null(std::size_t column, std::uint32_t row) const
    {
        return columns_[column].is_null(row);
    }

    /// A fixed-width value, or the length word of a varlena; nullptr if the row is NULL.
    const std::byte *value(std::size_t column, std::uint32_t row) const
    {
        return columns_[column].value(row);
    }

    /// The slots of a fixed-width column, for loops over many rows: row r is at first + r *
    /// stride (0 for a constant column).
    struct Slots {
        const std::byte *first;    ///< nullptr if all rows are NULL
        const std::byte *validity; ///< bit r % 8 of byte r / 8; nullptr if no row is NULL
        std::uint32_t stride;
    };
    Slots slots(std::size_t column) const
    {
        const Column &c = columns_[column];
        return {c.values, c.validity, c.stride};
    }

    /// The encoded layout: the same bytes mean the same columns.
    std::span<const std::byte> layout_bytes() const { return layout_bytes_; }

  private:
    struct Column {
        batch::ColumnLayout layout;
        std::uint8_t flags;
        bool wide_starts;
        std::uint32_t stride;      ///< 0 for a constant column
        const std::byte *validity; ///< nullptr unless there are both kinds of rows
        const std::byte *starts;   ///< of row 1; varlena only
        const std::byte *values;   ///< nullptr if all rows are NULL

        bool is_null(std::uint32_t row) const;
        std::size_t start(std::uint32_t row) const;
        const std::byte *value(std::uint32_t row) const;
    };
    class Parser;

    Chunk() = default;

    std::uint32_t nrows_ = 0;
    std::span<const Column> columns_;
    std::span<const std::byte> layout_bytes_;
};

// The reader drops chunks by resetting their memory context.
static_assert(std::is_trivially_destructible_v<Chunk>);

inline bool Chunk::Column::is_null(std::uint32_t row) const
{
    if (validity == nullptr)
        return values == nullptr;
    return (std::to_integer<unsigned>(validity[row / 8]) >> (row % 8) & 1) == 0;
}

inline std::size_t Chunk::Column::start(std::uint32_t row) const
{
    if (row == 0)
        return 0;
    // The numbers follow a bitmap of any length and are therefore not aligned.
    if (wide_starts) {
        std::uint32_t start = 0;
        std::memcpy(&start, starts + std::size_t{row - 1} * sizeof(start), sizeof(start));
        return start;
    }
    std::uint16_t start = 0;
    std::memcpy(&start, starts + std::size_t{row - 1} * sizeof(start), sizeof(start));
    return start;
}

inline const std::byte *Chunk::Column::value(std::uint32_t row) const
{
    if (is_null(row))
        return nullptr;
    if (layout.width != batch::kVarlena)
        return values + std::size_t{row} * stride;
    return values + start(row);
}

} // namespace pipeline::spool
