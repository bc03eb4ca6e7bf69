#include "agg/states.hpp"

#include <bit>
#include <cmath>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

/// The squared sum of 2^32 values up to these stays below the largest number.
constexpr double kModerateFloat8 = 1e130;
constexpr double kModerateFloat4 = 1e25;

double number_of(std::int64_t word)
{
    return std::bit_cast<double>(word);
}

std::int64_t word_of(double number)
{
    return std::bit_cast<std::int64_t>(number);
}

/// utils/float.h, float8_lt: NaN is larger than everything and equal to itself.
bool is_less(double a, double b)
{
    return std::isnan(b) ? !std::isnan(a) : a < b;
}

Wide wide_of(const Lane *words, std::uint32_t row)
{
    return {static_cast<std::uint64_t>(words[0].words[row]), words[1].words[row]};
}

} // namespace

std::size_t words_of(StateKind kind)
{
    switch (kind) {
    case StateKind::kCount:
        return 1;
    case StateKind::kWideSum:
    case StateKind::kDeviations:
        return 3;
    case StateKind::kMoments:
        return 5;
    default:
        return 2;
    }
}

bool is_moderate(StateKind kind, const Lane &lane, Selection selection)
{
    const bool adds_floats = kind == StateKind::kSumFloat4 || kind == StateKind::kSumFloat8 ||
                             kind == StateKind::kDeviations;
    if (!adds_floats)
        return true;
    const double most = kind == StateKind::kSumFloat4 ? kModerateFloat4 : kModerateFloat8;
    bool moderate = true;
    for (std::uint32_t i = 0; i < selection.count; i++) {
        const std::uint16_t row = selection.rows[i];
        // NaN compares false.
        moderate &= std::fabs(number_of(lane.words[row])) < most || lane.is_null(row);
    }
    return moderate;
}

void StateArray::write(std::uint32_t group, std::int64_t *words) const
{
    if (kind_ == StateKind::kCount) {
        words[0] = words_[group];
        return;
    }
    words[0] = counts_[group];
    switch (kind_) {
    case StateKind::kSumFloat4:
    case StateKind::kSumFloat8:
    case StateKind::kMinFloat:
    case StateKind::kMaxFloat:
        words[1] = word_of(numbers_[group]);
        break;
    case StateKind::kDeviations:
        words[1] = word_of(numbers_[group]);
        words[2] = word_of(squares_[group]);
        break;
    case StateKind::kMoments:
        words[3] = static_cast<std::int64_t>(wide_squares_[group].low);
        words[4] = wide_squares_[group].high;
        [[fallthrough]];
    case StateKind::kWideSum:
        words[1] = static_cast<std::int64_t>(wide_[group].low);
        words[2] = wide_[group].high;
        break;
    default:
        words[1] = words_[group];
    }
}

/// float.h, float8_pl and float4_pl.
bool StateArray::merge_number(std::uint32_t group, std::int64_t count, double number)
{
    const double before = numbers_[group];
    double after = number;
    if (counts_[group] > 0)
        after = kind_ == StateKind::kSumFloat4
                    ? static_cast<double>(static_cast<float>(before) + static_cast<float>(number))
                    : before + number;
    numbers_[group] = after;
    counts_[group] += count;
    return !std::isinf(after) || std::isinf(before) || std::isinf(number);
}

/// float.c, float8_combine.
bool StateArray::merge_deviations(std::uint32_t group, std::int64_t count, double sum,
                                  double squares)
{
    const auto n1 = static_cast<double>(counts_[group]);
    const auto n2 = static_cast<double>(count);
    counts_[group] += count;
    if (n1 == 0.0) {
        numbers_[group] = sum;
        squares_[group] = squares;
        return true;
    }
    const double n = n1 + n2;
    const double total = numbers_[group] + sum;
    const double distance = numbers_[group] / n1 - sum / n2;
    const double both = squares_[group] + squares + n1 * n2 * distance * distance / n;
    const bool fits = (!std::isinf(total) || std::isinf(numbers_[group]) || std::isinf(sum)) &&
                      (!std::isinf(both) || std::isinf(squares_[group]) || std::isinf(squares));
    numbers_[group] = total;
    squares_[group] = both;
    return fits;
}

bool StateArray::merge(std::span<const Lane> words, Selection selection,
                       const std::uint32_t *groups)
{
    bool fits = true;
    for (std::uint32_t i = 0; i < selection.count; i++) {
        const std::uint16_t row = selection.rows[i];
        const std::uint32_t group = groups[i];
        const std::int64_t count = words[0].words[row];
        if (kind_ == StateKind::kCount) {
            words_[group] += count;
            continue;
        }
        if (count == 0)
            continue;
        const std::int64_t word = words[1].words[row];
        const bool first = counts_[group] == 0;
        switch (kind_) {
        case StateKind::kMin:
            words_[group] = first || word < words_[group] ? word : words_[group];
            break;
        case StateKind::kMax:
            words_[group] = first || word > words_[group] ? word : words_[group];
            break;
        case StateKind::kMinFloat:
            if (first || !is_less(numbers_[group], number_of(word)))
                numbers_[group] = number_of(word);
            break;
        case StateKind::kMaxFloat:
            if (first || !is_less(number_of(word), numbers_[group]))
                numbers_[group] = number_of(word);
            break;
        case StateKind::kSumFloat4:
        case StateKind::kSumFloat8:
            fits &= merge_number(group, count, number_of(word));
            continue;
        case StateKind::kDeviations:
            fits &= merge_deviations(group, count, number_of(word), number_of(words[2].words[row]));
            continue;
        case StateKind::kMoments:
            wide_squares_[group].add(wide_of(&words[3], row).value());
            [[fallthrough]];
        case StateKind::kWideSum:
            wide_[group].add(wide_of(&words[1], row).value());
            break;
        default:
            words_[group] += word;
        }
        counts_[group] += count;
    }
    return fits;
}

} // namespace pipeline::agg
