// The table of a hash join: rows are added in blocks, then blocks of other rows find their matches.
//
// Owns: copies of the added rows and a hash table over their keys, from the memory_resource given.
// May call: agg/group_table (kinds of values), std; no server. May throw std::bad_alloc and
// std::length_error. Invariants: NULL matches nothing; two values match if their words or bytes
// are equal, so types whose equality is another one are not for it.
#pragma once

#include "agg/group_table.hpp"
#include "agg/lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

namespace pipeline::agg {

class JoinTable {
  public:
    static constexpr std::uint32_t kNoRow = UINT32_MAX;

    /// Pairs of a row of the block and a row of the table, in the order of the block.
    struct Matches {
        std::uint32_t count;
        std::uint16_t left[kBlockRows];
        std::uint32_t right[kBlockRows]; ///< kNoRow: this row of the block matches nothing
    };

    JoinTable(std::span<const KeyKind> keys, std::span<const KeyKind> columns,
              std::pmr::memory_resource *resource);

    JoinTable(const JoinTable &) = delete;
    JoinTable &operator=(const JoinTable &) = delete;

    /// Adds rows. One lane per key and column; rows with a NULL key are left out.
    void add(std::span<const Lane> keys, std::span<const Lane> columns, Selection rows);

    /// After the last row, before the first look-up.
    void finish();

    std::uint32_t nrows() const { return static_cast<std::uint32_t>(entries_.size()); }

    /// How much memory it uses, or will use when finished.
    std::size_t size() const;

    /// Looks up a block, whose lanes must stay. `keep` = rows without a match are wanted, too.
    void look_up(std::span<const Lane> keys, Selection rows, bool keep);

    /// The next matches of that block; false if there are none left.
    bool next(Matches &matches);

    /// Values of a column for rows of the table. True if one of them is NULL: `nulls` counts.
    bool gather(std::size_t column, std::span<const std::uint32_t> rows, std::int64_t *words,
                std::uint8_t *nulls) const;
    bool gather(std::size_t column, std::span<const std::uint32_t> rows, const std::byte **starts,
                std::uint32_t *sizes, std::uint8_t *nulls) const;

  private:
    struct Entry {
        std::uint64_t hash;
        std::uint32_t next; ///< of the same bucket; counts from 1, 0 = none
    };
    struct BytesAt {
        std::uint64_t start; ///< in bytes_
        std::uint32_t size;
    };
    /// Keys come first, then columns. A single word key is not kept: its hash stands for it.
    struct Column {
        explicit Column(KeyKind k, std::pmr::memory_resource *resource)
            : kind(k), words(resource), bytes(resource), nulls(resource)
        {
        }

        KeyKind kind;
        bool has_nulls = false;
        std::pmr::vector<std::int64_t> words;
        std::pmr::vector<BytesAt> bytes;
        std::pmr::vector<std::uint8_t> nulls;
    };

    void hash_rows(std::span<const Lane> keys, Selection rows);
    void append(Column &column, const Lane &lane, std::uint16_t row);
    bool is_match(std::uint16_t row, std::uint32_t entry) const;

    std::size_t nkeys_;
    bool hash_is_key_; ///< there is one key, a word
    std::pmr::vector<Column> columns_;
    std::pmr::vector<std::byte> bytes_;
    std::pmr::vector<Entry> entries_;
    std::pmr::vector<std::uint32_t> heads_;

    // The block at hand.
    std::pmr::vector<std::uint64_t> row_hashes_;
    std::pmr::vector<std::uint8_t> row_nulls_;
    std::pmr::vector<std::uint32_t> row_entries_;
    std::span<const Lane> row_keys_;
    Selection rows_{};
    bool keep_ = false;
    std::uint32_t at_ = 0;    ///< in rows_
    std::uint32_t entry_ = 0; ///< the next to be tried for that row
    bool matched_ = false;    ///< that row has had a match
};

} // namespace pipeline::agg
