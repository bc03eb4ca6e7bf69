#include "agg/kernels.hpp"

#include <cstring>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

/// utils/float.h, float8_eq and the like: NaN equals itself and is larger than everything.
bool float_equal(double a, double b)
{
    return static_cast<int>(a == b) | (static_cast<int>(a != a) & static_cast<int>(b != b));
}

bool float_less(double a, double b)
{
    return static_cast<int>(a < b) | (static_cast<int>(b != b) & static_cast<int>(a == a));
}

template <typename Compare>
void compare_words(Expression &expression, std::uint32_t nrows, Compare &&is_true)
{
    std::uint8_t *const truth = expression.truth_room;
    each_pair(expression, nrows,
              [&](std::uint32_t i, Word a, Word b) { truth[i] = is_true(a, b); });
}

template <typename Compare>
void compare_floats(Expression &expression, std::uint32_t nrows, Compare &&is_true)
{
    compare_words(expression, nrows,
                  [&](Word a, Word b) { return is_true(number_of(a), number_of(b)); });
}

void compare_ints(Expression &expression, std::uint32_t nrows)
{
    switch (expression.op) {
    case ExpressionOp::kEqual:
        return compare_words(expression, nrows, [](Word a, Word b) { return a == b; });
    case ExpressionOp::kNotEqual:
        return compare_words(expression, nrows, [](Word a, Word b) { return a != b; });
    case ExpressionOp::kLess:
        return compare_words(expression, nrows, [](Word a, Word b) { return a < b; });
    case ExpressionOp::kLessOrEqual:
        return compare_words(expression, nrows, [](Word a, Word b) { return a <= b; });
    case ExpressionOp::kGreater:
        return compare_words(expression, nrows, [](Word a, Word b) { return a > b; });
    default:
        return compare_words(expression, nrows, [](Word a, Word b) { return a >= b; });
    }
}

void compare_numbers(Expression &expression, std::uint32_t nrows)
{
    using Number = double;
    switch (expression.op) {
    case ExpressionOp::kEqual:
        return compare_floats(expression, nrows, float_equal);
    case ExpressionOp::kNotEqual:
        return compare_floats(expression, nrows,
                              [](Number a, Number b) { return !float_equal(a, b); });
    case ExpressionOp::kLess:
        return compare_floats(expression, nrows, float_less);
    case ExpressionOp::kLessOrEqual:
        return compare_floats(expression, nrows,
                              [](Number a, Number b) { return !float_less(b, a); });
    case ExpressionOp::kGreater:
        return compare_floats(expression, nrows,
                              [](Number a, Number b) { return float_less(b, a); });
    default:
        return compare_floats(expression, nrows,
                              [](Number a, Number b) { return !float_less(a, b); });
    }
}

void compare_truth(Expression &expression, std::uint32_t nrows)
{
    const std::uint8_t differs = expression.op == ExpressionOp::kNotEqual;
    for (std::uint32_t i = 0; i < nrows; i++)
        expression.truth_room[i] = static_cast<std::uint8_t>(
            (expression.args[0]->truth[i] == expression.args[1]->truth[i]) != differs);
}

bool same_bytes(const Expression &a, std::uint32_t row_a, const Expression &b, std::uint32_t row_b)
{
    const std::uint32_t size = a.sizes[row_a];
    return size == b.sizes[row_b] && std::memcmp(a.starts[row_a], b.starts[row_b], size) == 0;
}

/// Only for rows that count: a NULL's pointer may point anywhere.
void compare_bytes(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const std::uint8_t differs = expression.op == ExpressionOp::kNotEqual;
    for (std::uint32_t i = 0; i < nrows; i++)
        expression.truth_room[i] =
            called[i] != 0 && same_bytes(*expression.args[0], i, *expression.args[1], i) != differs;
}

} // namespace

void compare(Expression &expression, std::uint32_t nrows, const std::uint8_t *active)
{
    const ValueType type = expression.args[0]->type;
    if (type == ValueType::kBytes)
        compare_bytes(expression, nrows, called_for(expression, nrows, active));
    else if (type == ValueType::kBool)
        compare_truth(expression, nrows);
    else if (is_float(type))
        compare_numbers(expression, nrows);
    else
        compare_ints(expression, nrows);
    expression.truth = expression.truth_room;
}

void compare_with_list(Expression &expression, std::uint32_t nrows, const std::uint8_t *active)
{
    std::uint8_t *const truth = expression.truth_room;
    const Expression &value = *expression.args[0];
    std::memset(truth, 0, nrows);
    const std::uint8_t *const called = called_for(expression, nrows, active);
    for (std::uint32_t a = 1; a < expression.nargs; a++) {
        const Expression &constant = *expression.args[a];
        if (constant.nulls != nullptr)
            continue;
        if (value.type == ValueType::kBytes) {
            for (std::uint32_t i = 0; i < nrows; i++)
                truth[i] |= called[i] != 0 && same_bytes(value, i, constant, 0);
        } else if (is_float(value.type)) {
            const double number = number_of(constant.word);
            for (std::uint32_t i = 0; i < nrows; i++)
                truth[i] |= float_equal(number_of(value.words[i]), number);
        } else {
            for (std::uint32_t i = 0; i < nrows; i++)
                truth[i] |= value.words[i] == constant.word;
        }
    }
    expression.truth = truth;
}

} // namespace pipeline::agg
