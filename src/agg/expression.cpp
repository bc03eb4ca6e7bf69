#include "agg/expression.hpp"

#include "agg/kernels.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "batch/pure_only.hpp"

namespace pipeline::agg {
namespace {

template <typename Value> Value *new_array(std::size_t n, std::pmr::memory_resource *resource)
{
    auto *const values =
        static_cast<Value *>(resource->allocate(n * sizeof(Value), alignof(std::int64_t)));
    std::uninitialized_value_construct_n(values, n);
    return values;
}

Expression *new_node(ExpressionOp op, ValueType type, std::pmr::memory_resource *resource)
{
    auto *const node = new (resource->allocate(sizeof(Expression), alignof(Expression))) Expression;
    node->op = op;
    node->type = type;
    return node;
}

/// Room for a block of results; no value is undefined, not even that of a NULL.
void make_room(Expression *node, std::pmr::memory_resource *resource,
               std::uint32_t nrows = kBlockRows)
{
    node->null_room = new_array<std::uint8_t>(nrows, resource);
    node->mask_room = new_array<std::uint8_t>(nrows, resource);
    switch (node->type) {
    case ValueType::kBool:
        node->truth_room = new_array<std::uint8_t>(nrows, resource);
        break;
    case ValueType::kBytes:
        node->start_room = new_array<const std::byte *>(nrows, resource);
        node->size_room = new_array<std::uint32_t>(nrows, resource);
        break;
    default:
        node->word_room = new_array<std::int64_t>(nrows, resource);
    }
}

/// The results are in the rooms.
void point_to_room(Expression &node)
{
    node.words = node.word_room;
    node.truth = node.truth_room;
    node.starts = node.start_room;
    node.sizes = node.size_room;
    node.nulls = node.null_room;
}

void copy_pointers(Expression &node, const Expression &from)
{
    node.words = from.words;
    node.truth = from.truth;
    node.starts = from.starts;
    node.sizes = from.sizes;
    node.nulls = from.nulls;
}

void read_column(Expression &node, std::uint32_t nrows)
{
    const Lane &lane = *node.lane;
    node.words = lane.words;
    node.starts = lane.starts;
    node.sizes = lane.sizes;
    node.nulls = lane.nulls;
    if (node.type != ValueType::kBool)
        return;
    for (std::uint32_t i = 0; i < nrows; i++)
        node.truth_room[i] = lane.words[i] != 0;
    node.truth = node.truth_room;
}

/// NULL if an argument is (of a list only its value counts here).
void join_nulls(Expression &node, std::uint32_t nrows)
{
    node.nulls = node.args[0]->nulls;
    if (node.nargs != 2 || node.op == ExpressionOp::kIn)
        return;
    const std::uint8_t *const a = node.nulls;
    const std::uint8_t *const b = node.args[1]->nulls;
    if (a == nullptr || b == nullptr) {
        node.nulls = a == nullptr ? b : a;
        return;
    }
    for (std::uint32_t i = 0; i < nrows; i++)
        node.null_room[i] = a[i] | b[i];
    node.nulls = node.null_room;
}

/// Writes to `result` the rows of `mask` for which the condition is true; says whether any is.
bool true_rows(const Expression &condition, std::uint32_t nrows, const std::uint8_t *mask,
               std::uint8_t *result)
{
    unsigned any = 0;
    if (condition.nulls == nullptr)
        for (std::uint32_t i = 0; i < nrows; i++)
            any |= result[i] = mask[i] & condition.truth[i];
    else
        for (std::uint32_t i = 0; i < nrows; i++)
            any |= result[i] = mask[i] & condition.truth[i] & (condition.nulls[i] ^ 1);
    return any != 0;
}

bool any_row(const std::uint8_t *mask, std::uint32_t nrows)
{
    return std::memchr(mask, 1, nrows) != nullptr;
}

/// execExprInterp.c, EEOP_BOOL_AND_STEP and EEOP_BOOL_OR_STEP: an argument is evaluated if none
/// before was false (true).
bool evaluate_and_or(Expression &node, std::uint32_t nrows, const std::uint8_t *active)
{
    const std::uint8_t deciding = node.op == ExpressionOp::kOr;
    std::uint8_t *const open = node.mask_room;
    std::memcpy(open, active, nrows);
    std::memset(node.truth_room, 0, nrows); // 1 = decided, for now
    std::memset(node.null_room, 0, nrows);
    for (std::uint32_t a = 0; a < node.nargs && any_row(open, nrows); a++) {
        Expression &argument = *node.args[a];
        if (!evaluate(argument, nrows, open))
            return false;
        for (std::uint32_t i = 0; i < nrows; i++) {
            const std::uint8_t isnull = argument.nulls == nullptr ? 0 : argument.nulls[i];
            const auto decided = static_cast<std::uint8_t>(
                open[i] & (isnull ^ 1) & static_cast<unsigned>(argument.truth[i] == deciding));
            node.null_room[i] |= isnull & open[i];
            node.truth_room[i] |= decided;
            open[i] ^= decided;
        }
    }
    for (std::uint32_t i = 0; i < nrows; i++) {
        node.null_room[i] &= node.truth_room[i] ^ 1;
        node.truth_room[i] ^= deciding ^ 1;
    }
    point_to_room(node);
    return true;
}

/// IS … of a condition: `wanted` is the value, `negated` its opposite or NULL.
void test_truth(Expression &node, std::uint32_t nrows, std::uint8_t wanted, std::uint8_t negated)
{
    const Expression &argument = *node.args[0];
    for (std::uint32_t i = 0; i < nrows; i++) {
        const std::uint8_t isnull = argument.nulls == nullptr ? 0 : argument.nulls[i];
        const auto is = static_cast<std::uint8_t>(argument.truth[i] == wanted) & (isnull ^ 1);
        node.truth_room[i] = static_cast<std::uint8_t>(is ^ negated);
    }
    node.truth = node.truth_room;
}

void test_null(Expression &node, std::uint32_t nrows, std::uint8_t negated)
{
    const std::uint8_t *const nulls = node.args[0]->nulls;
    for (std::uint32_t i = 0; i < nrows; i++)
        node.truth_room[i] = static_cast<std::uint8_t>((nulls == nullptr ? 0 : nulls[i]) ^ negated);
    node.truth = node.truth_room;
}

template <typename Value>
void take_rows(Value *to, const Value *from, const std::uint8_t *mask, std::uint32_t nrows)
{
    for (std::uint32_t i = 0; i < nrows; i++)
        to[i] = mask[i] != 0 ? from[i] : to[i];
}

/// The rows of the mask get their results from another expression.
void take(Expression &node, const Expression &from, const std::uint8_t *mask, std::uint32_t nrows)
{
    for (std::uint32_t i = 0; i < nrows; i++)
        node.null_room[i] = mask[i] == 0            ? node.null_room[i]
                            : from.nulls == nullptr ? std::uint8_t{0}
                                                    : from.nulls[i];
    if (node.word_room != nullptr)
        take_rows(node.word_room, from.words, mask, nrows);
    if (node.truth_room != nullptr)
        take_rows(node.truth_room, from.truth, mask, nrows);
    if (node.start_room != nullptr) {
        take_rows(node.start_room, from.starts, mask, nrows);
        take_rows(node.size_room, from.sizes, mask, nrows);
    }
}

/// A condition is evaluated if none before was true, a result if its condition is.
bool evaluate_case(Expression &node, std::uint32_t nrows, const std::uint8_t *active)
{
    std::uint8_t *const open = node.mask_room;
    std::uint8_t hit[kBlockRows];
    std::memcpy(open, active, nrows);
    std::memset(node.null_room, 1, nrows);
    std::uint32_t a = 0;
    if (node.op == ExpressionOp::kTestCase && !evaluate(*node.args[a++], nrows, open))
        return false;
    for (; a + 1 < node.nargs && any_row(open, nrows); a += 2) {
        if (!evaluate(*node.args[a], nrows, open))
            return false;
        if (!true_rows(*node.args[a], nrows, open, hit))
            continue;
        if (!evaluate(*node.args[a + 1], nrows, hit))
            return false;
        take(node, *node.args[a + 1], hit, nrows);
        for (std::uint32_t i = 0; i < nrows; i++)
            open[i] ^= hit[i];
    }
    if (any_row(open, nrows)) {
        Expression &otherwise = *node.args[node.nargs - 1];
        if (!evaluate(otherwise, nrows, open))
            return false;
        take(node, otherwise, open, nrows);
    }
    point_to_room(node);
    return true;
}

bool evaluate_coalesce(Expression &node, std::uint32_t nrows, const std::uint8_t *active)
{
    std::uint8_t *const open = node.mask_room;
    std::memcpy(open, active, nrows);
    std::memset(node.null_room, 1, nrows);
    for (std::uint32_t a = 0; a < node.nargs && any_row(open, nrows); a++) {
        if (!evaluate(*node.args[a], nrows, open))
            return false;
        take(node, *node.args[a], open, nrows);
        for (std::uint32_t i = 0; i < nrows; i++)
            open[i] &= node.null_room[i];
    }
    point_to_room(node);
    return true;
}

/// A list with a NULL never says no.
void doubt_no(Expression &node, std::uint32_t nrows)
{
    for (std::uint32_t a = 1; a < node.nargs; a++) {
        if (node.args[a]->nulls == nullptr)
            continue;
        for (std::uint32_t i = 0; i < nrows; i++)
            node.null_room[i] =
                (node.nulls == nullptr ? std::uint8_t{0} : node.nulls[i]) | (node.truth[i] ^ 1);
        node.nulls = node.null_room;
        return;
    }
}

/// What is no function of all its arguments' values.
bool evaluate_logic(Expression &node, std::uint32_t nrows)
{
    switch (node.op) {
    case ExpressionOp::kNot:
        for (std::uint32_t i = 0; i < nrows; i++)
            node.truth_room[i] = node.args[0]->truth[i] ^ 1;
        node.truth = node.truth_room;
        node.nulls = node.args[0]->nulls;
        return true;
    case ExpressionOp::kIsNull:
    case ExpressionOp::kIsNotNull:
        test_null(node, nrows, node.op == ExpressionOp::kIsNotNull);
        return true;
    case ExpressionOp::kIsTrue:
    case ExpressionOp::kIsNotTrue:
        test_truth(node, nrows, 1, node.op == ExpressionOp::kIsNotTrue);
        return true;
    case ExpressionOp::kIsFalse:
    case ExpressionOp::kIsNotFalse:
        test_truth(node, nrows, 0, node.op == ExpressionOp::kIsNotFalse);
        return true;
    default:
        return false;
    }
}

bool evaluate_function(Expression &node, std::uint32_t nrows, const std::uint8_t *active)
{
    for (std::uint32_t a = 0; a < node.nargs; a++)
        if (!evaluate(*node.args[a], nrows, active))
            return false;
    if (evaluate_logic(node, nrows))
        return true;
    join_nulls(node, nrows);
    if (node.op == ExpressionOp::kIn) {
        compare_with_list(node, nrows, active);
        doubt_no(node, nrows);
        return true;
    }
    if (node.op >= ExpressionOp::kAdd)
        return calculate(node, nrows, active);
    compare(node, nrows, active);
    return true;
}

} // namespace

Expression *new_column(ValueType type, const Lane *lane, std::pmr::memory_resource *resource)
{
    Expression *const node = new_node(ExpressionOp::kColumn, type, resource);
    node->lane = lane;
    if (type == ValueType::kBool)
        node->truth_room = new_array<std::uint8_t>(kBlockRows, resource);
    return node;
}

Expression *new_constant(ValueType type, std::int64_t word, std::pmr::memory_resource *resource,
                         std::uint32_t nrows)
{
    Expression *const node = new_node(ExpressionOp::kConstant, type, resource);
    make_room(node, resource, nrows);
    node->word = word;
    if (type == ValueType::kBool)
        std::fill_n(node->truth_room, nrows, word != 0);
    else
        std::fill_n(node->word_room, nrows, word);
    point_to_room(*node);
    node->nulls = nullptr;
    return node;
}

Expression *new_constant(std::span<const std::byte> bytes, std::pmr::memory_resource *resource,
                         std::uint32_t nrows)
{
    Expression *const node = new_node(ExpressionOp::kConstant, ValueType::kBytes, resource);
    make_room(node, resource, nrows);
    std::fill_n(node->start_room, nrows, bytes.data());
    std::fill_n(node->size_room, nrows, static_cast<std::uint32_t>(bytes.size()));
    point_to_room(*node);
    node->nulls = nullptr;
    return node;
}

Expression *new_null(ValueType type, std::pmr::memory_resource *resource, std::uint32_t nrows)
{
    Expression *const node = new_node(ExpressionOp::kConstant, type, resource);
    make_room(node, resource, nrows);
    std::fill_n(node->null_room, nrows, std::uint8_t{1});
    point_to_room(*node);
    return node;
}

Expression *new_result_of(Expression *other, std::pmr::memory_resource *resource)
{
    Expression *const node = new_node(ExpressionOp::kResultOf, other->type, resource);
    node->args = new_array<Expression *>(1, resource);
    node->args[0] = other;
    return node;
}

Expression *new_expression(ExpressionOp op, ValueType type, std::span<Expression *const> args,
                           std::pmr::memory_resource *resource, std::int64_t word)
{
    Expression *const node = new_node(op, type, resource);
    node->nargs = static_cast<std::uint32_t>(args.size());
    node->args = new_array<Expression *>(args.size(), resource);
    std::copy(args.begin(), args.end(), node->args);
    node->word = word;
    make_room(node, resource);
    return node;
}

bool evaluate(Expression &expression, std::uint32_t nrows, const std::uint8_t *active)
{
    switch (expression.op) {
    case ExpressionOp::kColumn:
        read_column(expression, nrows);
        return true;
    case ExpressionOp::kConstant:
        return true;
    case ExpressionOp::kResultOf:
        copy_pointers(expression, *expression.args[0]);
        return true;
    case ExpressionOp::kAnd:
    case ExpressionOp::kOr:
        return evaluate_and_or(expression, nrows, active);
    case ExpressionOp::kCase:
    case ExpressionOp::kTestCase:
        return evaluate_case(expression, nrows, active);
    case ExpressionOp::kCoalesce:
        return evaluate_coalesce(expression, nrows, active);
    default:
        return evaluate_function(expression, nrows, active);
    }
}

void keep_true(const Expression &condition, std::uint32_t nrows, std::uint8_t *active)
{
    true_rows(condition, nrows, active, active);
}

} // namespace pipeline::agg
