// The loops of expressions: one function of one or two arguments over a block.
//
// Owns: nothing; results go to the rooms of the expression. May call: agg/expression and std; no
// server. Invariants: the arguments are evaluated; a NULL among them makes the result NULL, as
// the server's strict functions do; false as evaluate() says it.
#pragma once

#include "agg/expression.hpp"

namespace pipeline::agg {

/// kEqual to kGreaterOrEqual.
void compare(Expression &expression, std::uint32_t nrows, const std::uint8_t *active);

void compare_with_list(Expression &expression, std::uint32_t nrows, const std::uint8_t *active);

/// kAdd to kConvert.
[[nodiscard]] bool calculate(Expression &expression, std::uint32_t nrows,
                             const std::uint8_t *active);

} // namespace pipeline::agg
