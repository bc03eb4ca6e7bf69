// A block of rows as the aggregation loops see it: one lane of plain values per column.
//
// Owns: nothing; lanes point into the caller's memory for the time of a call.
// May call: std only. Invariant: a lane has an entry for each row of its block, NULLs included;
// the entry of a NULL may hold anything.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pipeline::agg {

/// Rows of a block. Its lanes and the group numbers stay in the first-level cache.
inline constexpr std::uint32_t kBlockRows = 1024;

/// Either `words` (values of up to 8 bytes, sign-extended or as the bits of a double) or
/// `starts` with `sizes` (anything else whose equality is that of its bytes).
struct Lane {
    const std::int64_t *words = nullptr;
    const std::byte *const *starts = nullptr;
    const std::uint32_t *sizes = nullptr;
    const std::uint8_t *nulls = nullptr; ///< 1 = NULL; nullptr if the block has none

    bool is_null(std::uint32_t row) const { return nulls != nullptr && nulls[row] != 0; }
};

/// Which rows of a block count, ascending.
struct Selection {
    const std::uint16_t *rows;
    std::uint32_t count;
};

} // namespace pipeline::agg
