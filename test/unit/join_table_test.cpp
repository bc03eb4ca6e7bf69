// The table of a hash join against nested loops over the same rows.
#include "catch2.hpp"

#include "agg/join_table.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace pipeline::agg;

namespace {

using Random = std::mt19937;
using Value = std::optional<std::string>;

/// A column of random values, as a lane and as text for the model.
struct Column {
    KeyKind kind;
    std::vector<std::int64_t> words;
    std::vector<std::string> texts;
    std::vector<const std::byte *> starts;
    std::vector<std::uint32_t> sizes;
    std::vector<std::uint8_t> nulls;

    Lane lane(bool with_nulls) const
    {
        return {words.data(), starts.data(), sizes.data(), with_nulls ? nulls.data() : nullptr};
    }
    Value value(std::size_t row, bool with_nulls) const
    {
        if (with_nulls && nulls[row] != 0)
            return std::nullopt;
        return kind == KeyKind::kWord ? std::to_string(words[row]) : texts[row];
    }
};

Column random_column(Random &random, KeyKind kind, std::uint32_t nrows, unsigned distinct)
{
    Column column{kind, {}, {}, {}, {}, {}};
    for (std::uint32_t row = 0; row < nrows; row++) {
        const unsigned number = random() % distinct;
        column.words.push_back(number == 0 ? INT64_MIN : std::int64_t{number} - 5);
        column.texts.push_back(std::string(number % 20, 'x') + std::to_string(number / 20));
        column.nulls.push_back(random() % 7 == 0);
    }
    for (const std::string &text : column.texts) {
        column.starts.push_back(reinterpret_cast<const std::byte *>(text.data()));
        column.sizes.push_back(static_cast<std::uint32_t>(text.size()));
    }
    return column;
}

struct Rows {
    bool with_nulls;
    std::uint32_t nrows;
    std::vector<std::unique_ptr<Column>> columns;
    std::vector<std::uint16_t> selected;

    std::vector<Lane> lanes(std::size_t first, std::size_t count) const
    {
        std::vector<Lane> result;
        for (std::size_t c = first; c < first + count; c++)
            result.push_back(columns[c]->lane(with_nulls));
        return result;
    }
    std::vector<Value> values(std::size_t row, std::size_t first, std::size_t count) const
    {
        std::vector<Value> result;
        for (std::size_t c = first; c < first + count; c++)
            result.push_back(columns[c]->value(row, with_nulls));
        return result;
    }
    Selection selection() const
    {
        return {selected.data(), static_cast<std::uint32_t>(selected.size())};
    }
};

Rows random_rows(Random &random, const std::vector<KeyKind> &kinds, std::uint32_t nrows,
                 unsigned distinct)
{
    Rows rows{random() % 2 == 0, nrows, {}, {}};
    for (const KeyKind kind : kinds)
        rows.columns.push_back(
            std::make_unique<Column>(random_column(random, kind, nrows, distinct)));
    const bool all = random() % 2 == 0;
    for (std::uint32_t row = 0; row < nrows; row++)
        if (all || random() % 3 != 0)
            rows.selected.push_back(static_cast<std::uint16_t>(row));
    return rows;
}

bool joins(const std::vector<Value> &left, const std::vector<Value> &right)
{
    for (std::size_t k = 0; k < left.size(); k++)
        if (!left[k] || !right[k] || *left[k] != *right[k])
            return false;
    return true;
}

/// What the table says, as (row of the block, values of the other side).
using Joined = std::multimap<std::uint16_t, std::vector<Value>>;

std::vector<Value> gathered(const JoinTable &table, const std::vector<KeyKind> &columns,
                            std::uint32_t row)
{
    std::vector<Value> result;
    for (std::size_t c = 0; c < columns.size(); c++) {
        const std::span<const std::uint32_t> rows{&row, 1};
        std::int64_t word = 0;
        const std::byte *start = nullptr;
        std::uint32_t size = 0;
        std::uint8_t isnull = 0;
        const bool some = columns[c] == KeyKind::kWord
                              ? table.gather(c, rows, &word, &isnull)
                              : table.gather(c, rows, &start, &size, &isnull);
        REQUIRE(some == (isnull != 0));
        if (isnull != 0)
            result.push_back(std::nullopt);
        else if (columns[c] == KeyKind::kWord)
            result.push_back(std::to_string(word));
        else
            result.push_back(std::string(reinterpret_cast<const char *>(start), size));
    }
    return result;
}

void compare_block(Random &random, JoinTable &table, const std::vector<Rows> &added,
                   const std::vector<KeyKind> &keys, const std::vector<KeyKind> &columns,
                   unsigned distinct)
{
    const bool keep = random() % 2 == 0;
    const Rows block = random_rows(random, keys, 1 + random() % kBlockRows, distinct);
    Joined expected;
    for (const std::uint16_t row : block.selected) {
        const auto left = block.values(row, 0, keys.size());
        bool matched = false;
        for (const Rows &rows : added)
            for (const std::uint16_t other : rows.selected)
                if (joins(left, rows.values(other, 0, keys.size()))) {
                    expected.emplace(row, rows.values(other, keys.size(), columns.size()));
                    matched = true;
                }
        if (!matched && keep)
            expected.emplace(row, std::vector<Value>(columns.size()));
    }
    Joined actual;
    const auto lanes = block.lanes(0, keys.size());
    table.look_up(lanes, block.selection(), keep);
    auto matches = std::make_unique<JoinTable::Matches>();
    while (table.next(*matches)) {
        REQUIRE(matches->count <= kBlockRows);
        for (std::uint32_t m = 0; m < matches->count; m++)
            actual.emplace(matches->left[m], gathered(table, columns, matches->right[m]));
    }
    // Within a row the order of the matches is anybody's.
    const auto sorted = [](const Joined &joined) {
        std::vector<std::pair<std::uint16_t, std::vector<Value>>> list(joined.begin(),
                                                                       joined.end());
        std::sort(list.begin(), list.end());
        return list;
    };
    REQUIRE((sorted(actual) == sorted(expected)));
}

} // namespace

TEST_CASE("join table: the same pairs as nested loops")
{
    const std::vector<std::vector<KeyKind>> key_sets = {{KeyKind::kWord},
                                                        {KeyKind::kBytes},
                                                        {KeyKind::kWord, KeyKind::kWord},
                                                        {KeyKind::kBytes, KeyKind::kWord}};
    const std::vector<KeyKind> columns = {KeyKind::kBytes, KeyKind::kWord};
    for (unsigned seed = 0; seed < 24; seed++) {
        Random random(seed);
        const auto &keys = key_sets[seed % key_sets.size()];
        const unsigned distinct = seed % 3 == 0 ? 3 : 400;
        auto kinds = keys;
        kinds.insert(kinds.end(), columns.begin(), columns.end());
        JoinTable table(keys, columns, std::pmr::new_delete_resource());
        std::vector<Rows> added;
        for (unsigned block = 0; block < seed % 4; block++) {
            added.push_back(random_rows(random, kinds, 1 + random() % 300, distinct));
            table.add(added.back().lanes(0, keys.size()),
                      added.back().lanes(keys.size(), columns.size()), added.back().selection());
        }
        const std::size_t before = table.size();
        table.finish();
        REQUIRE(table.size() == before);
        for (int block = 0; block < 2; block++)
            compare_block(random, table, added, keys, columns, distinct);
    }
}

TEST_CASE("join table: it knows how much memory it uses")
{
    class Counting : public std::pmr::memory_resource {
      public:
        std::size_t used = 0;

      private:
        void *do_allocate(std::size_t bytes, std::size_t alignment) override
        {
            used += bytes;
            return std::pmr::new_delete_resource()->allocate(bytes, alignment);
        }
        void do_deallocate(void *p, std::size_t bytes, std::size_t alignment) override
        {
            used -= bytes;
            std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
        }
        bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
        {
            return this == &other;
        }
    };
    Random random(1);
    Counting counting;
    const std::vector<KeyKind> kinds = {KeyKind::kBytes, KeyKind::kWord};
    JoinTable table(kinds, kinds, &counting);
    for (int block = 0; block < 30; block++) {
        const Rows rows = random_rows(random, {kinds[0], kinds[1], kinds[0], kinds[1]}, 1000, 9000);
        table.add(rows.lanes(0, 2), rows.lanes(2, 2), rows.selection());
    }
    const std::size_t said = table.size();
    table.finish();
    REQUIRE(said >= counting.used * 9 / 10);
    REQUIRE(said <= counting.used * 11 / 10);
}
