// The group table against a std::map over the same rows.
#include "catch2.hpp"

#include "agg/group_table.hpp"

#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace pipeline::agg;

namespace {

using Random = std::mt19937;

/// A column of random values, as a lane and as text for the model.
struct Column {
    KeyKind kind;
    std::vector<std::int64_t> words;
    std::vector<std::string> texts;
    std::vector<const std::byte *> starts;
    std::vector<std::uint32_t> sizes;
    std::vector<std::uint8_t> nulls;
    bool has_nulls;

    Lane lane() const
    {
        return {words.data(), starts.data(), sizes.data(), has_nulls ? nulls.data() : nullptr};
    }
    std::optional<std::string> value(std::uint32_t row) const
    {
        if (has_nulls && nulls[row] != 0)
            return std::nullopt;
        return kind == KeyKind::kWord ? std::to_string(words[row]) : texts[row];
    }
};

Column random_column(Random &random, std::uint32_t nrows, unsigned distinct)
{
    Column column;
    column.kind = random() % 2 == 0 ? KeyKind::kWord : KeyKind::kBytes;
    column.has_nulls = random() % 2 == 0;
    for (std::uint32_t row = 0; row < nrows; row++) {
        const unsigned number = static_cast<unsigned>(random()) % distinct;
        column.words.push_back(static_cast<std::int64_t>(number) - 3);
        column.texts.push_back(std::string(number % 40, 'x') + std::to_string(number));
        column.nulls.push_back(random() % 4 == 0);
    }
    for (const std::string &text : column.texts) {
        column.starts.push_back(reinterpret_cast<const std::byte *>(text.data()));
        column.sizes.push_back(static_cast<std::uint32_t>(text.size()));
    }
    return column;
}

using Key = std::vector<std::optional<std::string>>;

Key stored_key(const GroupTable &table, std::uint32_t group, const std::vector<KeyKind> &kinds)
{
    Key key;
    for (std::size_t k = 0; k < kinds.size(); k++) {
        const KeyValue value = table.key(group, k);
        if (value.isnull)
            key.push_back(std::nullopt);
        else if (kinds[k] == KeyKind::kWord)
            key.push_back(std::to_string(value.word));
        else
            key.emplace_back(std::string(reinterpret_cast<const char *>(value.bytes.data()),
                                         value.bytes.size()));
    }
    return key;
}

} // namespace

TEST_CASE("rows of equal keys get the same group, others different ones")
{
    Random random(7);
    for (int round = 0; round < 60; round++) {
        const std::size_t nkeys = random() % 4;
        const unsigned distinct = 1 + static_cast<unsigned>(random()) % 3000;
        std::vector<KeyKind> kinds;
        std::map<Key, std::uint32_t> model;
        std::optional<GroupTable> table;
        for (int block = 0; block < 8; block++) {
            const auto nrows = 1 + static_cast<std::uint32_t>(random()) % kBlockRows;
            std::vector<Column> columns;
            for (std::size_t k = 0; k < nkeys; k++) {
                columns.push_back(random_column(random, nrows, distinct));
                if (block > 0 && columns.back().kind != kinds[k])
                    columns.back().kind = kinds[k];
                else if (block == 0)
                    kinds.push_back(columns.back().kind);
            }
            if (!table)
                table.emplace(kinds, std::pmr::get_default_resource());
            std::vector<Lane> lanes;
            for (const Column &column : columns)
                lanes.push_back(column.lane());
            std::vector<std::uint16_t> rows;
            for (std::uint32_t row = 0; row < nrows; row++)
                if (random() % 3 != 0)
                    rows.push_back(static_cast<std::uint16_t>(row));
            std::vector<std::uint32_t> groups(rows.size());
            table->resolve(lanes, {rows.data(), static_cast<std::uint32_t>(rows.size())},
                           groups.data());
            for (std::size_t i = 0; i < rows.size(); i++) {
                Key key;
                for (const Column &column : columns)
                    key.push_back(column.value(rows[i]));
                const auto number = static_cast<std::uint32_t>(model.size());
                REQUIRE(model.emplace(key, number).first->second == groups[i]);
                REQUIRE(stored_key(*table, groups[i], kinds) == key);
            }
            REQUIRE(table->ngroups() == model.size());
        }
    }
}
