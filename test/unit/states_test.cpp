// The state arrays against one group at a time, computed as the server's functions do.
#include "catch2.hpp"

#include "agg/states.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace pipeline::agg;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kLargest = std::numeric_limits<double>::max();

struct Rows {
    std::vector<std::int64_t> words;
    std::vector<std::uint8_t> nulls;
    std::vector<std::uint16_t> selected;
    std::vector<std::uint32_t> groups;

    void add(std::int64_t word, std::uint32_t group, bool isnull = false)
    {
        selected.push_back(static_cast<std::uint16_t>(words.size()));
        words.push_back(word);
        nulls.push_back(isnull);
        groups.push_back(group);
    }
    void add(double number, std::uint32_t group)
    {
        add(std::bit_cast<std::int64_t>(number), group);
    }
    Lane lane() const { return {words.data(), nullptr, nullptr, nulls.data()}; }
    Selection selection() const
    {
        return {selected.data(), static_cast<std::uint32_t>(selected.size())};
    }
};

bool update(StateArray &states, const Rows &rows)
{
    const Lane lane = rows.lane();
    states.grow(8);
    return states.update(&lane, rows.selection(), rows.groups.data());
}

bool same(double a, double b)
{
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b) ||
           (std::isnan(a) && std::isnan(b));
}

State of_numbers(StateKind kind, std::initializer_list<double> numbers, bool *fits = nullptr)
{
    StateArray states(kind, std::pmr::get_default_resource());
    Rows rows;
    for (const double number : numbers)
        rows.add(number, 3);
    const bool all_fit = update(states, rows);
    if (fits != nullptr)
        *fits = all_fit;
    else
        REQUIRE(all_fit);
    REQUIRE(states.state(2).isnull);
    return states.state(3);
}

} // namespace

TEST_CASE("integer states of random rows in random pieces")
{
    std::mt19937 random(11);
    for (int round = 0; round < 50; round++) {
        StateArray count(StateKind::kCount, std::pmr::get_default_resource());
        StateArray sum(StateKind::kSum, std::pmr::get_default_resource());
        StateArray moments(StateKind::kMoments, std::pmr::get_default_resource());
        StateArray least(StateKind::kMin, std::pmr::get_default_resource());
        StateArray most(StateKind::kMax, std::pmr::get_default_resource());
        struct Model {
            std::int64_t count = 0, sum = 0, least = 0, most = 0;
            __int128 squares = 0;
        } model[8];
        for (int piece = 0; piece < 5; piece++) {
            Rows rows;
            for (unsigned i = 0; i < random() % 500; i++) {
                const auto word = static_cast<std::int64_t>(random()) - (std::int64_t{1} << 31);
                const auto group = static_cast<std::uint32_t>(random()) % 8;
                const bool isnull = random() % 5 == 0;
                rows.add(word, group, isnull);
                if (isnull)
                    continue;
                Model &m = model[group];
                m.least = m.count == 0 ? word : std::min(m.least, word);
                m.most = m.count == 0 ? word : std::max(m.most, word);
                m.count++;
                m.sum += word;
                m.squares += static_cast<__int128>(word) * word;
            }
            for (StateArray *states : {&count, &sum, &moments, &least, &most})
                REQUIRE(update(*states, rows));
        }
        for (std::uint32_t group = 0; group < 8; group++) {
            const Model &m = model[group];
            REQUIRE(count.state(group).word == m.count);
            REQUIRE(sum.state(group).word == m.sum);
            REQUIRE(sum.state(group).isnull == (m.count == 0));
            REQUIRE(moments.state(group).wide == m.sum);
            REQUIRE((moments.state(group).wide_squares == m.squares));
            REQUIRE(least.state(group).word == m.least);
            REQUIRE(most.state(group).word == m.most);
        }
    }
}

TEST_CASE("sums of doubles")
{
    REQUIRE(same(of_numbers(StateKind::kSumFloat8, {-0.0}).number, -0.0));
    REQUIRE(same(of_numbers(StateKind::kSumFloat8, {0.1, 0.2, 0.3}).number, 0.1 + 0.2 + 0.3));
    REQUIRE(same(of_numbers(StateKind::kSumFloat8, {kInfinity, 1}).number, kInfinity));
    REQUIRE(same(of_numbers(StateKind::kSumFloat8, {kInfinity, -kInfinity}).number, kNaN));
    REQUIRE(same(of_numbers(StateKind::kSumFloat4, {double{0.1F}, double{0.2F}}).number,
                 double{0.1F + 0.2F}));
    bool fits = true;
    (void) of_numbers(StateKind::kSumFloat8, {kLargest, kLargest}, &fits);
    REQUIRE_FALSE(fits);
    (void) of_numbers(StateKind::kSumFloat4, {3e38, 3e38}, &fits);
    REQUIRE_FALSE(fits);
}

TEST_CASE("least and most of doubles: NaN is the largest")
{
    REQUIRE(same(of_numbers(StateKind::kMaxFloat, {1, kNaN, kInfinity}).number, kNaN));
    REQUIRE(same(of_numbers(StateKind::kMinFloat, {kNaN, kInfinity, 1}).number, 1));
    REQUIRE(same(of_numbers(StateKind::kMinFloat, {kNaN}).number, kNaN));
    REQUIRE(same(of_numbers(StateKind::kMaxFloat, {0.0, -0.0}).number, -0.0));
    REQUIRE(same(of_numbers(StateKind::kMinFloat, {0.0, -0.0}).number, -0.0));
}

TEST_CASE("deviations")
{
    const State state = of_numbers(StateKind::kDeviations, {1, 2, 4});
    REQUIRE(state.count == 3);
    REQUIRE(same(state.number, 7));
    REQUIRE(state.squares == Approx(14.0 / 3));
    REQUIRE(same(of_numbers(StateKind::kDeviations, {5}).squares, 0));
    REQUIRE(same(of_numbers(StateKind::kDeviations, {kInfinity}).squares, kNaN));
    REQUIRE(same(of_numbers(StateKind::kDeviations, {1, kNaN}).squares, kNaN));
    bool fits = true;
    (void) of_numbers(StateKind::kDeviations, {kLargest, -kLargest}, &fits);
    REQUIRE_FALSE(fits);
}

TEST_CASE("no value, no state")
{
    StateArray sum(StateKind::kSum, std::pmr::get_default_resource());
    Rows rows;
    rows.add(std::int64_t{1}, 0, true);
    REQUIRE(update(sum, rows));
    REQUIRE(sum.state(0).isnull);
    StateArray rows_seen(StateKind::kCount, std::pmr::get_default_resource());
    rows_seen.grow(8);
    REQUIRE(rows_seen.update(nullptr, rows.selection(), rows.groups.data()));
    REQUIRE(rows_seen.state(0).word == 1);
}
