// Expressions over blocks against one row at a time, computed as the server's functions do.
#include "catch2.hpp"

#include "agg/expression.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

using namespace pipeline::agg;
using Op = ExpressionOp;
using Type = ValueType;
using Word = std::int64_t;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::pmr::monotonic_buffer_resource memory;

/// A lane whose arrays are its own.
struct Column {
    std::vector<Word> words;
    std::vector<const std::byte *> starts;
    std::vector<std::uint32_t> sizes;
    std::vector<std::uint8_t> nulls;
    Lane lane;

    void add(std::optional<Word> word)
    {
        words.push_back(word.value_or(0x5555));
        nulls.push_back(!word);
    }
    void add(std::optional<std::string_view> text)
    {
        starts.push_back(text ? reinterpret_cast<const std::byte *>(text->data()) : nullptr);
        sizes.push_back(text ? static_cast<std::uint32_t>(text->size()) : 77);
        nulls.push_back(!text);
    }
    Expression *node(Type type)
    {
        bool has_nulls = false;
        for (const std::uint8_t isnull : nulls)
            has_nulls |= isnull != 0;
        lane = {words.data(), starts.data(), sizes.data(), has_nulls ? nulls.data() : nullptr};
        return new_column(type, &lane, &memory);
    }
};

Word word_of(double number)
{
    return std::bit_cast<Word>(number);
}

double number_of(Word word)
{
    return std::bit_cast<double>(word);
}

bool is_float(Type type)
{
    return type == Type::kFloat4 || type == Type::kFloat8;
}

Expression *make(Op op, Type type, std::vector<Expression *> args, Word word = 0)
{
    return new_expression(op, type, args, &memory, word);
}

std::vector<std::uint8_t> all(std::size_t nrows)
{
    return std::vector<std::uint8_t>(nrows, 1);
}

std::optional<Word> result(const Expression &node, std::size_t row)
{
    if (node.nulls != nullptr && node.nulls[row] != 0)
        return std::nullopt;
    return node.type == Type::kBool ? Word{node.truth[row]} : node.words[row];
}

/// What the server has for one row: a value, or an error.
struct Due {
    bool error = false;
    Word word = 0;
};

Due in_range(__int128 value, Type type)
{
    const __int128 limit = static_cast<__int128>(1) << (type == Type::kInt2   ? 15
                                                        : type == Type::kInt4 ? 31
                                                                              : 63);
    if (value < -limit || value >= limit)
        return {true, 0};
    return {false, static_cast<Word>(value)};
}

Due calculate_int(Op op, Type type, Word a, Word b)
{
    const __int128 x = a;
    switch (op) {
    case Op::kAdd:
        return in_range(x + b, type);
    case Op::kSubtract:
        return in_range(x - b, type);
    case Op::kMultiply:
        return in_range(x * b, type);
    case Op::kDivide:
        return b == 0 ? Due{true, 0} : in_range(x / b, type);
    case Op::kModulo:
        return b == 0 ? Due{true, 0} : in_range(x % b, type);
    case Op::kNegate:
        return in_range(-x, type);
    case Op::kAbsolute:
        return in_range(x < 0 ? -x : x, type);
    default:
        return in_range(x, type);
    }
}

/// utils/float.h
template <typename Number> Due calculate_float(Op op, Number a, Number b)
{
    Number result = 0;
    bool error = false;
    switch (op) {
    case Op::kAdd:
    case Op::kSubtract:
        result = op == Op::kAdd ? a + b : a - b;
        error = std::isinf(result) && !std::isinf(a) && !std::isinf(b);
        break;
    case Op::kMultiply:
        result = a * b;
        error = (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) ||
                (result == 0 && a != 0 && b != 0);
        break;
    case Op::kDivide:
        if (b == 0 && !std::isnan(a))
            return {true, 0};
        result = a / b;
        error = (std::isinf(result) && !std::isinf(a)) || (result == 0 && a != 0 && !std::isinf(b));
        break;
    case Op::kNegate:
        result = -a;
        break;
    default:
        result = std::fabs(a);
    }
    return {error, word_of(static_cast<double>(result))};
}

Due calculate_one(Op op, Type type, Word a, Word b)
{
    if (type == Type::kFloat8)
        return calculate_float<double>(op, number_of(a), number_of(b));
    if (type == Type::kFloat4)
        return calculate_float<float>(op, static_cast<float>(number_of(a)),
                                      static_cast<float>(number_of(b)));
    return calculate_int(op, type, a, b);
}

bool same_word(Type type, Word a, Word b)
{
    return a == b || (is_float(type) && std::isnan(number_of(a)) && std::isnan(number_of(b)));
}

std::vector<Word> samples(Type type)
{
    std::vector<Word> words;
    if (is_float(type)) {
        for (const double number :
             {0.0, -0.0, 1.0, -1.5, 3.25, kInfinity, -kInfinity, kNaN, 1e30, 1e-30})
            words.push_back(word_of(
                type == Type::kFloat4 ? static_cast<double>(static_cast<float>(number)) : number));
        if (type == Type::kFloat8)
            for (const double number : {1e308, -1e308, 1e-308, 5e-324})
                words.push_back(word_of(number));
        else
            for (const double number : {3e38, -3e38, 1e-38})
                words.push_back(word_of(static_cast<double>(static_cast<float>(number))));
        return words;
    }
    const Word lowest = type == Type::kInt2   ? std::numeric_limits<std::int16_t>::min()
                        : type == Type::kInt4 ? std::numeric_limits<std::int32_t>::min()
                                              : std::numeric_limits<Word>::min();
    return {0, 1, -1, 2, -7, 100, 180, lowest, lowest + 1, -1 - lowest, -2 - lowest};
}

/// All pairs of samples, one row each, in blocks of their own: a block with an error is refused,
/// but not if the row is not active, or NULL.
void check_pairs(Op op, Type type, bool with_constant)
{
    for (const Word a : samples(type))
        for (const Word b : samples(type)) {
            Column first;
            Column second;
            const int kRows = 20;
            for (int i = 0; i < kRows; i++) {
                first.add(i == 13 ? a : word_of(is_float(type) ? 1.0 : 0.0));
                second.add(with_constant || i == 13 ? b
                                                    : (is_float(type) ? word_of(1.0) : Word{1}));
            }
            Expression *const other =
                with_constant ? new_constant(type, b, &memory) : second.node(type);
            Expression *const node = make(op, type,
                                          op >= Op::kNegate ? std::vector{first.node(type)}
                                                            : std::vector{first.node(type), other});
            std::vector<std::uint8_t> active(kRows, 0);
            active[13] = 1;
            const Due due = calculate_one(op, type, a, b);
            REQUIRE(evaluate(*node, kRows, active.data()) == !due.error);
            if (!due.error)
                REQUIRE(same_word(type, node->words[13], due.word));
            active[13] = 0;
            REQUIRE(evaluate(*node, kRows, active.data()));
            active[13] = 1;
            first.nulls[13] = 1;
            node->args[0] = first.node(type);
            REQUIRE(evaluate(*node, kRows, active.data()));
            REQUIRE(!result(*node, 13));
        }
}

constexpr Word kLowestWord = std::numeric_limits<Word>::min();
constexpr Word kHighestWord = std::numeric_limits<Word>::max();
constexpr Word kSecond = 1'000'000;
constexpr Word kFirstTimestamp = -211'813'488'000 * kSecond; // the year 4713 BC

/// timestamp.c, timestamptz_bin
Due bin(Word unit, Word time, Word origin)
{
    if (time == kLowestWord || time == kHighestWord)
        return {false, time};
    const __int128 offset = static_cast<__int128>(time) - origin;
    if (origin == kLowestWord || origin == kHighestWord || in_range(offset, Type::kInt8).error)
        return {true, 0};
    const __int128 count = offset / unit - static_cast<int>(offset % unit < 0);
    const __int128 result = origin + count * unit;
    return {result < kFirstTimestamp, static_cast<Word>(result)};
}

std::vector<std::optional<Word>> three_values()
{
    return {Word{0}, Word{1}, std::nullopt};
}

} // namespace

TEST_CASE("arithmetic with edge values, in each type")
{
    for (const Type type : {Type::kInt2, Type::kInt4, Type::kInt8, Type::kFloat4, Type::kFloat8})
        for (const Op op : {Op::kAdd, Op::kSubtract, Op::kMultiply, Op::kDivide, Op::kModulo,
                            Op::kNegate, Op::kAbsolute}) {
            if (op == Op::kModulo && is_float(type))
                continue;
            check_pairs(op, type, false);
            check_pairs(op, type, true);
        }
}

TEST_CASE("times are binned from an origin downwards")
{
    const Word times[] = {0,
                          1,
                          -1,
                          kSecond,
                          -kSecond,
                          -kSecond - 1,
                          725'000'000 * kSecond + 3,
                          kFirstTimestamp,
                          kFirstTimestamp + 1,
                          kFirstTimestamp + 180 * kSecond,
                          9'223'371'331'200 * kSecond - 1, // the end of 294276
                          kLowestWord,
                          kHighestWord};
    const Word origins[] = {
        0,           1,           -7 * kSecond, kFirstTimestamp, 9'223'371'331'199 * kSecond,
        kLowestWord, kHighestWord};
    for (const Word unit : {Word{1}, kSecond, 180 * kSecond, 86400 * kSecond, kHighestWord})
        for (const Word origin : origins)
            for (const Word time : times)
                for (const bool with_constant : {true, false}) {
                    Column column;
                    Column other;
                    for (const Word word : {Word{0}, time, Word{0}})
                        column.add(word);
                    for (const Word word : {Word{0}, origin, Word{0}})
                        other.add(word);
                    Expression *const node =
                        make(Op::kBin, Type::kInt8,
                             {column.node(Type::kInt8),
                              with_constant ? new_constant(Type::kInt8, origin, &memory)
                                            : other.node(Type::kInt8)},
                             unit);
                    const Due due = bin(unit, time, origin);
                    std::vector<std::uint8_t> active{0, 1, 0};
                    REQUIRE(evaluate(*node, 3, active.data()) == !due.error);
                    if (!due.error)
                        REQUIRE(node->words[1] == due.word);
                    active[1] = 0;
                    REQUIRE(evaluate(*node, 3, active.data()));
                    active[1] = 1;
                    column.nulls[1] = 1;
                    node->args[0] = column.node(Type::kInt8);
                    REQUIRE(evaluate(*node, 3, active.data()));
                    REQUIRE(!result(*node, 1));
                }
}

TEST_CASE("comparisons, with and without NULLs")
{
    std::mt19937 random(7);
    for (const Type type : {Type::kInt4, Type::kInt8, Type::kFloat4, Type::kFloat8})
        for (int round = 0; round < 8; round++) {
            const std::vector<Word> values = samples(type);
            Column a;
            Column b;
            const bool with_nulls = round % 2 == 0;
            for (std::uint32_t i = 0; i < kBlockRows; i++)
                for (Column *const column : {&a, &b})
                    column->add(with_nulls && random() % 4 == 0 ? std::optional<Word>{}
                                                                : values[random() % values.size()]);
            const Word constant = values[random() % values.size()];
            for (int op = static_cast<int>(Op::kEqual); op <= static_cast<int>(Op::kGreaterOrEqual);
                 op++) {
                const bool fixed = round % 4 < 2;
                Expression *const other =
                    fixed ? new_constant(type, constant, &memory) : b.node(type);
                Expression *const node =
                    make(static_cast<Op>(op), Type::kBool, {a.node(type), other});
                REQUIRE(evaluate(*node, kBlockRows, all(kBlockRows).data()));
                for (std::uint32_t i = 0; i < kBlockRows; i++) {
                    const Word y = fixed ? constant : b.words[i];
                    if (a.nulls[i] != 0 || (!fixed && b.nulls[i] != 0)) {
                        REQUIRE(!result(*node, i));
                        continue;
                    }
                    // float8_cmp_internal: NaN equals NaN and is the largest
                    int order = a.words[i] < y ? -1 : a.words[i] > y;
                    if (is_float(type)) {
                        const double p = number_of(a.words[i]);
                        const double q = number_of(y);
                        order = std::isnan(p) || std::isnan(q)
                                    ? int{std::isnan(p)} - int{std::isnan(q)}
                                    : int{p > q} - int{p < q};
                    }
                    const bool due[] = {order == 0, order != 0, order<0, order <= 0, order> 0,
                                        order >= 0};
                    REQUIRE(result(*node, i) == due[op - static_cast<int>(Op::kEqual)]);
                }
            }
        }
}

TEST_CASE("bytes are compared where they count")
{
    Column a;
    Column b;
    const std::optional<std::string_view> texts[] = {"", "a", "b", "ab", "abcdefghijk", {}};
    for (const auto &x : texts)
        for (const auto &y : texts) {
            a.add(x);
            b.add(y);
        }
    Expression *const equal =
        make(Op::kEqual, Type::kBool, {a.node(Type::kBytes), b.node(Type::kBytes)});
    Expression *const different =
        make(Op::kNotEqual, Type::kBool, {a.node(Type::kBytes), b.node(Type::kBytes)});
    REQUIRE(evaluate(*equal, 36, all(36).data()));
    REQUIRE(evaluate(*different, 36, all(36).data()));
    for (std::uint32_t i = 0; i < 36; i++) {
        const auto &x = texts[i / 6];
        const auto &y = texts[i % 6];
        const std::optional<Word> due = x && y ? std::optional<Word>{*x == *y} : std::nullopt;
        REQUIRE(result(*equal, i) == due);
        REQUIRE(result(*different, i) == (due ? std::optional<Word>{1 - *due} : std::nullopt));
    }
}

TEST_CASE("lists, with NULLs in them")
{
    Column column;
    for (const std::optional<Word> word : {std::optional<Word>{0}, {1}, {2}, {}, {9}})
        column.add(word);
    Expression *const one = new_constant(Type::kInt4, 1, &memory, 1);
    Expression *const nine = new_constant(Type::kInt4, 9, &memory, 1);
    Expression *const null = new_null(Type::kInt4, &memory, 1);
    Expression *const in = make(Op::kIn, Type::kBool, {column.node(Type::kInt4), one, nine});
    REQUIRE(evaluate(*in, 5, all(5).data()));
    const std::optional<Word> due[] = {0, 1, 0, {}, 1};
    for (std::size_t i = 0; i < 5; i++)
        REQUIRE(result(*in, i) == due[i]);
    Expression *const doubtful =
        make(Op::kIn, Type::kBool, {column.node(Type::kInt4), one, null, nine});
    REQUIRE(evaluate(*doubtful, 5, all(5).data()));
    const std::optional<Word> due_with_null[] = {{}, 1, {}, {}, 1};
    for (std::size_t i = 0; i < 5; i++)
        REQUIRE(result(*doubtful, i) == due_with_null[i]);
}

TEST_CASE("three-valued logic")
{
    Column a;
    Column b;
    for (const auto &x : three_values())
        for (const auto &y : three_values()) {
            a.add(x);
            b.add(y);
        }
    const auto node = [&](Op op) {
        return make(op, Type::kBool,
                    op == Op::kAnd || op == Op::kOr
                        ? std::vector{a.node(Type::kBool), b.node(Type::kBool)}
                        : std::vector{a.node(Type::kBool)});
    };
    const auto check = [&](Op op, auto &&due) {
        Expression *const expression = node(op);
        REQUIRE(evaluate(*expression, 9, all(9).data()));
        for (std::size_t i = 0; i < 9; i++)
            REQUIRE(result(*expression, i) == due(three_values()[i / 3], three_values()[i % 3]));
    };
    using Truth = std::optional<Word>;
    check(Op::kAnd, [](Truth x, Truth y) {
        return x == 0 || y == 0 ? Truth{0} : x && y ? Truth{1} : Truth{};
    });
    check(Op::kOr, [](Truth x, Truth y) {
        return x == 1 || y == 1 ? Truth{1} : x && y ? Truth{0} : Truth{};
    });
    check(Op::kNot, [](Truth x, Truth) { return x ? Truth{1 - *x} : Truth{}; });
    check(Op::kIsNull, [](Truth x, Truth) { return Truth{!x}; });
    check(Op::kIsNotNull, [](Truth x, Truth) { return Truth{x.has_value()}; });
    check(Op::kIsTrue, [](Truth x, Truth) { return Truth{x == 1}; });
    check(Op::kIsNotTrue, [](Truth x, Truth) { return Truth{x != 1}; });
    check(Op::kIsFalse, [](Truth x, Truth) { return Truth{x == 0}; });
    check(Op::kIsNotFalse, [](Truth x, Truth) { return Truth{x != 0}; });
}

TEST_CASE("nothing is evaluated for rows that an argument before has decided")
{
    Column divisor;
    for (const std::optional<Word> word : {std::optional<Word>{0}, {5}, {}, {10}})
        divisor.add(word);
    Expression *const zero = new_constant(Type::kInt4, 0, &memory);
    Expression *const ten = new_constant(Type::kInt4, 10, &memory);
    const auto column = [&] { return divisor.node(Type::kInt4); };
    const auto ratio = [&] { return make(Op::kDivide, Type::kInt4, {ten, column()}); };
    const auto is_ten = [&](Op op) {
        return make(op, Type::kBool, {ratio(), new_constant(Type::kInt4, 1, &memory)});
    };
    const auto not_zero = [&](Op op) { return make(op, Type::kBool, {column(), zero}); };

    Expression *const unguarded = is_ten(Op::kEqual);
    REQUIRE(!evaluate(*unguarded, 4, all(4).data()));

    Expression *const both =
        make(Op::kAnd, Type::kBool, {not_zero(Op::kNotEqual), is_ten(Op::kEqual)});
    REQUIRE(evaluate(*both, 4, all(4).data()));
    const std::optional<Word> due_both[] = {0, 0, {}, 1};
    for (std::size_t i = 0; i < 4; i++)
        REQUIRE(result(*both, i) == due_both[i]);
    std::vector<std::uint8_t> active = all(4);
    keep_true(*both, 4, active.data());
    REQUIRE(active == std::vector<std::uint8_t>{0, 0, 0, 1});

    Expression *const either =
        make(Op::kOr, Type::kBool, {not_zero(Op::kEqual), is_ten(Op::kNotEqual)});
    REQUIRE(evaluate(*either, 4, all(4).data()));
    const std::optional<Word> due_either[] = {1, 1, {}, 0};
    for (std::size_t i = 0; i < 4; i++)
        REQUIRE(result(*either, i) == due_either[i]);

    Expression *const wrong_order =
        make(Op::kAnd, Type::kBool, {is_ten(Op::kEqual), not_zero(Op::kNotEqual)});
    REQUIRE(!evaluate(*wrong_order, 4, all(4).data()));

    Expression *const cases = make(Op::kCase, Type::kInt4,
                                   {not_zero(Op::kEqual), zero, is_ten(Op::kEqual), ten, ratio()});
    REQUIRE(evaluate(*cases, 4, all(4).data()));
    const std::optional<Word> due_cases[] = {0, 2, {}, 10};
    for (std::size_t i = 0; i < 4; i++)
        REQUIRE(result(*cases, i) == due_cases[i]);

    Expression *const value = column();
    Expression *const matches =
        make(Op::kEqual, Type::kBool, {new_result_of(value, &memory), zero});
    Expression *const test_case = make(Op::kTestCase, Type::kInt4, {value, matches, ten, ratio()});
    REQUIRE(evaluate(*test_case, 4, all(4).data()));
    const std::optional<Word> due_test[] = {10, 2, {}, 1};
    for (std::size_t i = 0; i < 4; i++)
        REQUIRE(result(*test_case, i) == due_test[i]);

    Expression *const first = make(Op::kCoalesce, Type::kInt4, {column(), ten});
    REQUIRE(evaluate(*first, 4, all(4).data()));
    const std::optional<Word> due_first[] = {0, 5, 10, 10};
    for (std::size_t i = 0; i < 4; i++)
        REQUIRE(result(*first, i) == due_first[i]);
}

TEST_CASE("conversions")
{
    const auto convert = [](Type from, Word word, Type to) -> std::optional<Word> {
        Column column;
        column.add(word);
        Expression *const node = make(Op::kConvert, to, {column.node(from)});
        if (!evaluate(*node, 1, all(1).data()))
            return std::nullopt;
        return node->words[0];
    };
    REQUIRE(convert(Type::kInt8, 32767, Type::kInt2) == 32767);
    REQUIRE(!convert(Type::kInt8, 32768, Type::kInt2));
    REQUIRE(convert(Type::kInt8, -2147483648, Type::kInt4) == -2147483648);
    REQUIRE(!convert(Type::kInt8, -2147483649, Type::kInt4));
    REQUIRE(convert(Type::kBool, 1, Type::kInt4) == 1);
    REQUIRE(convert(Type::kInt4, -7, Type::kFloat8) == word_of(-7.0));
    REQUIRE(convert(Type::kInt8, 16777217, Type::kFloat4) == word_of(16777216.0));
    REQUIRE(convert(Type::kFloat8, word_of(2.5), Type::kInt4) == 2);
    REQUIRE(convert(Type::kFloat8, word_of(3.5), Type::kInt4) == 4);
    REQUIRE(convert(Type::kFloat8, word_of(2147483647.4), Type::kInt4) == 2147483647);
    REQUIRE(!convert(Type::kFloat8, word_of(2147483647.5), Type::kInt4));
    REQUIRE(convert(Type::kFloat8, word_of(-9223372036854775808.0), Type::kInt8) ==
            std::numeric_limits<Word>::min());
    REQUIRE(!convert(Type::kFloat8, word_of(9223372036854775808.0), Type::kInt8));
    REQUIRE(!convert(Type::kFloat8, word_of(kNaN), Type::kInt8));
    REQUIRE(!convert(Type::kFloat8, word_of(1e39), Type::kFloat4));
    REQUIRE(!convert(Type::kFloat8, word_of(1e-50), Type::kFloat4));
    REQUIRE(convert(Type::kFloat8, word_of(kInfinity), Type::kFloat4) == word_of(kInfinity));
    REQUIRE(convert(Type::kFloat4, word_of(0.5), Type::kFloat8) == word_of(0.5));
}

TEST_CASE("units of time round down")
{
    constexpr Word kHour = 3'600'000'000;
    Column column;
    const Word words[] = {0,
                          1,
                          -1,
                          kHour,
                          -kHour,
                          24 * kHour - 1,
                          -24 * kHour - 1,
                          std::numeric_limits<Word>::min(),
                          std::numeric_limits<Word>::max()};
    for (const Word word : words)
        column.add(word);
    Expression *const hour = make(Op::kFloor, Type::kInt8, {column.node(Type::kInt8)}, kHour);
    Expression *const day = make(Op::kDay, Type::kInt4, {column.node(Type::kInt8)});
    REQUIRE(evaluate(*hour, 9, all(9).data()));
    REQUIRE(evaluate(*day, 9, all(9).data()));
    const Word hours[] = {0, 0, -kHour, kHour, -kHour, 23 * kHour, -25 * kHour, words[7], words[8]};
    const Word days[] = {0,
                         0,
                         -1,
                         0,
                         -1,
                         0,
                         -2,
                         std::numeric_limits<std::int32_t>::min(),
                         std::numeric_limits<std::int32_t>::max()};
    for (std::size_t i = 0; i < 9; i++) {
        REQUIRE(hour->words[i] == hours[i]);
        REQUIRE(day->words[i] == days[i]);
    }
}
