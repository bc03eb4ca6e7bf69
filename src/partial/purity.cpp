#include "partial/purity.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/transam.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
}

namespace pipeline::partial {
namespace {

/// Declared stable for the time zone alone.
constexpr Oid kOfTimeZone[] = {
    F_DATE_TRUNC_TEXT_TIMESTAMPTZ,
    F_DATE_PART_TEXT_TIMESTAMPTZ,
    F_EXTRACT_TEXT_TIMESTAMPTZ,
    F_DATE_TIMESTAMPTZ,
    F_TIME_TIMESTAMPTZ,
    F_TIMETZ_TIMESTAMPTZ,
    F_TIMESTAMP_TIMESTAMPTZ,
    F_TIMESTAMPTZ_TIMESTAMP,
    F_TIMESTAMPTZ_DATE,
    F_TIMESTAMPTZ_PL_INTERVAL,
    F_TIMESTAMPTZ_MI_INTERVAL,
    F_INTERVAL_PL_TIMESTAMPTZ,
    F_DATE_EQ_TIMESTAMPTZ,
    F_DATE_NE_TIMESTAMPTZ,
    F_DATE_LT_TIMESTAMPTZ,
    F_DATE_LE_TIMESTAMPTZ,
    F_DATE_GT_TIMESTAMPTZ,
    F_DATE_GE_TIMESTAMPTZ,
    F_TIMESTAMPTZ_EQ_DATE,
    F_TIMESTAMPTZ_NE_DATE,
    F_TIMESTAMPTZ_LT_DATE,
    F_TIMESTAMPTZ_LE_DATE,
    F_TIMESTAMPTZ_GT_DATE,
    F_TIMESTAMPTZ_GE_DATE,
    F_TIMESTAMP_EQ_TIMESTAMPTZ,
    F_TIMESTAMP_NE_TIMESTAMPTZ,
    F_TIMESTAMP_LT_TIMESTAMPTZ,
    F_TIMESTAMP_LE_TIMESTAMPTZ,
    F_TIMESTAMP_GT_TIMESTAMPTZ,
    F_TIMESTAMP_GE_TIMESTAMPTZ,
    F_TIMESTAMPTZ_EQ_TIMESTAMP,
    F_TIMESTAMPTZ_NE_TIMESTAMP,
    F_TIMESTAMPTZ_LT_TIMESTAMP,
    F_TIMESTAMPTZ_LE_TIMESTAMP,
    F_TIMESTAMPTZ_GT_TIMESTAMP,
    F_TIMESTAMPTZ_GE_TIMESTAMP,
};

/// Declared immutable, and yet they depend on settings: extra_float_digits, IntervalStyle,
/// bytea_output, quote_all_identifiers.
constexpr Oid kOfOtherSettings[] = {
    F_FLOAT4OUT, F_FLOAT8OUT, F_INTERVAL_OUT, F_BYTEAOUT, F_POINT_OUT,  F_LSEG_OUT,
    F_PATH_OUT,  F_BOX_OUT,   F_LINE_OUT,     F_POLY_OUT, F_CIRCLE_OUT, F_QUOTE_IDENT,
};

/// Functions of the server call those of the type that they are given: record_eq, array_eq,
/// range_eq. Those must be the server's own, too.
bool is_own_type(Oid type)
{
    Oid const base = getBaseType(type);
    return base < FirstNormalObjectId || type_is_enum(base);
}

struct Walk {
    Purity worst;

    bool note(Purity purity)
    {
        worst = Max(worst, purity);
        return worst == Purity::kImpure;
    }
};

Purity purity_of_function(Oid function)
{
    // Functions of extensions have larger numbers, and may call whatever they like.
    if (function >= FirstNormalObjectId)
        return Purity::kImpure;
    for (Oid const known : kOfOtherSettings)
        if (known == function)
            return Purity::kImpure;
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
        return Purity::kPure;
    for (Oid const known : kOfTimeZone)
        if (known == function)
            return Purity::kTimeZoneOnly;
    return Purity::kImpure;
}

extern "C" bool pipeline_check_function(Oid function, void *context)
{
    return static_cast<Walk *>(context)->note(purity_of_function(function));
}

/// Node types whose functions check_functions_in_node() does not see, and that can be trusted; a
/// type's own comparison or check may be a user's.
bool is_harmless(const Node *node)
{
    switch (nodeTag(node)) {
    case T_Var:
    case T_Const:
    case T_FuncExpr:
    case T_OpExpr:
    case T_DistinctExpr:
    case T_NullIfExpr:
    case T_ScalarArrayOpExpr:
    case T_BoolExpr:
    case T_RelabelType:
    case T_CoerceViaIO:
    case T_CaseExpr:
    case T_CaseWhen:
    case T_CaseTestExpr:
    case T_CoalesceExpr:
    case T_NullTest:
    case T_BooleanTest:
    case T_List:
        return true;
    case T_MinMaxExpr:
        return reinterpret_cast<const MinMaxExpr *>(node)->minmaxtype < FirstNormalObjectId;
    default:
        return false;
    }
}

extern "C" bool pipeline_purity_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    auto *const walk = static_cast<Walk *>(context);
    bool const is_leaf = IsA(node, Var) || IsA(node, Const);
    if (!is_harmless(node) || (is_leaf && !is_own_type(exprType(node))))
        return walk->note(Purity::kImpure);
    if (check_functions_in_node(node, pipeline_check_function, context))
        return true;
    return pg::walk_expression(node, pipeline_purity_walker, context);
}

} // namespace

Purity purity_of(const VectorPlan *plan)
{
    Walk walk{Purity::kPure};
    (void) pipeline_purity_walker(reinterpret_cast<Node *>(plan->scan->scan.plan.qual), &walk);
    // A plain column is not evaluated.
    for (int i = 0; i < plan->ninputs; i++)
        if (plan->inputs[i].attnum == 0)
            (void) pipeline_purity_walker(reinterpret_cast<Node *>(plan->inputs[i].expr), &walk);
    return walk.worst;
}

} // namespace pipeline::partial
