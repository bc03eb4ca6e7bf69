#include "agg/kernels.hpp"

#include <cmath>
#include <limits>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

constexpr Word kSmallest = std::numeric_limits<Word>::min();
constexpr Word kLargest = std::numeric_limits<Word>::max();

/// Infinite dates (datatype/timestamp.h in the server; timestamps have the smallest and largest
/// word) and the length of a day in microseconds.
constexpr Word kFirstDate = std::numeric_limits<std::int32_t>::min();
constexpr Word kLastDate = std::numeric_limits<std::int32_t>::max();
constexpr Word kDayLength = 86'400'000'000;

/// Timestamps begin here (MIN_TIMESTAMP in datatype/timestamp.h of the server).
constexpr Word kFirstTimestamp = -211'813'488'000'000'000;

Word lowest_of(ValueType type)
{
    return type == ValueType::kInt2   ? std::numeric_limits<std::int16_t>::min()
           : type == ValueType::kInt4 ? std::numeric_limits<std::int32_t>::min()
                                      : kSmallest;
}

Word highest_of(ValueType type)
{
    return -1 - lowest_of(type);
}

// ---- whole numbers -------------------------------------------------------------------------

template <bool (*kOverflow)(Word, Word, Word *)>
bool calculate_ints(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    Word *const result = expression.word_room;
    const Word lowest = lowest_of(expression.type);
    const Word highest = highest_of(expression.type);
    unsigned bad = 0;
    each_pair(expression, nrows, [&](std::uint32_t i, Word a, Word b) {
        const bool overflow = kOverflow(a, b, &result[i]);
        bad |= called[i] &
               (static_cast<unsigned>(overflow) | static_cast<unsigned>(result[i] < lowest) |
                static_cast<unsigned>(result[i] > highest));
    });
    return bad == 0;
}

bool add_overflows(Word a, Word b, Word *result)
{
    return __builtin_add_overflow(a, b, result);
}

bool subtract_overflows(Word a, Word b, Word *result)
{
    return __builtin_sub_overflow(a, b, result);
}

bool multiply_overflows(Word a, Word b, Word *result)
{
    return __builtin_mul_overflow(a, b, result);
}

/// A processor traps on division by 0 and on smallest / -1.
bool divide_overflows(Word a, Word b, Word *result)
{
    if (b == -1)
        return __builtin_sub_overflow(Word{0}, a, result);
    *result = a / (b == 0 ? 1 : b);
    return b == 0;
}

bool modulo_overflows(Word a, Word b, Word *result)
{
    *result = b == -1 ? 0 : a % (b == 0 ? 1 : b);
    return b == 0;
}

// ---- floating-point numbers ----------------------------------------------------------------

/// utils/float.h: the same checks in the same precision. kFails(a, b, result).
template <typename Number, typename Operation, typename Fails>
bool calculate_floats(Expression &expression, std::uint32_t nrows, const std::uint8_t *called,
                      Operation &&operation, Fails &&fails)
{
    unsigned bad = 0;
    each_pair(expression, nrows, [&](std::uint32_t i, Word word_a, Word word_b) {
        const auto a = static_cast<Number>(number_of(word_a));
        const auto b = static_cast<Number>(number_of(word_b));
        const Number result = operation(a, b);
        bad |= called[i] & static_cast<unsigned>(fails(a, b, result));
        expression.word_room[i] = word_of(static_cast<double>(result));
    });
    return bad == 0;
}

template <typename Number> unsigned is_inf(Number number)
{
    return static_cast<unsigned>(std::isinf(number));
}

template <typename Number>
bool calculate_floats_as(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const auto overflows = [](Number a, Number b, Number result) {
        return is_inf(result) & (is_inf(a) ^ 1U) & (is_inf(b) ^ 1U);
    };
    const auto is_zero = [](Number number) { return static_cast<unsigned>(number == 0); };
    switch (expression.op) {
    case ExpressionOp::kAdd:
        return calculate_floats<Number>(
            expression, nrows, called, [](Number a, Number b) { return a + b; }, overflows);
    case ExpressionOp::kSubtract:
        return calculate_floats<Number>(
            expression, nrows, called, [](Number a, Number b) { return a - b; }, overflows);
    case ExpressionOp::kMultiply:
        return calculate_floats<Number>(
            expression, nrows, called, [](Number a, Number b) { return a * b; },
            [&](Number a, Number b, Number result) {
                return overflows(a, b, result) |
                       (is_zero(result) & (is_zero(a) ^ 1U) & (is_zero(b) ^ 1U));
            });
    default: // a NaN divided by zero is a NaN
        return calculate_floats<Number>(
            expression, nrows, called, [](Number a, Number b) { return a / b; },
            [&](Number a, Number b, Number result) {
                return (is_zero(b) & static_cast<unsigned>(a == a)) |
                       (is_inf(result) & (is_inf(a) ^ 1U)) |
                       (is_zero(result) & (is_zero(a) ^ 1U) & (is_inf(b) ^ 1U));
            });
    }
}

bool is_infinite_time(Word word)
{
    return word == kSmallest || word == kLargest;
}

/// timestamp.c, timestamp_bin and timestamptz_bin, whose first argument the compiler has checked.
bool bin(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const Word unit = expression.word;
    unsigned bad = 0;
    each_pair(expression, nrows, [&](std::uint32_t i, Word time, Word origin) {
        Word offset;
        const bool far = __builtin_sub_overflow(time, origin, &offset) || is_infinite_time(origin);
        const Word rest = offset % unit;
        Word result;
        const bool before = __builtin_sub_overflow(time, rest + (rest < 0 ? unit : 0), &result) ||
                            (rest < 0 && result < kFirstTimestamp);
        const bool infinite = is_infinite_time(time);
        expression.word_room[i] = infinite ? time : result;
        bad |= called[i] & static_cast<unsigned>((far || before) && !infinite);
    });
    return bad == 0;
}

bool calculate_pair(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    if (expression.op == ExpressionOp::kBin)
        return bin(expression, nrows, called);
    if (expression.type == ValueType::kFloat8)
        return calculate_floats_as<double>(expression, nrows, called);
    if (expression.type == ValueType::kFloat4)
        return calculate_floats_as<float>(expression, nrows, called);
    switch (expression.op) {
    case ExpressionOp::kAdd:
        return calculate_ints<add_overflows>(expression, nrows, called);
    case ExpressionOp::kSubtract:
        return calculate_ints<subtract_overflows>(expression, nrows, called);
    case ExpressionOp::kMultiply:
        return calculate_ints<multiply_overflows>(expression, nrows, called);
    case ExpressionOp::kDivide:
        return calculate_ints<divide_overflows>(expression, nrows, called);
    default:
        return calculate_ints<modulo_overflows>(expression, nrows, called);
    }
}

// ---- one argument --------------------------------------------------------------------------

/// fn(word, &result) is true if the server raises an error.
template <typename Fn>
bool each_word(Expression &expression, std::uint32_t nrows, const std::uint8_t *called, Fn &&fn)
{
    const Word *const words = expression.args[0]->words;
    unsigned bad = 0;
    for (std::uint32_t i = 0; i < nrows; i++)
        bad |= called[i] & static_cast<unsigned>(fn(words[i], &expression.word_room[i]));
    return bad == 0;
}

bool negate(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    if (is_float(expression.type))
        return each_word(expression, nrows, called, [](Word word, Word *result) {
            *result = word_of(-number_of(word));
            return false;
        });
    const Word lowest = lowest_of(expression.type);
    return each_word(expression, nrows, called, [&](Word word, Word *result) {
        *result = word == lowest ? 0 : -word;
        return word == lowest;
    });
}

bool absolute(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    if (is_float(expression.type))
        return each_word(expression, nrows, called, [](Word word, Word *result) {
            *result = word_of(std::fabs(number_of(word)));
            return false;
        });
    const Word lowest = lowest_of(expression.type);
    return each_word(expression, nrows, called, [&](Word word, Word *result) {
        *result = word == lowest ? 0 : word < 0 ? -word : word;
        return word == lowest;
    });
}

Word floor_divide(Word word, Word unit)
{
    return word / unit - static_cast<Word>(word % unit < 0);
}

/// timestamp.c, timestamp_trunc to units of up to a day.
bool floor(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const Word unit = expression.word;
    return each_word(expression, nrows, called, [&](Word word, Word *result) {
        *result = is_infinite_time(word) ? word : floor_divide(word, unit) * unit;
        return false;
    });
}

/// date.c, timestamp_date.
bool day(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    return each_word(expression, nrows, called, [](Word word, Word *result) {
        *result = word == kSmallest  ? kFirstDate
                  : word == kLargest ? kLastDate
                                     : floor_divide(word, kDayLength);
        return false;
    });
}

bool convert_to_int(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const Word lowest = lowest_of(expression.type);
    const Word highest = highest_of(expression.type);
    if (!is_float(expression.args[0]->type))
        return each_word(expression, nrows, called, [&](Word word, Word *result) {
            *result = word;
            return word < lowest || word > highest;
        });
    // float.c, dtoi4 and the like: what rounds into the range is in it.
    const auto from = static_cast<double>(lowest);
    return each_word(expression, nrows, called, [&](Word word, Word *result) {
        const double number = std::rint(number_of(word));
        const bool fits = number >= from && number < -from;
        *result = fits ? static_cast<Word>(number) : 0;
        return !fits;
    });
}

bool convert_to_float(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    const bool to_float4 = expression.type == ValueType::kFloat4;
    if (!is_float(expression.args[0]->type))
        return each_word(expression, nrows, called, [&](Word word, Word *result) {
            *result = word_of(to_float4 ? static_cast<double>(static_cast<float>(word))
                                        : static_cast<double>(word));
            return false;
        });
    // float.c, ftod and dtof
    return each_word(expression, nrows, called, [&](Word word, Word *result) {
        const double number = number_of(word);
        const double rounded = to_float4 ? static_cast<double>(static_cast<float>(number)) : number;
        *result = word_of(rounded);
        return (std::isinf(rounded) && !std::isinf(number)) || (rounded == 0 && number != 0);
    });
}

bool convert(Expression &expression, std::uint32_t nrows, const std::uint8_t *called)
{
    if (is_float(expression.type))
        return convert_to_float(expression, nrows, called);
    if (expression.args[0]->type != ValueType::kBool)
        return convert_to_int(expression, nrows, called);
    for (std::uint32_t i = 0; i < nrows; i++)
        expression.word_room[i] = expression.args[0]->truth[i];
    return true;
}

} // namespace

bool calculate(Expression &expression, std::uint32_t nrows, const std::uint8_t *active)
{
    expression.words = expression.word_room;
    const std::uint8_t *const called = called_for(expression, nrows, active);
    switch (expression.op) {
    case ExpressionOp::kNegate:
        return negate(expression, nrows, called);
    case ExpressionOp::kAbsolute:
        return absolute(expression, nrows, called);
    case ExpressionOp::kFloor:
        return floor(expression, nrows, called);
    case ExpressionOp::kDay:
        return day(expression, nrows, called);
    case ExpressionOp::kConvert:
        return convert(expression, nrows, called);
    default:
        return calculate_pair(expression, nrows, called);
    }
}

} // namespace pipeline::agg
