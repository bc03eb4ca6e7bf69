#include "agg/states.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

double number_of(std::int64_t word)
{
    return std::bit_cast<double>(word);
}

/// utils/float.h, float8_lt: NaN is larger than everything and equal to itself.
bool is_less(double a, double b)
{
    return std::isnan(b) ? !std::isnan(a) : a < b;
}

bool has_words(StateKind kind)
{
    return kind == StateKind::kCount || kind == StateKind::kSum || kind == StateKind::kPairSum ||
           kind == StateKind::kMin || kind == StateKind::kMax;
}

bool has_numbers(StateKind kind)
{
    return kind >= StateKind::kSumFloat4 && kind != StateKind::kMin && kind != StateKind::kMax;
}

bool has_wide(StateKind kind)
{
    return kind == StateKind::kWideSum || kind == StateKind::kMoments;
}

} // namespace

StateArray::StateArray(StateKind kind, std::pmr::memory_resource *resource)
    : kind_(kind), counts_(resource), words_(resource), numbers_(resource), squares_(resource),
      wide_(resource), wide_squares_(resource)
{
}

void StateArray::grow(std::uint32_t ngroups)
{
    if (kind_ != StateKind::kCount)
        counts_.resize(ngroups);
    if (has_words(kind_))
        words_.resize(ngroups);
    if (has_numbers(kind_))
        numbers_.resize(ngroups);
    if (kind_ == StateKind::kDeviations)
        squares_.resize(ngroups);
    if (has_wide(kind_))
        wide_.resize(ngroups);
    if (kind_ == StateKind::kMoments)
        wide_squares_.resize(ngroups);
}

/// Calls fn(group, word) for each row that is not NULL.
template <typename Fn>
void StateArray::each_value(const Lane &lane, Selection selection, const std::uint32_t *groups,
                            Fn &&fn)
{
    if (lane.nulls == nullptr) {
        for (std::uint32_t i = 0; i < selection.count; i++)
            fn(groups[i], lane.words[selection.rows[i]]);
        return;
    }
    for (std::uint32_t i = 0; i < selection.count; i++)
        if (lane.nulls[selection.rows[i]] == 0)
            fn(groups[i], lane.words[selection.rows[i]]);
}

/// float.h, float8_pl: an infinite sum of finite numbers is an error.
bool StateArray::add_float8(const Lane &lane, Selection selection, const std::uint32_t *groups)
{
    bool fits = true;
    each_value(lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
        const double value = number_of(word);
        // A strict transition function without an initial value starts with the first value:
        // 0 + -0 would be 0.
        const double before = numbers_[group];
        const double after = counts_[group]++ == 0 ? value : before + value;
        fits &= !std::isinf(after) || std::isinf(before) || std::isinf(value);
        numbers_[group] = after;
    });
    return fits;
}

bool StateArray::add_float4(const Lane &lane, Selection selection, const std::uint32_t *groups)
{
    bool fits = true;
    each_value(lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
        const auto value = static_cast<float>(number_of(word));
        const auto before = static_cast<float>(numbers_[group]);
        const float after = counts_[group]++ == 0 ? value : before + value;
        fits &= !std::isinf(after) || std::isinf(before) || std::isinf(value);
        numbers_[group] = static_cast<double>(after);
    });
    return fits;
}

/// float.c, float8_accum: Youngs and Cramer's recurrence.
bool StateArray::add_deviations(const Lane &lane, Selection selection, const std::uint32_t *groups)
{
    bool fits = true;
    each_value(lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
        const double value = number_of(word);
        const auto before = static_cast<double>(counts_[group]);
        const double n = static_cast<double>(++counts_[group]);
        const double sum_before = numbers_[group];
        const double sum = sum_before + value;
        double squares = squares_[group];
        if (before > 0.0) {
            const double distance = value * n - sum;
            squares += distance * distance / (n * before);
            if (std::isinf(sum) || std::isinf(squares)) {
                fits &= std::isinf(sum_before) || std::isinf(value);
                squares = std::numeric_limits<double>::quiet_NaN();
            }
        } else if (std::isnan(value) || std::isinf(value)) {
            squares = std::numeric_limits<double>::quiet_NaN();
        }
        numbers_[group] = sum;
        squares_[group] = squares;
    });
    return fits;
}

bool StateArray::update(const Lane *lane, Selection selection, const std::uint32_t *groups)
{
    if (lane == nullptr) {
        for (std::uint32_t i = 0; i < selection.count; i++)
            words_[groups[i]]++;
        return true;
    }
    switch (kind_) {
    case StateKind::kCount:
        if (lane->nulls == nullptr)
            return update(nullptr, selection, groups);
        for (std::uint32_t i = 0; i < selection.count; i++)
            words_[groups[i]] += lane->nulls[selection.rows[i]] == 0;
        return true;
    case StateKind::kSum:
    case StateKind::kPairSum:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            counts_[group]++;
            words_[group] += word;
        });
        return true;
    case StateKind::kWideSum:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            counts_[group]++;
            wide_[group].add(word);
        });
        return true;
    case StateKind::kMoments:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            counts_[group]++;
            wide_[group].add(word);
            wide_squares_[group].add(static_cast<__int128>(word) * word);
        });
        return true;
    case StateKind::kMin:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            if (counts_[group]++ == 0 || word < words_[group])
                words_[group] = word;
        });
        return true;
    case StateKind::kMax:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            if (counts_[group]++ == 0 || word > words_[group])
                words_[group] = word;
        });
        return true;
    case StateKind::kMinFloat:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            const double value = number_of(word);
            // float8smaller: of equal ones (0 and -0) the later counts.
            if (counts_[group]++ == 0 || !is_less(numbers_[group], value))
                numbers_[group] = value;
        });
        return true;
    case StateKind::kMaxFloat:
        each_value(*lane, selection, groups, [&](std::uint32_t group, std::int64_t word) {
            const double value = number_of(word);
            if (counts_[group]++ == 0 || !is_less(value, numbers_[group]))
                numbers_[group] = value;
        });
        return true;
    case StateKind::kSumFloat4:
        return add_float4(*lane, selection, groups);
    case StateKind::kSumFloat8:
        return add_float8(*lane, selection, groups);
    case StateKind::kDeviations:
        return add_deviations(*lane, selection, groups);
    }
    return true;
}

State StateArray::state(std::uint32_t group) const
{
    State state{};
    if (kind_ != StateKind::kCount) {
        state.count = counts_[group];
        state.isnull = state.count == 0;
    }
    if (has_words(kind_))
        state.word = words_[group];
    if (has_numbers(kind_))
        state.number = numbers_[group];
    if (kind_ == StateKind::kDeviations)
        state.squares = squares_[group];
    if (has_wide(kind_))
        state.wide = wide_[group].value();
    if (kind_ == StateKind::kMoments)
        state.wide_squares = wide_squares_[group].value();
    return state;
}

} // namespace pipeline::agg
