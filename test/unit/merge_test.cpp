// States written by one StateArray and merged into another, against one that saw all rows.
#include "unit/catch2.hpp"

#include "agg/states.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace pipeline::agg;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint32_t kGroups = 8;

constexpr std::array kKinds{
    StateKind::kCount,   StateKind::kSum,       StateKind::kWideSum,   StateKind::kPairSum,
    StateKind::kMoments, StateKind::kSumFloat4, StateKind::kSumFloat8, StateKind::kDeviations,
    StateKind::kMin,     StateKind::kMax,       StateKind::kMinFloat,  StateKind::kMaxFloat,
};

bool takes_floats(StateKind kind)
{
    return kind == StateKind::kSumFloat4 || kind == StateKind::kSumFloat8 ||
           kind == StateKind::kDeviations || kind == StateKind::kMinFloat ||
           kind == StateKind::kMaxFloat;
}

bool chooses(StateKind kind)
{
    return kind == StateKind::kMinFloat || kind == StateKind::kMaxFloat;
}

struct Rows {
    std::vector<std::int64_t> words;
    std::vector<std::uint8_t> nulls;
    std::vector<std::uint16_t> selected;
    std::vector<std::uint32_t> groups;

    void add(std::int64_t word, bool isnull, std::uint32_t group)
    {
        selected.push_back(static_cast<std::uint16_t>(words.size()));
        words.push_back(word);
        nulls.push_back(isnull);
        groups.push_back(group);
    }
    void add(double number, std::uint32_t group)
    {
        add(std::bit_cast<std::int64_t>(number), false, group);
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
    states.grow(kGroups);
    return states.update(&lane, rows.selection(), rows.groups.data());
}

/// All groups, empty ones too, in an order of their own, as rows of a chunk.
bool merge(StateArray &into, const StateArray &from)
{
    const std::size_t nwords = words_of(from.kind());
    std::vector<std::vector<std::int64_t>> words(nwords, std::vector<std::int64_t>(kGroups));
    std::vector<Lane> lanes;
    std::vector<std::uint16_t> selected;
    std::vector<std::uint32_t> groups;
    for (std::uint32_t row = 0; row < kGroups; row++) {
        const std::uint32_t group = (row + 3) % kGroups;
        std::vector<std::int64_t> state(nwords + 1, 0x5A5A);
        from.write(group, state.data());
        REQUIRE(state[nwords] == 0x5A5A); // not one word more
        for (std::size_t w = 0; w < nwords; w++)
            words[w][row] = state[w];
        selected.push_back(static_cast<std::uint16_t>(row));
        groups.push_back(group);
    }
    for (std::size_t w = 0; w < nwords; w++)
        lanes.push_back({words[w].data(), nullptr, nullptr, nullptr});
    into.grow(kGroups);
    return into.merge(lanes, {selected.data(), kGroups}, groups.data());
}

bool is_near(double a, double b)
{
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b) ||
           (std::isnan(a) && std::isnan(b)) ||
           std::fabs(a - b) <= 1e-9 * std::max(std::fabs(a), std::fabs(b));
}

/// 0 and -0 are equal to min and max: the later one stays.
void require_same(StateKind kind, const State &seen, const State &due)
{
    REQUIRE(seen.isnull == due.isnull);
    if (due.isnull)
        return;
    const bool has_wide = kind == StateKind::kWideSum || kind == StateKind::kMoments;
    if (kind != StateKind::kCount)
        REQUIRE(seen.count == due.count);
    if (has_wide) {
        REQUIRE((seen.wide == due.wide));
        REQUIRE((kind == StateKind::kWideSum || seen.wide_squares == due.wide_squares));
    } else if (kind == StateKind::kSumFloat4) {
        REQUIRE(std::fabs(seen.number - due.number) <= 1e-4 * std::fabs(due.number) + 1e-30);
    } else if (chooses(kind)) {
        REQUIRE((std::bit_cast<std::uint64_t>(seen.number) ==
                     std::bit_cast<std::uint64_t>(due.number) ||
                 (std::isnan(seen.number) && std::isnan(due.number))));
    } else if (takes_floats(kind)) {
        REQUIRE(is_near(seen.number, due.number));
        REQUIRE((kind != StateKind::kDeviations || is_near(seen.squares, due.squares)));
    } else {
        REQUIRE(seen.word == due.word);
    }
}

double random_number(std::mt19937_64 &random, StateKind kind)
{
    if (chooses(kind)) {
        constexpr std::array kEdges{0.0, -0.0, kNaN, kInfinity, -kInfinity, 1e308, -1e-308};
        if (random() % 3 == 0)
            return kEdges[random() % kEdges.size()];
    }
    const double number = static_cast<double>(random() % 2'000'001) / 1000.0 + 1;
    return kind == StateKind::kSumFloat4 ? double{static_cast<float>(number)} : number;
}

std::int64_t random_word(std::mt19937_64 &random, StateKind kind)
{
    if (takes_floats(kind))
        return std::bit_cast<std::int64_t>(random_number(random, kind));
    if (kind == StateKind::kWideSum || kind == StateKind::kMin || kind == StateKind::kMax)
        return static_cast<std::int64_t>(random());
    return static_cast<std::int32_t>(random());
}

State of_pieces(StateKind kind, const std::vector<std::vector<double>> &pieces, bool *fits)
{
    StateArray all(kind, std::pmr::get_default_resource());
    *fits = true;
    for (const std::vector<double> &piece : pieces) {
        StateArray part(kind, std::pmr::get_default_resource());
        Rows rows;
        for (const double number : piece)
            rows.add(number, 2);
        REQUIRE(update(part, rows));
        *fits &= merge(all, part);
    }
    return all.state(2);
}

bool is_moderate_one(StateKind kind, double number, bool isnull = false)
{
    const std::int64_t word = std::bit_cast<std::int64_t>(number);
    const std::uint8_t null = isnull;
    const std::uint16_t row = 0;
    return is_moderate(kind, {&word, nullptr, nullptr, &null}, {&row, 1});
}

} // namespace

TEST_CASE("merged states are those of all rows, for every kind", "[merge]")
{
    std::mt19937_64 random(29);
    for (int round = 0; round < 200; round++) {
        for (const StateKind kind : kKinds) {
            StateArray all(kind, std::pmr::get_default_resource());
            StateArray merged(kind, std::pmr::get_default_resource());
            // Each piece leaves most groups out, and some groups have NULLs only.
            for (std::uint64_t piece = random() % 5; piece > 0; piece--) {
                Rows rows;
                const auto some = 1 + static_cast<std::uint32_t>(random() % 4);
                for (std::uint64_t i = random() % 40; i > 0; i--) {
                    const std::uint32_t group = static_cast<std::uint32_t>(random()) % some + some;
                    rows.add(random_word(random, kind), random() % 4 == 0 || group == 7, group);
                }
                StateArray part(kind, std::pmr::get_default_resource());
                REQUIRE(update(part, rows));
                REQUIRE(update(all, rows));
                REQUIRE(merge(merged, part));
            }
            all.grow(kGroups);
            merged.grow(kGroups);
            for (std::uint32_t group = 0; group < kGroups; group++)
                require_same(kind, merged.state(group), all.state(group));
        }
    }
}

TEST_CASE("count(*) has no argument", "[merge]")
{
    StateArray part(StateKind::kCount, std::pmr::get_default_resource());
    StateArray all(StateKind::kCount, std::pmr::get_default_resource());
    Rows rows;
    rows.add(1, true, 5);
    rows.add(1, false, 5);
    part.grow(kGroups);
    REQUIRE(part.update(nullptr, rows.selection(), rows.groups.data()));
    REQUIRE(merge(all, part));
    REQUIRE(merge(all, part));
    REQUIRE(all.state(5).word == 4);
    REQUIRE(all.state(4).word == 0);
}

TEST_CASE("wide sums keep both words", "[merge]")
{
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    for (const std::int64_t word : {kMost, std::numeric_limits<std::int64_t>::min()}) {
        StateArray part(StateKind::kWideSum, std::pmr::get_default_resource());
        StateArray all(StateKind::kWideSum, std::pmr::get_default_resource());
        Rows rows;
        for (int i = 0; i < 3; i++)
            rows.add(word, false, 1);
        REQUIRE(update(part, rows));
        REQUIRE(merge(all, part));
        REQUIRE(merge(all, part));
        REQUIRE((all.state(1).wide == static_cast<__int128>(word) * 6));
        REQUIRE(all.state(1).count == 6);
    }
}

TEST_CASE("merging floats that are none or too large", "[merge]")
{
    bool fits = false;
    using K = StateKind;
    REQUIRE(std::isnan(of_pieces(K::kMaxFloat, {{1, kNaN}, {kInfinity}}, &fits).number));
    REQUIRE(of_pieces(K::kMinFloat, {{kNaN}, {kInfinity}, {2}}, &fits).number == 2);
    REQUIRE(std::signbit(of_pieces(K::kMinFloat, {{0.0}, {-0.0}}, &fits).number));
    REQUIRE(!std::signbit(of_pieces(K::kMaxFloat, {{-0.0}, {0.0}}, &fits).number));
    REQUIRE(std::signbit(of_pieces(K::kSumFloat8, {{-0.0}, {}}, &fits).number));
    REQUIRE(std::isnan(of_pieces(K::kSumFloat8, {{kInfinity}, {-kInfinity}}, &fits).number));
    REQUIRE(fits);
    REQUIRE(of_pieces(K::kSumFloat8, {{kInfinity}, {1}}, &fits).number == kInfinity);
    REQUIRE(fits);
    (void) of_pieces(K::kSumFloat8, {{1e308}, {1e308}}, &fits);
    REQUIRE_FALSE(fits);
    (void) of_pieces(K::kSumFloat4, {{double{3e38F}}, {double{3e38F}}}, &fits);
    REQUIRE_FALSE(fits);
    (void) of_pieces(K::kDeviations, {{1e200}, {-1e200}}, &fits);
    REQUIRE_FALSE(fits);
    const State state = of_pieces(K::kDeviations, {{1}, {2, 4}, {}}, &fits);
    REQUIRE(fits);
    REQUIRE(state.count == 3);
    REQUIRE(state.squares == Approx(14.0 / 3));
}

TEST_CASE("what is moderate cannot overflow", "[merge]")
{
    for (const StateKind kind : kKinds) {
        const bool adds = takes_floats(kind) && !chooses(kind);
        for (const double number : {kInfinity, -kInfinity, kNaN, 1e300, -1e300}) {
            REQUIRE(is_moderate_one(kind, number) == !adds);
            REQUIRE(is_moderate_one(kind, number, true));
        }
        REQUIRE(is_moderate_one(kind, -0.0));
        REQUIRE(is_moderate_one(kind, 1e24));
    }
    REQUIRE(is_moderate_one(StateKind::kSumFloat8, 1e120));
    REQUIRE_FALSE(is_moderate_one(StateKind::kSumFloat4, 1e30));
    REQUIRE_FALSE(is_moderate_one(StateKind::kDeviations, 1e150)); // its square is too large

    // Rows that are not selected do not count.
    const std::array<std::int64_t, 2> words{std::bit_cast<std::int64_t>(kNaN),
                                            std::bit_cast<std::int64_t>(1.0)};
    const std::uint16_t second = 1;
    REQUIRE(is_moderate(StateKind::kSumFloat8, {words.data(), nullptr, nullptr, nullptr},
                        {&second, 1}));
    REQUIRE(is_moderate(StateKind::kSumFloat8, {words.data(), nullptr, nullptr, nullptr},
                        {&second, 0}));
}

TEST_CASE("the largest moderate numbers stay finite", "[merge]")
{
    for (const double number : {9e129, -9e129}) {
        bool fits = false;
        std::vector<std::vector<double>> pieces(50, {number, -number, number});
        const State sum = of_pieces(StateKind::kSumFloat8, pieces, &fits);
        REQUIRE((fits && std::isfinite(sum.number)));
        const State state = of_pieces(StateKind::kDeviations, pieces, &fits);
        REQUIRE((fits && std::isfinite(state.squares)));
    }
}
