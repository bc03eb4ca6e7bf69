#include "agg/join_table.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

/// A permutation of the 64-bit numbers (the finalizer of MurmurHash3, public domain): different
/// words have different hashes.
std::uint64_t permute(std::uint64_t word)
{
    word ^= word >> 33;
    word *= 0xFF51AFD7ED558CCD;
    word ^= word >> 33;
    word *= 0xC4CEB9FE1A85EC53;
    return word ^ word >> 33;
}

std::uint64_t hash_bytes(std::uint64_t hash, const std::byte *data, std::size_t size)
{
    hash = permute(hash ^ size);
    for (; size >= sizeof(hash); size -= sizeof(hash), data += sizeof(hash)) {
        std::uint64_t word = 0;
        std::memcpy(&word, data, sizeof(word));
        hash = permute(hash ^ word);
    }
    std::uint64_t rest = 0;
    if (size > 0)
        std::memcpy(&rest, data, size);
    return permute(hash ^ rest);
}

} // namespace

JoinTable::JoinTable(std::span<const KeyKind> keys, std::span<const KeyKind> columns,
                     std::pmr::memory_resource *resource)
    : nkeys_(keys.size()), hash_is_key_(keys.size() == 1 && keys[0] == KeyKind::kWord),
      columns_(resource), bytes_(resource), entries_(resource), heads_(resource),
      row_hashes_(resource), row_nulls_(resource), row_entries_(resource)
{
    columns_.reserve(keys.size() + columns.size());
    for (const KeyKind kind : keys)
        columns_.emplace_back(kind, resource);
    for (const KeyKind kind : columns)
        columns_.emplace_back(kind, resource);
    row_hashes_.resize(kBlockRows);
    row_nulls_.resize(kBlockRows);
    row_entries_.resize(kBlockRows);
}

/// Of rows with a NULL key the hash is anything.
void JoinTable::hash_rows(std::span<const Lane> keys, Selection rows)
{
    std::fill_n(row_hashes_.begin(), rows.count, 0);
    std::fill_n(row_nulls_.begin(), rows.count, 0);
    for (std::size_t k = 0; k < nkeys_; k++) {
        const Lane &lane = keys[k];
        if (lane.nulls != nullptr)
            for (std::uint32_t i = 0; i < rows.count; i++)
                row_nulls_[i] |= lane.nulls[rows.rows[i]];
        if (columns_[k].kind == KeyKind::kWord) {
            for (std::uint32_t i = 0; i < rows.count; i++)
                row_hashes_[i] =
                    permute(row_hashes_[i] ^ static_cast<std::uint64_t>(lane.words[rows.rows[i]]));
            continue;
        }
        for (std::uint32_t i = 0; i < rows.count; i++)
            if (row_nulls_[i] == 0)
                row_hashes_[i] =
                    hash_bytes(row_hashes_[i], lane.starts[rows.rows[i]], lane.sizes[rows.rows[i]]);
    }
}

void JoinTable::append(Column &column, const Lane &lane, std::uint16_t row)
{
    const bool isnull = lane.is_null(row);
    if (isnull && !column.has_nulls) {
        column.has_nulls = true;
        column.nulls.resize(entries_.size() - 1); // the entry of this row is there already
    }
    if (column.has_nulls)
        column.nulls.push_back(isnull);
    if (column.kind == KeyKind::kWord) {
        column.words.push_back(isnull ? 0 : lane.words[row]);
        return;
    }
    const std::uint32_t size = isnull ? 0 : lane.sizes[row];
    column.bytes.push_back({bytes_.size(), size});
    if (size > 0)
        bytes_.insert(bytes_.end(), lane.starts[row], lane.starts[row] + size);
}

void JoinTable::add(std::span<const Lane> keys, std::span<const Lane> columns, Selection rows)
{
    hash_rows(keys, rows);
    for (std::uint32_t i = 0; i < rows.count; i++) {
        if (row_nulls_[i] != 0)
            continue;
        if (entries_.size() >= kNoRow - 1)
            throw std::length_error("too many rows in a join table");
        entries_.push_back({row_hashes_[i], 0});
        for (std::size_t k = 0; k < nkeys_ && !hash_is_key_; k++)
            append(columns_[k], keys[k], rows.rows[i]);
        for (std::size_t c = 0; c < columns.size(); c++)
            append(columns_[nkeys_ + c], columns[c], rows.rows[i]);
    }
}

void JoinTable::finish()
{
    heads_.assign(std::bit_ceil(std::max<std::size_t>(entries_.size() * 2, 16)), 0);
    const std::uint64_t mask = heads_.size() - 1;
    for (std::uint32_t e = 0; e < entries_.size(); e++) {
        std::uint32_t &head = heads_[entries_[e].hash & mask];
        entries_[e].next = head;
        head = e + 1;
    }
}

std::size_t JoinTable::size() const
{
    std::size_t size = bytes_.capacity() + entries_.capacity() * sizeof(Entry) +
                       std::bit_ceil(entries_.size() * 2 + 1) * sizeof(std::uint32_t);
    for (const Column &column : columns_)
        size += column.words.capacity() * sizeof(std::int64_t) +
                column.bytes.capacity() * sizeof(BytesAt) + column.nulls.capacity();
    return size;
}

/// In passes, so that the misses of many rows are on their way at once.
void JoinTable::look_up(std::span<const Lane> keys, Selection rows, bool keep)
{
    row_keys_ = keys;
    rows_ = rows;
    keep_ = keep;
    hash_rows(keys, rows);
    const std::uint64_t mask = heads_.size() - 1;
    for (std::uint32_t i = 0; i < rows.count; i++)
        __builtin_prefetch(&heads_[row_hashes_[i] & mask]);
    for (std::uint32_t i = 0; i < rows.count; i++) {
        const std::uint32_t entry = row_nulls_[i] != 0 ? 0 : heads_[row_hashes_[i] & mask];
        row_entries_[i] = entry;
        if (entry != 0)
            __builtin_prefetch(&entries_[entry - 1]);
    }
    at_ = 0;
    entry_ = rows.count > 0 ? row_entries_[0] : 0;
    matched_ = false;
}

bool JoinTable::is_match(std::uint16_t row, std::uint32_t entry) const
{
    for (std::size_t k = 0; k < nkeys_ && !hash_is_key_; k++) {
        const Column &column = columns_[k];
        const Lane &lane = row_keys_[k];
        if (column.kind == KeyKind::kWord) {
            if (column.words[entry] != lane.words[row])
                return false;
            continue;
        }
        const BytesAt &stored = column.bytes[entry];
        if (stored.size != lane.sizes[row] ||
            (stored.size > 0 &&
             std::memcmp(bytes_.data() + stored.start, lane.starts[row], stored.size) != 0))
            return false;
    }
    return true;
}

bool JoinTable::next(Matches &matches)
{
    matches.count = 0;
    while (at_ < rows_.count && matches.count < kBlockRows) {
        const std::uint16_t row = rows_.rows[at_];
        while (entry_ != 0 && matches.count < kBlockRows) {
            const std::uint32_t found = entry_ - 1;
            const Entry &entry = entries_[found];
            entry_ = entry.next;
            if (entry.hash != row_hashes_[at_] || !is_match(row, found))
                continue;
            matched_ = true;
            matches.left[matches.count] = row;
            matches.right[matches.count++] = found;
        }
        if (matches.count == kBlockRows)
            break; // the row may go on, or still need its pair without a match
        if (keep_ && !matched_) {
            matches.left[matches.count] = row;
            matches.right[matches.count++] = kNoRow;
        }
        at_++;
        entry_ = at_ < rows_.count ? row_entries_[at_] : 0;
        matched_ = false;
    }
    return matches.count > 0;
}

bool JoinTable::gather(std::size_t column, std::span<const std::uint32_t> rows, std::int64_t *words,
                       std::uint8_t *nulls) const
{
    const Column &from = columns_[nkeys_ + column];
    std::uint8_t some = 0;
    for (std::size_t i = 0; i < rows.size(); i++) {
        const std::uint32_t row = rows[i];
        nulls[i] = row == kNoRow || (from.has_nulls && from.nulls[row] != 0);
        some |= nulls[i];
        words[i] = row == kNoRow ? 0 : from.words[row];
    }
    return some != 0;
}

bool JoinTable::gather(std::size_t column, std::span<const std::uint32_t> rows,
                       const std::byte **starts, std::uint32_t *sizes, std::uint8_t *nulls) const
{
    const Column &from = columns_[nkeys_ + column];
    std::uint8_t some = 0;
    for (std::size_t i = 0; i < rows.size(); i++) {
        const std::uint32_t row = rows[i];
        nulls[i] = row == kNoRow || (from.has_nulls && from.nulls[row] != 0);
        some |= nulls[i];
        const BytesAt value = row == kNoRow ? BytesAt{0, 0} : from.bytes[row];
        starts[i] = bytes_.data() + value.start;
        sizes[i] = value.size;
    }
    return some != 0;
}

} // namespace pipeline::agg
