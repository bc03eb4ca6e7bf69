#include "partial/vector_expr.hpp"

#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "datatype/timestamp.h"
#include "utils/array.h"
}

namespace pipeline::partial {
namespace {

using agg::Expression;
using agg::ExpressionOp;
using agg::ValueType;

/// Longer lists are the executor's: it looks them up in a hash table.
constexpr int kMaxList = 32;
constexpr int kMaxArguments = 64;

struct KnownFunctions {
    ExpressionOp op;
    ValueType result;
    Oid functions[26];
};

/// The server's own functions that agg/kernels repeats. All are strict and immutable.
constexpr KnownFunctions kKnown[] = {
    {ExpressionOp::kEqual,
     ValueType::kBool,
     {F_INT2EQ,  F_INT4EQ,       F_INT8EQ,         F_INT24EQ,  F_INT42EQ,   F_INT28EQ,   F_INT82EQ,
      F_INT48EQ, F_INT84EQ,      F_FLOAT4EQ,       F_FLOAT8EQ, F_FLOAT48EQ, F_FLOAT84EQ, F_DATE_EQ,
      F_TIME_EQ, F_TIMESTAMP_EQ, F_TIMESTAMPTZ_EQ, F_CASH_EQ,  F_BOOLEQ,    F_CHAREQ,    F_OIDEQ,
      F_ENUM_EQ, F_UUID_EQ,      F_TEXTEQ,         F_BYTEAEQ}},
    {ExpressionOp::kNotEqual,
     ValueType::kBool,
     {F_INT2NE,  F_INT4NE,       F_INT8NE,         F_INT24NE,  F_INT42NE,   F_INT28NE,   F_INT82NE,
      F_INT48NE, F_INT84NE,      F_FLOAT4NE,       F_FLOAT8NE, F_FLOAT48NE, F_FLOAT84NE, F_DATE_NE,
      F_TIME_NE, F_TIMESTAMP_NE, F_TIMESTAMPTZ_NE, F_CASH_NE,  F_BOOLNE,    F_CHARNE,    F_OIDNE,
      F_ENUM_NE, F_UUID_NE,      F_TEXTNE,         F_BYTEANE}},
    {ExpressionOp::kLess,
     ValueType::kBool,
     {F_INT2LT, F_INT4LT, F_INT8LT, F_INT24LT, F_INT42LT, F_INT28LT, F_INT82LT, F_INT48LT,
      F_INT84LT, F_FLOAT4LT, F_FLOAT8LT, F_FLOAT48LT, F_FLOAT84LT, F_DATE_LT, F_TIME_LT,
      F_TIMESTAMP_LT, F_TIMESTAMPTZ_LT, F_CASH_LT}},
    {ExpressionOp::kLessOrEqual,
     ValueType::kBool,
     {F_INT2LE, F_INT4LE, F_INT8LE, F_INT24LE, F_INT42LE, F_INT28LE, F_INT82LE, F_INT48LE,
      F_INT84LE, F_FLOAT4LE, F_FLOAT8LE, F_FLOAT48LE, F_FLOAT84LE, F_DATE_LE, F_TIME_LE,
      F_TIMESTAMP_LE, F_TIMESTAMPTZ_LE, F_CASH_LE}},
    {ExpressionOp::kGreater,
     ValueType::kBool,
     {F_INT2GT, F_INT4GT, F_INT8GT, F_INT24GT, F_INT42GT, F_INT28GT, F_INT82GT, F_INT48GT,
      F_INT84GT, F_FLOAT4GT, F_FLOAT8GT, F_FLOAT48GT, F_FLOAT84GT, F_DATE_GT, F_TIME_GT,
      F_TIMESTAMP_GT, F_TIMESTAMPTZ_GT, F_CASH_GT}},
    {ExpressionOp::kGreaterOrEqual,
     ValueType::kBool,
     {F_INT2GE, F_INT4GE, F_INT8GE, F_INT24GE, F_INT42GE, F_INT28GE, F_INT82GE, F_INT48GE,
      F_INT84GE, F_FLOAT4GE, F_FLOAT8GE, F_FLOAT48GE, F_FLOAT84GE, F_DATE_GE, F_TIME_GE,
      F_TIMESTAMP_GE, F_TIMESTAMPTZ_GE, F_CASH_GE}},
    {ExpressionOp::kAdd, ValueType::kInt2, {F_INT2PL}},
    {ExpressionOp::kAdd, ValueType::kInt4, {F_INT4PL, F_INT24PL, F_INT42PL}},
    {ExpressionOp::kAdd, ValueType::kInt8, {F_INT8PL, F_INT28PL, F_INT82PL, F_INT48PL, F_INT84PL}},
    {ExpressionOp::kAdd, ValueType::kFloat4, {F_FLOAT4PL}},
    {ExpressionOp::kAdd, ValueType::kFloat8, {F_FLOAT8PL, F_FLOAT48PL, F_FLOAT84PL}},
    {ExpressionOp::kSubtract, ValueType::kInt2, {F_INT2MI}},
    {ExpressionOp::kSubtract, ValueType::kInt4, {F_INT4MI, F_INT24MI, F_INT42MI}},
    {ExpressionOp::kSubtract,
     ValueType::kInt8,
     {F_INT8MI, F_INT28MI, F_INT82MI, F_INT48MI, F_INT84MI}},
    {ExpressionOp::kSubtract, ValueType::kFloat4, {F_FLOAT4MI}},
    {ExpressionOp::kSubtract, ValueType::kFloat8, {F_FLOAT8MI, F_FLOAT48MI, F_FLOAT84MI}},
    {ExpressionOp::kMultiply, ValueType::kInt2, {F_INT2MUL}},
    {ExpressionOp::kMultiply, ValueType::kInt4, {F_INT4MUL, F_INT24MUL, F_INT42MUL}},
    {ExpressionOp::kMultiply,
     ValueType::kInt8,
     {F_INT8MUL, F_INT28MUL, F_INT82MUL, F_INT48MUL, F_INT84MUL}},
    {ExpressionOp::kMultiply, ValueType::kFloat4, {F_FLOAT4MUL}},
    {ExpressionOp::kMultiply, ValueType::kFloat8, {F_FLOAT8MUL, F_FLOAT48MUL, F_FLOAT84MUL}},
    {ExpressionOp::kDivide, ValueType::kInt2, {F_INT2DIV}},
    {ExpressionOp::kDivide, ValueType::kInt4, {F_INT4DIV, F_INT24DIV, F_INT42DIV}},
    {ExpressionOp::kDivide,
     ValueType::kInt8,
     {F_INT8DIV, F_INT28DIV, F_INT82DIV, F_INT48DIV, F_INT84DIV}},
    {ExpressionOp::kDivide, ValueType::kFloat4, {F_FLOAT4DIV}},
    {ExpressionOp::kDivide, ValueType::kFloat8, {F_FLOAT8DIV, F_FLOAT48DIV, F_FLOAT84DIV}},
    {ExpressionOp::kModulo, ValueType::kInt2, {F_INT2MOD, F_MOD_INT2_INT2}},
    {ExpressionOp::kModulo, ValueType::kInt4, {F_INT4MOD, F_MOD_INT4_INT4}},
    {ExpressionOp::kModulo, ValueType::kInt8, {F_INT8MOD, F_MOD_INT8_INT8}},
    {ExpressionOp::kNegate, ValueType::kInt2, {F_INT2UM}},
    {ExpressionOp::kNegate, ValueType::kInt4, {F_INT4UM}},
    {ExpressionOp::kNegate, ValueType::kInt8, {F_INT8UM}},
    {ExpressionOp::kNegate, ValueType::kFloat4, {F_FLOAT4UM}},
    {ExpressionOp::kNegate, ValueType::kFloat8, {F_FLOAT8UM}},
    {ExpressionOp::kAbsolute, ValueType::kInt2, {F_INT2ABS, F_ABS_INT2}},
    {ExpressionOp::kAbsolute, ValueType::kInt4, {F_INT4ABS, F_ABS_INT4}},
    {ExpressionOp::kAbsolute, ValueType::kInt8, {F_INT8ABS, F_ABS_INT8}},
    {ExpressionOp::kAbsolute, ValueType::kFloat4, {F_FLOAT4ABS, F_ABS_FLOAT4}},
    {ExpressionOp::kAbsolute, ValueType::kFloat8, {F_FLOAT8ABS, F_ABS_FLOAT8}},
    {ExpressionOp::kConvert,
     ValueType::kInt2,
     {F_INT2_INT4, F_INT2_INT8, F_INT2_FLOAT4, F_INT2_FLOAT8}},
    {ExpressionOp::kConvert,
     ValueType::kInt4,
     {F_INT4_INT2, F_INT4_INT8, F_INT4_FLOAT4, F_INT4_FLOAT8, F_INT4_BOOL}},
    {ExpressionOp::kConvert,
     ValueType::kInt8,
     {F_INT8_INT2, F_INT8_INT4, F_INT8_FLOAT4, F_INT8_FLOAT8}},
    {ExpressionOp::kConvert,
     ValueType::kFloat4,
     {F_FLOAT4_INT2, F_FLOAT4_INT4, F_FLOAT4_INT8, F_FLOAT4_FLOAT8}},
    {ExpressionOp::kConvert,
     ValueType::kFloat8,
     {F_FLOAT8_INT2, F_FLOAT8_INT4, F_FLOAT8_INT8, F_FLOAT8_FLOAT4}},
    {ExpressionOp::kDay, ValueType::kInt4, {F_DATE_TIMESTAMP}},
};

const KnownFunctions *known_function(Oid function)
{
    for (const KnownFunctions &known : kKnown)
        for (Oid const oid : known.functions)
            if (oid == function && OidIsValid(oid))
                return &known;
    return nullptr;
}

struct Representation {
    bool served;
    ValueType type;
    LaneForm form;
};

/// Of the types for which only equality is known, no other function is in the table.
Representation representation(Oid type)
{
    switch (getBaseType(type)) {
    case BOOLOID:
        return {true, ValueType::kBool, LaneForm::kWord};
    case CHAROID:
    case INT2OID:
        return {true, ValueType::kInt2, LaneForm::kWord};
    case INT4OID:
    case DATEOID:
    case OIDOID:
        return {true, ValueType::kInt4, LaneForm::kWord};
    case INT8OID:
    case TIMEOID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
    case CASHOID:
        return {true, ValueType::kInt8, LaneForm::kWord};
    case FLOAT4OID:
        return {true, ValueType::kFloat4, LaneForm::kFloat4};
    case FLOAT8OID:
        return {true, ValueType::kFloat8, LaneForm::kWord};
    case TEXTOID:
    case VARCHAROID:
    case BYTEAOID:
        return {true, ValueType::kBytes, LaneForm::kText};
    case UUIDOID:
        return {true, ValueType::kBytes, LaneForm::kBlock};
    default:
        return {type_is_enum(getBaseType(type)), ValueType::kInt4, LaneForm::kWord};
    }
}

bool is_int(ValueType type)
{
    return type == ValueType::kInt2 || type == ValueType::kInt4 || type == ValueType::kInt8;
}

bool is_float(ValueType type)
{
    return type == ValueType::kFloat4 || type == ValueType::kFloat8;
}

// ---- building ------------------------------------------------------------------------------

Expression *build(ExpressionCompiler *compiler, ExpressionOp op, ValueType type,
                  Expression *const *args, int nargs, int64 word = 0)
{
    return pg::enter([&] {
        return agg::new_expression(op, type, {args, static_cast<Size>(nargs)}, compiler->memory,
                                   word);
    });
}

Expression *build_column(ExpressionCompiler *compiler, ValueType type, const agg::Lane *lane)
{
    return pg::enter([&] { return agg::new_column(type, lane, compiler->memory); });
}

Expression *build_result_of(ExpressionCompiler *compiler, Expression *other)
{
    return pg::enter([&] { return agg::new_result_of(other, compiler->memory); });
}

/// The word of a lane: sign-extended, as fill_words() of vector_lanes.cpp has it.
int64 word_of(Datum value, ValueType type, int16 length)
{
    if (type == ValueType::kFloat4) {
        float8 const number = static_cast<float8>(DatumGetFloat4(value));
        return static_cast<int64>(Float8GetDatum(number));
    }
    switch (length) {
    case 1:
        return static_cast<int8>(value);
    case 2:
        return static_cast<int16>(value);
    case 4:
        return static_cast<int32>(value);
    default:
        return static_cast<int64>(value);
    }
}

Expression *build_constant(ExpressionCompiler *compiler, Oid type_oid, Datum value, bool isnull,
                           uint32 nrows = agg::kBlockRows)
{
    Representation const as = representation(type_oid);
    if (!as.served)
        return nullptr;
    if (isnull)
        return pg::enter([&] { return agg::new_null(as.type, compiler->memory, nrows); });
    int16 const length = get_typlen(type_oid);
    if (as.type != ValueType::kBytes)
        return pg::enter([&] {
            return agg::new_constant(as.type, word_of(value, as.type, length), compiler->memory,
                                     nrows);
        });
    const char *start = DatumGetPointer(value);
    Size size = static_cast<Size>(length);
    if (as.form == LaneForm::kText) {
        const varlena *const plain = PG_DETOAST_DATUM_PACKED(value);
        start = VARDATA_ANY(plain);
        size = VARSIZE_ANY_EXHDR(plain);
    }
    return pg::enter([&] {
        return agg::new_constant({reinterpret_cast<const std::byte *>(start), size},
                                 compiler->memory, nrows);
    });
}

// ---- the kinds of nodes --------------------------------------------------------------------

/// Compiles a list; -1 if one of its members is not served.
int compile_list(ExpressionCompiler *compiler, const List *list, Expression **args)
{
    int nargs = 0;
    if (list_length(list) > kMaxArguments)
        return -1;
    for (auto *expr : pg::each<Expr>(list)) {
        args[nargs] = compile(compiler, expr);
        if (args[nargs++] == nullptr)
            return -1;
    }
    return nargs;
}

Expression *compile_var(ExpressionCompiler *compiler, const Var *var)
{
    Representation const as = representation(var->vartype);
    if (!as.served || var->varattno <= 0)
        return nullptr;
    return build_column(compiler, as.type, compiler->column(compiler->arg, var->varattno, as.form));
}

/// text and varchar are equal if their bytes are, in a deterministic collation (varlena.c, texteq).
bool has_bytewise_equality(Oid collation)
{
    return OidIsValid(collation) && get_collation_isdeterministic(collation);
}

bool is_text(const Expr *expr)
{
    Oid const type = getBaseType(exprType(reinterpret_cast<const Node *>(expr)));
    return type == TEXTOID || type == VARCHAROID;
}

bool may_compare(ValueType a, ValueType b)
{
    return a == b || (is_int(a) && is_int(b)) || (is_float(a) && is_float(b));
}

/// date_trunc(text, timestamp) to units of a fixed length.
Expression *compile_date_trunc(ExpressionCompiler *compiler, const List *arguments)
{
    struct Unit {
        const char *name;
        int64 length;
    };
    constexpr Unit kUnits[] = {{"second", USECS_PER_SEC},
                               {"minute", USECS_PER_MINUTE},
                               {"hour", USECS_PER_HOUR},
                               {"day", USECS_PER_DAY}};
    auto *name = static_cast<Const *>(linitial(arguments));
    if (!IsA(name, Const) || name->constisnull)
        return nullptr;
    const varlena *const text = PG_DETOAST_DATUM_PACKED(name->constvalue);
    for (const Unit &unit : kUnits)
        if (VARSIZE_ANY_EXHDR(text) == strlen(unit.name) &&
            memcmp(VARDATA_ANY(text), unit.name, strlen(unit.name)) == 0) {
            Expression *const time = compile(compiler, static_cast<Expr *>(lsecond(arguments)));
            return time == nullptr ? nullptr
                                   : build(compiler, ExpressionOp::kFloor, ValueType::kInt8, &time,
                                           1, unit.length);
        }
    return nullptr;
}

Expression *compile_call(ExpressionCompiler *compiler, Oid function, Oid collation,
                         const List *arguments)
{
    if (function == F_DATE_TRUNC_TEXT_TIMESTAMP)
        return compile_date_trunc(compiler, arguments);
    const KnownFunctions *const known = known_function(function);
    Expression *args[2];
    if (known == nullptr || list_length(arguments) > 2 ||
        (is_text(static_cast<Expr *>(linitial(arguments))) && !has_bytewise_equality(collation)))
        return nullptr;
    int const nargs = compile_list(compiler, arguments, args);
    if (nargs < 0 || (nargs == 2 && !may_compare(args[0]->type, args[1]->type)))
        return nullptr;
    return build(compiler, known->op, known->result, args, nargs);
}

Expression *compile_in(ExpressionCompiler *compiler, const ScalarArrayOpExpr *expr)
{
    const KnownFunctions *const known = known_function(expr->opfuncid);
    auto *list = static_cast<Const *>(lsecond(expr->args));
    auto *value = static_cast<Expr *>(linitial(expr->args));
    ExpressionOp const op = expr->useOr ? ExpressionOp::kEqual : ExpressionOp::kNotEqual;
    if (known == nullptr || known->op != op || !IsA(list, Const) || list->constisnull ||
        (is_text(value) && !has_bytewise_equality(expr->inputcollid)))
        return nullptr;
    ArrayType *const array = DatumGetArrayTypeP(list->constvalue);
    Oid const type = ARR_ELEMTYPE(array);
    int16 length;
    bool byval;
    char align;
    get_typlenbyvalalign(type, &length, &byval, &align);
    Datum *values;
    bool *nulls;
    int nvalues;
    deconstruct_array(array, type, length, byval, align, &values, &nulls, &nvalues);
    if (nvalues == 0 || nvalues > kMaxList)
        return nullptr;
    Expression *args[kMaxList + 1];
    args[0] = compile(compiler, value);
    if (args[0] == nullptr || args[0]->type == ValueType::kBool)
        return nullptr;
    for (int i = 0; i < nvalues; i++) {
        args[i + 1] = build_constant(compiler, type, values[i], nulls[i], 1);
        if (args[i + 1] == nullptr || !may_compare(args[0]->type, args[i + 1]->type))
            return nullptr;
    }
    Expression *const in = build(compiler, ExpressionOp::kIn, ValueType::kBool, args, nvalues + 1);
    return expr->useOr ? in : build(compiler, ExpressionOp::kNot, ValueType::kBool, &in, 1);
}

Expression *compile_bool(ExpressionCompiler *compiler, const BoolExpr *expr)
{
    Expression *args[kMaxArguments];
    int const nargs = compile_list(compiler, expr->args, args);
    if (nargs < 0)
        return nullptr;
    ExpressionOp const op = expr->boolop == AND_EXPR  ? ExpressionOp::kAnd
                            : expr->boolop == OR_EXPR ? ExpressionOp::kOr
                                                      : ExpressionOp::kNot;
    return build(compiler, op, ValueType::kBool, args, nargs);
}

/// Of a column of any type: nothing but its NULLs is read.
Expression *compile_null_test(ExpressionCompiler *compiler, const NullTest *expr)
{
    if (expr->argisrow)
        return nullptr;
    const auto *var = reinterpret_cast<const Var *>(expr->arg);
    Expression *const argument =
        !IsA(var, Var) ? compile(compiler, expr->arg)
        : var->varattno <= 0
            ? nullptr
            : build_column(compiler, ValueType::kInt8,
                           compiler->column(compiler->arg, var->varattno, LaneForm::kNulls));
    if (argument == nullptr)
        return nullptr;
    return build(compiler,
                 expr->nulltesttype == IS_NULL ? ExpressionOp::kIsNull : ExpressionOp::kIsNotNull,
                 ValueType::kBool, &argument, 1);
}

Expression *compile_bool_test(ExpressionCompiler *compiler, const BooleanTest *expr)
{
    Expression *const argument = compile(compiler, expr->arg);
    ExpressionOp op = ExpressionOp::kIsNotNull;
    switch (expr->booltesttype) {
    case IS_TRUE:
        op = ExpressionOp::kIsTrue;
        break;
    case IS_NOT_TRUE:
        op = ExpressionOp::kIsNotTrue;
        break;
    case IS_FALSE:
        op = ExpressionOp::kIsFalse;
        break;
    case IS_NOT_FALSE:
        op = ExpressionOp::kIsNotFalse;
        break;
    case IS_UNKNOWN:
        op = ExpressionOp::kIsNull;
        break;
    case IS_NOT_UNKNOWN:
        break;
    }
    return argument == nullptr ? nullptr : build(compiler, op, ValueType::kBool, &argument, 1);
}

Expression *compile_coalesce(ExpressionCompiler *compiler, const CoalesceExpr *expr)
{
    Expression *args[kMaxArguments];
    int const nargs = compile_list(compiler, expr->args, args);
    for (int i = 1; i < nargs; i++)
        if (args[i]->type != args[0]->type)
            return nullptr;
    return nargs <= 0 ? nullptr
                      : build(compiler, ExpressionOp::kCoalesce, args[0]->type, args, nargs);
}

/// A CASE that has been opened up to its conditions: compiler->test is set if it has a value.
Expression *compile_cases(ExpressionCompiler *compiler, const CaseExpr *expr, Expression *value)
{
    Expression *args[kMaxArguments];
    int nargs = 0;
    if (2 * list_length(expr->args) + 2 > kMaxArguments)
        return nullptr;
    if (value != nullptr)
        args[nargs++] = value;
    for (auto *when : pg::each<CaseWhen>(expr->args)) {
        args[nargs] = compile(compiler, when->expr);
        args[nargs + 1] = compile(compiler, when->result);
        if (args[nargs] == nullptr || args[nargs + 1] == nullptr)
            return nullptr;
        nargs += 2;
    }
    args[nargs++] = expr->defresult != nullptr
                        ? compile(compiler, expr->defresult)
                        : build_constant(compiler, expr->casetype, Datum{0}, true);
    if (args[nargs - 1] == nullptr)
        return nullptr;
    ValueType const type = args[nargs - 1]->type;
    for (int i = nargs - 2; i > 0; i -= 2)
        if (args[i]->type != type)
            return nullptr;
    return build(compiler, value == nullptr ? ExpressionOp::kCase : ExpressionOp::kTestCase, type,
                 args, nargs);
}

Expression *compile_case(ExpressionCompiler *compiler, const CaseExpr *expr)
{
    if (expr->arg == nullptr)
        return compile_cases(compiler, expr, nullptr);
    Expression *const value = compile(compiler, expr->arg);
    if (value == nullptr)
        return nullptr;
    Expression *const outer = compiler->test;
    compiler->test = value;
    Expression *const result = compile_cases(compiler, expr, value);
    compiler->test = outer;
    return result;
}

} // namespace

agg::Expression *compile(ExpressionCompiler *compiler, const Expr *expr)
{
    check_stack_depth();
    for (int i = 0; i < compiler->nknown; i++)
        if (equal(compiler->known[i], expr))
            return build_result_of(compiler, compiler->known_results[i]);
    switch (nodeTag(expr)) {
    case T_Var:
        return compile_var(compiler, reinterpret_cast<const Var *>(expr));
    case T_Const: {
        const auto *constant = reinterpret_cast<const Const *>(expr);
        return build_constant(compiler, constant->consttype, constant->constvalue,
                              constant->constisnull);
    }
    case T_RelabelType: { // a pun on the same bits, or another name for the same type
        Expr *const argument = reinterpret_cast<const RelabelType *>(expr)->arg;
        Representation const from = representation(exprType(reinterpret_cast<Node *>(argument)));
        Representation const to =
            representation(reinterpret_cast<const RelabelType *>(expr)->resulttype);
        return from.served && to.served && from.type == to.type && from.form == to.form
                   ? compile(compiler, argument)
                   : nullptr;
    }
    case T_OpExpr: {
        const auto *call = reinterpret_cast<const OpExpr *>(expr);
        return compile_call(compiler, call->opfuncid, call->inputcollid, call->args);
    }
    case T_FuncExpr: {
        const auto *call = reinterpret_cast<const FuncExpr *>(expr);
        return call->args == NIL
                   ? nullptr
                   : compile_call(compiler, call->funcid, call->inputcollid, call->args);
    }
    case T_ScalarArrayOpExpr:
        return compile_in(compiler, reinterpret_cast<const ScalarArrayOpExpr *>(expr));
    case T_BoolExpr:
        return compile_bool(compiler, reinterpret_cast<const BoolExpr *>(expr));
    case T_NullTest:
        return compile_null_test(compiler, reinterpret_cast<const NullTest *>(expr));
    case T_BooleanTest:
        return compile_bool_test(compiler, reinterpret_cast<const BooleanTest *>(expr));
    case T_CoalesceExpr:
        return compile_coalesce(compiler, reinterpret_cast<const CoalesceExpr *>(expr));
    case T_CaseExpr:
        return compile_case(compiler, reinterpret_cast<const CaseExpr *>(expr));
    case T_CaseTestExpr:
        return compiler->test == nullptr ? nullptr : build_result_of(compiler, compiler->test);
    default:
        return nullptr;
    }
}

} // namespace pipeline::partial
