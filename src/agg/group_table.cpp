#include "agg/group_table.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

constexpr std::size_t kFirstCapacity = 1024;

/// How many rows ahead the table is fetched, so that several misses are on their way at once.
constexpr std::uint32_t kPrefetch = 8;

/// Multiply and fold (as in wyhash, public domain): every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t a, std::uint64_t b)
{
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kSeed = 0x9E3779B97F4A7C15;
constexpr std::uint64_t kPrime = 0xA0761D6478BD642F;
constexpr std::uint64_t kNullHash = 0xE7037ED1A0B428DB;

template <typename Word> std::uint64_t load(const std::byte *from)
{
    Word word = 0;
    std::memcpy(&word, from, sizeof(word));
    return word;
}

/// Up to 7 bytes as one word, without a loop.
std::uint64_t load_few(const std::byte *from, std::size_t size)
{
    if (size >= 4)
        return load<std::uint32_t>(from) << 32 | load<std::uint32_t>(from + size - 4);
    if (size == 0)
        return 0;
    return load<std::uint8_t>(from) << 16 | load<std::uint8_t>(from + size / 2) << 8 |
           load<std::uint8_t>(from + size - 1);
}

std::uint64_t hash_bytes(std::uint64_t seed, const std::byte *data, std::size_t size)
{
    std::uint64_t hash = seed ^ size;
    std::size_t left = size;
    for (; left > 16; left -= 16, data += 16)
        hash =
            mix(hash ^ load<std::uint64_t>(data) ^ kPrime, load<std::uint64_t>(data + 8) ^ kSeed);
    if (left >= 8)
        return mix(hash ^ load<std::uint64_t>(data) ^ kPrime,
                   load<std::uint64_t>(data + left - 8) ^ kSeed);
    return mix(hash ^ kPrime, load_few(data, left) ^ kSeed);
}

} // namespace

GroupTable::GroupTable(std::span<const KeyKind> keys, std::pmr::memory_resource *resource)
    : kinds_(keys.begin(), keys.end(), resource), entries_(resource), hashes_(resource),
      nulls_(resource), words_(resource), bytes_at_(resource), bytes_(resource),
      row_hashes_(resource), row_nulls_(resource)
{
    if (keys.size() > kMaxKeys)
        throw std::length_error("too many keys");
    for (const KeyKind kind : keys)
        kind == KeyKind::kWord ? nwords_++ : nbytes_++;
    row_hashes_.resize(kBlockRows);
    row_nulls_.resize(kBlockRows);
    entries_.resize(kFirstCapacity);
}

/// Column by column: each loop does one thing.
void GroupTable::hash_rows(std::span<const Lane> keys, Selection selection)
{
    std::fill_n(row_hashes_.begin(), selection.count, kSeed);
    std::fill_n(row_nulls_.begin(), selection.count, 0);
    for (std::size_t k = 0; k < keys.size(); k++) {
        const Lane &lane = keys[k];
        if (kinds_[k] == KeyKind::kWord) {
            for (std::uint32_t i = 0; i < selection.count; i++) {
                const auto word = static_cast<std::uint64_t>(lane.words[selection.rows[i]]);
                row_hashes_[i] = mix(row_hashes_[i] ^ word, kPrime);
            }
        } else {
            for (std::uint32_t i = 0; i < selection.count; i++) {
                const std::uint16_t row = selection.rows[i];
                if (!lane.is_null(row))
                    row_hashes_[i] = hash_bytes(row_hashes_[i], lane.starts[row], lane.sizes[row]);
            }
        }
    }
    // A NULL's entry holds anything: such rows are hashed again, from the start.
    for (std::size_t k = 0; k < keys.size(); k++)
        if (keys[k].nulls != nullptr)
            for (std::uint32_t i = 0; i < selection.count; i++)
                row_nulls_[i] |= std::uint64_t{keys[k].nulls[selection.rows[i]]} << k;
    for (std::uint32_t i = 0; i < selection.count; i++) {
        if (row_nulls_[i] == 0)
            continue;
        std::uint64_t hash = kSeed;
        const std::uint16_t row = selection.rows[i];
        for (std::size_t k = 0; k < keys.size(); k++) {
            if ((row_nulls_[i] >> k & 1) != 0)
                hash = mix(hash ^ kNullHash, kPrime);
            else if (kinds_[k] == KeyKind::kWord)
                hash = mix(hash ^ static_cast<std::uint64_t>(keys[k].words[row]), kPrime);
            else
                hash = hash_bytes(hash, keys[k].starts[row], keys[k].sizes[row]);
        }
        row_hashes_[i] = hash;
    }
}

bool GroupTable::is_key(std::span<const Lane> keys, std::uint32_t row, std::uint64_t nulls,
                        std::uint32_t group) const
{
    if (nulls_[group] != nulls)
        return false;
    std::size_t word = group * nwords_;
    std::size_t at = group * nbytes_;
    for (std::size_t k = 0; k < keys.size(); k++) {
        const bool isnull = (nulls >> k & 1) != 0;
        if (kinds_[k] == KeyKind::kWord) {
            if (words_[word++] != keys[k].words[row] && !isnull)
                return false;
        } else {
            const BytesAt &stored = bytes_at_[at++];
            if (!isnull &&
                (stored.size != keys[k].sizes[row] ||
                 std::memcmp(bytes_.data() + stored.start, keys[k].starts[row], stored.size) != 0))
                return false;
        }
    }
    return true;
}

void GroupTable::add_group(std::span<const Lane> keys, std::uint32_t row, std::uint64_t nulls,
                           std::uint64_t hash)
{
    if (ngroups_ == std::numeric_limits<std::uint32_t>::max() - 1)
        throw std::length_error("too many groups");
    for (std::size_t k = 0; k < keys.size(); k++) {
        const bool isnull = (nulls >> k & 1) != 0;
        if (kinds_[k] == KeyKind::kWord) {
            words_.push_back(isnull ? 0 : keys[k].words[row]);
        } else {
            const std::uint32_t size = isnull ? 0 : keys[k].sizes[row];
            bytes_at_.push_back({size, bytes_.size()});
            if (size > 0)
                bytes_.insert(bytes_.end(), keys[k].starts[row], keys[k].starts[row] + size);
        }
    }
    nulls_.push_back(nulls);
    hashes_.push_back(hash);
    ngroups_++;
}

/// Rebuilt from the stored hashes: no key is read.
void GroupTable::grow()
{
    std::pmr::vector<Entry> larger(entries_.size() * 2, Entry{}, entries_.get_allocator());
    const std::size_t mask = larger.size() - 1;
    for (std::uint32_t group = 0; group < ngroups_; group++) {
        std::size_t place = hashes_[group] & mask;
        while (larger[place].group != 0)
            place = (place + 1) & mask;
        larger[place] = {static_cast<std::uint32_t>(hashes_[group] >> 32), group + 1};
    }
    entries_.swap(larger);
}

void GroupTable::resolve(std::span<const Lane> keys, Selection selection, std::uint32_t *groups)
{
    if (keys.empty()) {
        if (ngroups_ == 0 && selection.count > 0)
            add_group(keys, 0, 0, kSeed);
        std::fill_n(groups, selection.count, 0);
        return;
    }
    hash_rows(keys, selection);
    for (std::uint32_t i = 0; i < selection.count; i++) {
        if ((ngroups_ + 1) * std::size_t{2} > entries_.size())
            grow();
        const std::size_t mask = entries_.size() - 1;
        if (i + kPrefetch < selection.count)
            __builtin_prefetch(&entries_[row_hashes_[i + kPrefetch] & mask]);
        const std::uint64_t hash = row_hashes_[i];
        const auto salt = static_cast<std::uint32_t>(hash >> 32);
        std::size_t place = hash & mask;
        for (;;) {
            Entry &entry = entries_[place];
            if (entry.group == 0) {
                add_group(keys, selection.rows[i], row_nulls_[i], hash);
                entry = {salt, ngroups_};
                groups[i] = ngroups_ - 1;
                break;
            }
            if (entry.salt == salt &&
                is_key(keys, selection.rows[i], row_nulls_[i], entry.group - 1)) {
                groups[i] = entry.group - 1;
                break;
            }
            place = (place + 1) & mask;
        }
    }
}

KeyValue GroupTable::key(std::uint32_t group, std::size_t column) const
{
    if ((nulls_[group] >> column & 1) != 0)
        return {true, 0, {}};
    const auto same_kind = static_cast<std::size_t>(std::count(
        kinds_.begin(), kinds_.begin() + static_cast<std::ptrdiff_t>(column), kinds_[column]));
    if (kinds_[column] == KeyKind::kWord)
        return {false, words_[group * nwords_ + same_kind], {}};
    const BytesAt &at = bytes_at_[group * nbytes_ + same_kind];
    return {false, 0, {bytes_.data() + at.start, at.size}};
}

} // namespace pipeline::agg
