// Numbers the groups of a query: rows with equal keys get the same dense number.
//
// Owns: the keys of all groups and a hash table over them, from the memory_resource given.
// May call: agg/lanes and std; no server. May throw std::bad_alloc and std::length_error.
// Invariants: numbers are 0, 1, 2, … in order of appearance; NULL equals NULL; two values are
// equal if their words or bytes are, so the caller has made -0 and 0 the same.
#pragma once

#include "agg/lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

namespace pipeline::agg {

enum class KeyKind : std::uint8_t { kWord, kBytes };

/// A key column may be NULL in 64 columns at most.
inline constexpr std::size_t kMaxKeys = 64;

/// A stored key value.
struct KeyValue {
    bool isnull;
    std::int64_t word;
    std::span<const std::byte> bytes;
};

class GroupTable {
  public:
    GroupTable(std::span<const KeyKind> keys, std::pmr::memory_resource *resource);

    GroupTable(const GroupTable &) = delete;
    GroupTable &operator=(const GroupTable &) = delete;

    /// Writes the group number of each selected row to `groups` (one per selected row, in their
    /// order) and adds groups that are new. Without keys all rows are of group 0.
    void resolve(std::span<const Lane> keys, Selection selection, std::uint32_t *groups);

    std::uint32_t ngroups() const { return ngroups_; }

    /// `group` < ngroups(); the bytes stay valid until the next resolve().
    KeyValue key(std::uint32_t group, std::size_t column) const;

  private:
    /// An entry of the open-addressing table; `group` counts from 1, 0 = free.
    struct Entry {
        std::uint32_t salt;
        std::uint32_t group;
    };
    struct BytesAt {
        std::uint32_t size;
        std::uint64_t start; ///< in bytes_
    };

    void hash_rows(std::span<const Lane> keys, Selection selection);
    bool is_key(std::span<const Lane> keys, std::uint32_t row, std::uint64_t nulls,
                std::uint32_t group) const;
    void add_group(std::span<const Lane> keys, std::uint32_t row, std::uint64_t nulls,
                   std::uint64_t hash);
    void grow();

    std::size_t nwords_ = 0; ///< kinds are numbered apart: the n-th word, the n-th bytes
    std::size_t nbytes_ = 0;
    std::pmr::vector<KeyKind> kinds_;
    std::uint32_t ngroups_ = 0;
    std::pmr::vector<Entry> entries_;
    std::pmr::vector<std::uint64_t> hashes_; ///< by group
    std::pmr::vector<std::uint64_t> nulls_;  ///< by group, a bit per key
    std::pmr::vector<std::int64_t> words_;   ///< by group, nwords_ each
    std::pmr::vector<BytesAt> bytes_at_;     ///< by group, nbytes_ each
    std::pmr::vector<std::byte> bytes_;
    std::pmr::vector<std::uint64_t> row_hashes_; ///< of the selected rows
    std::pmr::vector<std::uint64_t> row_nulls_;
};

} // namespace pipeline::agg
