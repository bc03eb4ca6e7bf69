// Which of the server's expressions agg/expression can evaluate, and how.
//
// Owns: the table of functions. May call: agg/expression, the server's catalogs and node trees.
// Invariants: an expression that it compiles has the value of ExecEvalExpr for every row, or
// agg::evaluate() refuses the block; nothing volatile is compiled, and nothing whose result
// depends on a setting.
#pragma once

#include "pg/postgres.hpp"

#include "agg/expression.hpp"
#include "partial/vector_plan.hpp"

namespace pipeline::partial {

/// Compiles the expressions of one run, in the order in which they will be evaluated.
struct ExpressionCompiler {
    std::pmr::memory_resource *memory;
    /// The lane of a column of the stream; values of `kNulls` are never looked at.
    const agg::Lane *(*column)(void *arg, AttrNumber attnum, LaneForm form);
    void *arg;

    int nknown; ///< evaluated before, for all rows that the next ones are evaluated for
    const Expr **known;
    agg::Expression **known_results;
    agg::Expression *test; ///< what CaseTestExpr means
};

/// nullptr if the server has to evaluate it.
agg::Expression *compile(ExpressionCompiler *compiler, const Expr *expr);

} // namespace pipeline::partial
