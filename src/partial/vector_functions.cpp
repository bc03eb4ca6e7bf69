#include "partial/vector_functions.hpp"

#include "pg/compat.hpp"

namespace pipeline::partial {
namespace {

using agg::ExpressionOp;
using agg::ValueType;

struct KnownFunctions {
    KnownFunction as;
    Oid functions[26];
};

/// The server's own functions that agg/kernels repeats. All are strict and immutable.
constexpr KnownFunctions kKnown[] = {
    {{ExpressionOp::kEqual, ValueType::kBool},
     {F_INT2EQ,  F_INT4EQ,       F_INT8EQ,         F_INT24EQ,  F_INT42EQ,   F_INT28EQ,   F_INT82EQ,
      F_INT48EQ, F_INT84EQ,      F_FLOAT4EQ,       F_FLOAT8EQ, F_FLOAT48EQ, F_FLOAT84EQ, F_DATE_EQ,
      F_TIME_EQ, F_TIMESTAMP_EQ, F_TIMESTAMPTZ_EQ, F_CASH_EQ,  F_BOOLEQ,    F_CHAREQ,    F_OIDEQ,
      F_ENUM_EQ, F_UUID_EQ,      F_TEXTEQ,         F_BYTEAEQ}},
    {{ExpressionOp::kNotEqual, ValueType::kBool},
     {F_INT2NE,  F_INT4NE,       F_INT8NE,         F_INT24NE,  F_INT42NE,   F_INT28NE,   F_INT82NE,
      F_INT48NE, F_INT84NE,      F_FLOAT4NE,       F_FLOAT8NE, F_FLOAT48NE, F_FLOAT84NE, F_DATE_NE,
      F_TIME_NE, F_TIMESTAMP_NE, F_TIMESTAMPTZ_NE, F_CASH_NE,  F_BOOLNE,    F_CHARNE,    F_OIDNE,
      F_ENUM_NE, F_UUID_NE,      F_TEXTNE,         F_BYTEANE}},
    {{ExpressionOp::kLess, ValueType::kBool},
     {F_INT2LT, F_INT4LT, F_INT8LT, F_INT24LT, F_INT42LT, F_INT28LT, F_INT82LT, F_INT48LT,
      F_INT84LT, F_FLOAT4LT, F_FLOAT8LT, F_FLOAT48LT, F_FLOAT84LT, F_DATE_LT, F_TIME_LT,
      F_TIMESTAMP_LT, F_TIMESTAMPTZ_LT, F_CASH_LT}},
    {{ExpressionOp::kLessOrEqual, ValueType::kBool},
     {F_INT2LE, F_INT4LE, F_INT8LE, F_INT24LE, F_INT42LE, F_INT28LE, F_INT82LE, F_INT48LE,
      F_INT84LE, F_FLOAT4LE, F_FLOAT8LE, F_FLOAT48LE, F_FLOAT84LE, F_DATE_LE, F_TIME_LE,
      F_TIMESTAMP_LE, F_TIMESTAMPTZ_LE, F_CASH_LE}},
    {{ExpressionOp::kGreater, ValueType::kBool},
     {F_INT2GT, F_INT4GT, F_INT8GT, F_INT24GT, F_INT42GT, F_INT28GT, F_INT82GT, F_INT48GT,
      F_INT84GT, F_FLOAT4GT, F_FLOAT8GT, F_FLOAT48GT, F_FLOAT84GT, F_DATE_GT, F_TIME_GT,
      F_TIMESTAMP_GT, F_TIMESTAMPTZ_GT, F_CASH_GT}},
    {{ExpressionOp::kGreaterOrEqual, ValueType::kBool},
     {F_INT2GE, F_INT4GE, F_INT8GE, F_INT24GE, F_INT42GE, F_INT28GE, F_INT82GE, F_INT48GE,
      F_INT84GE, F_FLOAT4GE, F_FLOAT8GE, F_FLOAT48GE, F_FLOAT84GE, F_DATE_GE, F_TIME_GE,
      F_TIMESTAMP_GE, F_TIMESTAMPTZ_GE, F_CASH_GE}},
    {{ExpressionOp::kAdd, ValueType::kInt2}, {F_INT2PL}},
    {{ExpressionOp::kAdd, ValueType::kInt4}, {F_INT4PL, F_INT24PL, F_INT42PL}},
    {{ExpressionOp::kAdd, ValueType::kInt8},
     {F_INT8PL, F_INT28PL, F_INT82PL, F_INT48PL, F_INT84PL}},
    {{ExpressionOp::kAdd, ValueType::kFloat4}, {F_FLOAT4PL}},
    {{ExpressionOp::kAdd, ValueType::kFloat8}, {F_FLOAT8PL, F_FLOAT48PL, F_FLOAT84PL}},
    {{ExpressionOp::kSubtract, ValueType::kInt2}, {F_INT2MI}},
    {{ExpressionOp::kSubtract, ValueType::kInt4}, {F_INT4MI, F_INT24MI, F_INT42MI}},
    {{ExpressionOp::kSubtract, ValueType::kInt8},
     {F_INT8MI, F_INT28MI, F_INT82MI, F_INT48MI, F_INT84MI}},
    {{ExpressionOp::kSubtract, ValueType::kFloat4}, {F_FLOAT4MI}},
    {{ExpressionOp::kSubtract, ValueType::kFloat8}, {F_FLOAT8MI, F_FLOAT48MI, F_FLOAT84MI}},
    {{ExpressionOp::kMultiply, ValueType::kInt2}, {F_INT2MUL}},
    {{ExpressionOp::kMultiply, ValueType::kInt4}, {F_INT4MUL, F_INT24MUL, F_INT42MUL}},
    {{ExpressionOp::kMultiply, ValueType::kInt8},
     {F_INT8MUL, F_INT28MUL, F_INT82MUL, F_INT48MUL, F_INT84MUL}},
    {{ExpressionOp::kMultiply, ValueType::kFloat4}, {F_FLOAT4MUL}},
    {{ExpressionOp::kMultiply, ValueType::kFloat8}, {F_FLOAT8MUL, F_FLOAT48MUL, F_FLOAT84MUL}},
    {{ExpressionOp::kDivide, ValueType::kInt2}, {F_INT2DIV}},
    {{ExpressionOp::kDivide, ValueType::kInt4}, {F_INT4DIV, F_INT24DIV, F_INT42DIV}},
    {{ExpressionOp::kDivide, ValueType::kInt8},
     {F_INT8DIV, F_INT28DIV, F_INT82DIV, F_INT48DIV, F_INT84DIV}},
    {{ExpressionOp::kDivide, ValueType::kFloat4}, {F_FLOAT4DIV}},
    {{ExpressionOp::kDivide, ValueType::kFloat8}, {F_FLOAT8DIV, F_FLOAT48DIV, F_FLOAT84DIV}},
    {{ExpressionOp::kModulo, ValueType::kInt2}, {F_INT2MOD, F_MOD_INT2_INT2}},
    {{ExpressionOp::kModulo, ValueType::kInt4}, {F_INT4MOD, F_MOD_INT4_INT4}},
    {{ExpressionOp::kModulo, ValueType::kInt8}, {F_INT8MOD, F_MOD_INT8_INT8}},
    {{ExpressionOp::kNegate, ValueType::kInt2}, {F_INT2UM}},
    {{ExpressionOp::kNegate, ValueType::kInt4}, {F_INT4UM}},
    {{ExpressionOp::kNegate, ValueType::kInt8}, {F_INT8UM}},
    {{ExpressionOp::kNegate, ValueType::kFloat4}, {F_FLOAT4UM}},
    {{ExpressionOp::kNegate, ValueType::kFloat8}, {F_FLOAT8UM}},
    {{ExpressionOp::kAbsolute, ValueType::kInt2}, {F_INT2ABS, F_ABS_INT2}},
    {{ExpressionOp::kAbsolute, ValueType::kInt4}, {F_INT4ABS, F_ABS_INT4}},
    {{ExpressionOp::kAbsolute, ValueType::kInt8}, {F_INT8ABS, F_ABS_INT8}},
    {{ExpressionOp::kAbsolute, ValueType::kFloat4}, {F_FLOAT4ABS, F_ABS_FLOAT4}},
    {{ExpressionOp::kAbsolute, ValueType::kFloat8}, {F_FLOAT8ABS, F_ABS_FLOAT8}},
    {{ExpressionOp::kConvert, ValueType::kInt2},
     {F_INT2_INT4, F_INT2_INT8, F_INT2_FLOAT4, F_INT2_FLOAT8}},
    {{ExpressionOp::kConvert, ValueType::kInt4},
     {F_INT4_INT2, F_INT4_INT8, F_INT4_FLOAT4, F_INT4_FLOAT8, F_INT4_BOOL}},
    {{ExpressionOp::kConvert, ValueType::kInt8},
     {F_INT8_INT2, F_INT8_INT4, F_INT8_FLOAT4, F_INT8_FLOAT8}},
    {{ExpressionOp::kConvert, ValueType::kFloat4},
     {F_FLOAT4_INT2, F_FLOAT4_INT4, F_FLOAT4_INT8, F_FLOAT4_FLOAT8}},
    {{ExpressionOp::kConvert, ValueType::kFloat8},
     {F_FLOAT8_INT2, F_FLOAT8_INT4, F_FLOAT8_INT8, F_FLOAT8_FLOAT4}},
    {{ExpressionOp::kDay, ValueType::kInt4}, {F_DATE_TIMESTAMP}},
};

} // namespace

const KnownFunction *known_function(Oid function)
{
    for (const KnownFunctions &known : kKnown)
        for (Oid const oid : known.functions)
            if (oid == function && OidIsValid(oid))
                return &known.as;
    return nullptr;
}

} // namespace pipeline::partial
