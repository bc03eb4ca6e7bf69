// The loops of expressions: one function of one or two arguments over a block.
//
// Owns: nothing; results go to the rooms of the expression. May call: agg/expression and std; no
// server. Invariants: the arguments are evaluated; a NULL among them makes the result NULL, as
// the server's strict functions do; false as evaluate() says it.
#pragma once

#include "agg/expression.hpp"

#include <bit>

namespace pipeline::agg {

using Word = std::int64_t;

inline double number_of(Word word)
{
    return std::bit_cast<double>(word);
}

inline Word word_of(double number)
{
    return std::bit_cast<Word>(number);
}

inline bool is_float(ValueType type)
{
    return type == ValueType::kFloat4 || type == ValueType::kFloat8;
}

/// The rows that a function is called for: its caller's, without those with a NULL.
inline const std::uint8_t *called_for(Expression &expression, std::uint32_t nrows,
                                      const std::uint8_t *active)
{
    if (expression.nulls == nullptr)
        return active;
    for (std::uint32_t i = 0; i < nrows; i++)
        expression.mask_room[i] = active[i] & (expression.nulls[i] ^ 1);
    return expression.mask_room;
}

/// Calls fn(row, a, b) for the words of two arguments.
template <typename Fn> void each_pair(const Expression &expression, std::uint32_t nrows, Fn &&fn)
{
    const Word *const a = expression.args[0]->words;
    const Expression &second = *expression.args[1];
    if (second.op == ExpressionOp::kConstant) {
        const Word b = second.word;
        for (std::uint32_t i = 0; i < nrows; i++)
            fn(i, a[i], b);
    } else {
        const Word *const b = second.words;
        for (std::uint32_t i = 0; i < nrows; i++)
            fn(i, a[i], b[i]);
    }
}

/// kEqual to kGreaterOrEqual.
void compare(Expression &expression, std::uint32_t nrows, const std::uint8_t *active);

void compare_with_list(Expression &expression, std::uint32_t nrows, const std::uint8_t *active);

/// kAdd to kConvert.
[[nodiscard]] bool calculate(Expression &expression, std::uint32_t nrows,
                             const std::uint8_t *active);

} // namespace pipeline::agg
