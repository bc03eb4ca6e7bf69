#include "partial/vector_expr.hpp"

#include "partial/lane_source.hpp"
#include "partial/vector_functions.hpp"
#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "common/int.h"
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

int64 constant_word(Datum value, ValueType type, int16 length)
{
    if (type != ValueType::kFloat4)
        return word_of(value, length);
    return static_cast<int64>(Float8GetDatum(static_cast<float8>(DatumGetFloat4(value))));
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
            return agg::new_constant(as.type, constant_word(value, as.type, length),
                                     compiler->memory, nrows);
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

/// date_bin(interval, time, origin) by a constant that the server would not refuse; 0 if it would.
int64 bin_length(const Expr *expr)
{
    const auto *constant = reinterpret_cast<const Const *>(expr);
    if (!IsA(constant, Const) || constant->constisnull)
        return 0;
    const Interval *const interval = DatumGetIntervalP(constant->constvalue);
    int64 length;
    if (interval->month != 0 || pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &length) ||
        pg_add_s64_overflow(length, interval->time, &length))
        return 0;
    return Max(length, int64{0});
}

Expression *compile_date_bin(ExpressionCompiler *compiler, const List *arguments)
{
    int64 const length = bin_length(static_cast<Expr *>(linitial(arguments)));
    if (length == 0)
        return nullptr;
    Expression *const args[] = {compile(compiler, static_cast<Expr *>(lsecond(arguments))),
                                compile(compiler, static_cast<Expr *>(lthird(arguments)))};
    return args[0] == nullptr || args[1] == nullptr
               ? nullptr
               : build(compiler, ExpressionOp::kBin, ValueType::kInt8, args, 2, length);
}

Expression *compile_call(ExpressionCompiler *compiler, Oid function, Oid collation,
                         const List *arguments)
{
    if (function == F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ ||
        function == F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP)
        return compile_date_bin(compiler, arguments);
    if (function == F_DATE_TRUNC_TEXT_TIMESTAMP)
        return compile_date_trunc(compiler, arguments);
    const KnownFunction *const known = known_function(function);
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
    const KnownFunction *const known = known_function(expr->opfuncid);
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
