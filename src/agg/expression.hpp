// Expressions over a block of rows: comparisons, arithmetic, three-valued logic, CASE.
//
// Owns: the trees and the buffers of their results, from the memory_resource given. May call:
// agg/lanes and std; no server. Building may throw std::bad_alloc, evaluating never does.
// Invariants: a row that evaluate() answers for has the value that the server's function gives;
// an error of the server's makes it say false, and only a row that the server would evaluate can.
#pragma once

#include "agg/lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

namespace pipeline::agg {

/// What a value is. Words of whole numbers are sign-extended; both kinds of floating-point
/// numbers are the bits of a double.
enum class ValueType : std::uint8_t { kBool, kInt2, kInt4, kInt8, kFloat4, kFloat8, kBytes };

enum class ExpressionOp : std::uint8_t {
    kColumn,   ///< of a lane
    kConstant, ///<
    kResultOf, ///< of another expression, evaluated before for all rows of this one

    kAnd, ///< any number of arguments
    kOr,
    kNot,
    kIsNull,
    kIsNotNull,
    kIsTrue,
    kIsNotTrue,
    kIsFalse,
    kIsNotFalse,
    kCase,     ///< condition, result, condition, result, …, default
    kTestCase, ///< the same behind a value that conditions refer to by kResultOf
    kCoalesce,

    kEqual, ///< two arguments that are both numbers or both bytes or both bool
    kNotEqual,
    kLess, ///< two numbers
    kLessOrEqual,
    kGreater,
    kGreaterOrEqual,
    kIn, ///< a value, then constants: equal to any of them

    kAdd, ///< in the type of the result
    kSubtract,
    kMultiply,
    kDivide,
    kModulo, ///< whole numbers only
    kNegate,
    kAbsolute,
    kBin,    ///< of a time: down to a multiple of `word`, counted from the second argument
    kFloor,  ///< to a multiple of `word`
    kDay,    ///< of a timestamp: whole days, infinity stays infinity
    kConvert ///< between numbers, and from bool; rounds as rint() does
};

struct Expression {
    ExpressionOp op;
    ValueType type;
    std::uint32_t nargs = 0;
    Expression **args = nullptr;
    const Lane *lane = nullptr; ///< of a column
    std::int64_t word = 0;      ///< of a constant; the unit of kBin and kFloor

    // The result, valid until the next evaluate(); which arrays there are follows from the type.
    // `nulls` is nullptr if no row is NULL.
    const std::int64_t *words = nullptr;
    const std::uint8_t *truth = nullptr; ///< 0 or 1
    const std::byte *const *starts = nullptr;
    const std::uint32_t *sizes = nullptr;
    const std::uint8_t *nulls = nullptr;

    // Room for the results of one block.
    std::int64_t *word_room = nullptr;
    std::uint8_t *truth_room = nullptr;
    const std::byte **start_room = nullptr;
    std::uint32_t *size_room = nullptr;
    std::uint8_t *null_room = nullptr;
    std::uint8_t *mask_room = nullptr; ///< rows that are still of interest
};

/// The lane may change between evaluations.
Expression *new_column(ValueType type, const Lane *lane, std::pmr::memory_resource *resource);

/// A word: of a number, or 0 and 1 of a bool. In the list of kIn one row is enough.
Expression *new_constant(ValueType type, std::int64_t word, std::pmr::memory_resource *resource,
                         std::uint32_t nrows = kBlockRows);

/// The bytes stay where they are.
Expression *new_constant(std::span<const std::byte> bytes, std::pmr::memory_resource *resource,
                         std::uint32_t nrows = kBlockRows);

Expression *new_null(ValueType type, std::pmr::memory_resource *resource,
                     std::uint32_t nrows = kBlockRows);

Expression *new_result_of(Expression *other, std::pmr::memory_resource *resource);

/// Anything else. `word` is the unit, above 0, of kBin and kFloor.
Expression *new_expression(ExpressionOp op, ValueType type, std::span<Expression *const> args,
                           std::pmr::memory_resource *resource, std::int64_t word = 0);

/// Evaluates rows 0 to nrows - 1 of the block for which `active` is 1 (it is 0 for others); the
/// other rows' results are of no use. False if a row needs the server's own function, which
/// will raise an error, most likely. Nothing of the result counts then.
[[nodiscard]] bool evaluate(Expression &expression, std::uint32_t nrows,
                            const std::uint8_t *active);

/// Takes the rows for which a condition is not true out of `active`.
void keep_true(const Expression &condition, std::uint32_t nrows, std::uint8_t *active);

} // namespace pipeline::agg
