#include "view/window.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "view/grouping.hpp"

extern "C" {
#include "catalog/pg_operator.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/datum.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

constexpr char kShape[] = "Write WHERE column > clock_timestamp() - interval '1 hour' AND ...";

List *system_name(const char *name)
{
    return list_make2(makeString(pstrdup("pg_catalog")), makeString(pstrdup(name)));
}

bool is_clock(const Node *node)
{
    return node != nullptr && IsA(node, FuncExpr) &&
           reinterpret_cast<const FuncExpr *>(node)->funcid == F_CLOCK_TIMESTAMP;
}

/// clock_timestamp() - interval
bool is_edge(const Node *node)
{
    if (node == nullptr || !IsA(node, OpExpr))
        return false;
    const auto *call = reinterpret_cast<const OpExpr *>(node);
    return get_opcode(call->opno) == F_TIMESTAMPTZ_MI_INTERVAL &&
           is_clock(static_cast<const Node *>(linitial(call->args)));
}

extern "C" bool pipeline_find_edge_walker(Node *node, void *)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (is_edge(node))
        return true;
    if (IsA(node, Query))
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_find_edge_walker, nullptr,
                              0);
    return pg::walk_expression(node, pipeline_find_edge_walker, nullptr);
}

bool has_edge(void *node)
{
    return pipeline_find_edge_walker(static_cast<Node *>(node), nullptr);
}

/// A conjunct that is a window: its two sides.
struct Condition {
    Node *time;
    OpExpr *edge;
};

bool is_operator(const OpExpr *call, const char *one, const char *other)
{
    const char *const name = get_opname(call->opno);
    return name != nullptr && (strcmp(name, one) == 0 || strcmp(name, other) == 0);
}

/// column > edge, or edge < column; with = it is the same but for the edge itself.
bool parse_condition(Node *node, Condition *condition)
{
    if (!IsA(node, OpExpr))
        return false;
    auto *const call = reinterpret_cast<OpExpr *>(node);
    if (list_length(call->args) != 2)
        return false;
    auto *const left = static_cast<Node *>(linitial(call->args));
    auto *const right = static_cast<Node *>(lsecond(call->args));
    if (is_edge(right) && !has_edge(left) && is_operator(call, ">", ">="))
        *condition = {left, reinterpret_cast<OpExpr *>(right)};
    else if (is_edge(left) && !has_edge(right) && is_operator(call, "<", "<="))
        *condition = {right, reinterpret_cast<OpExpr *>(left)};
    else
        return false;
    return true;
}

[[noreturn]] void refuse_shape(const char *message, const char *hint)
{
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", message), errhint("%s", hint)));
    pg_unreachable();
}

/// Days are 24 hours each. Else a window over the change to winter time would end an hour earlier
/// in one reader's time zone than in another's, and go back there for an hour.
const Interval *size_of(const OpExpr *edge)
{
    Node *const size = eval_const_expressions(nullptr, static_cast<Node *>(lsecond(edge->args)));
    if (!IsA(size, Const) || reinterpret_cast<Const *>(size)->constisnull)
        refuse_shape("the size of a sliding window must be a constant", kShape);
    auto *const interval = static_cast<Interval *>(DatumGetIntervalP(
        datumCopy(reinterpret_cast<Const *>(size)->constvalue, false, sizeof(Interval))));
    if (interval_length(interval) < USECS_PER_SEC)
        refuse_shape("a sliding window must be at least 1 second", kShape);
    if (interval_length(interval) > kLongestInterval)
        refuse_shape("a sliding window must be at most 1000 years",
                     "Leave it out to keep everything.");
    if (interval->month != 0)
        return interval;
    interval->time += interval->day * USECS_PER_DAY;
    interval->day = 0;
    return interval;
}

Expr *as_timestamptz(Node *time)
{
    Oid const type = exprType(time);
    Node *const coerced = coerce_to_target_type(nullptr, time, type, TIMESTAMPTZOID, -1,
                                                COERCION_ASSIGNMENT, COERCE_EXPLICIT_CAST, -1);
    if (coerced == nullptr)
        refuse_shape(
            psprintf("a sliding window over type %s is not supported", format_type_be(type)),
            "Use a column of type timestamptz, timestamp or date.");
    return reinterpret_cast<Expr *>(coerced);
}

int64 step_of(const Interval *size, double factor)
{
    double const percent = factor >= 0 ? factor : settings::step_factor;
    auto const step =
        static_cast<int64>(static_cast<double>(interval_length(size)) * percent / 100);
    return std::max(step, int64{USECS_PER_SEC});
}

const char *name_of(Query *query, Node *time)
{
    if (!IsA(time, Var))
        return nullptr;
    const auto *var = reinterpret_cast<const Var *>(time);
    return get_rte_attribute_name(rt_fetch(var->varno, query->rtable), var->varattno);
}

/// What has no time is in no window: the condition that was taken out would not have been true.
Node *has_time(Expr *time)
{
    NullTest *const test = makeNode(NullTest);
    test->arg = static_cast<Expr *>(copyObjectImpl(time));
    test->nulltesttype = IS_NOT_NULL;
    test->argisrow = false;
    test->location = -1;
    return reinterpret_cast<Node *>(test);
}

/// Nested ANDs are flat already (gram.y: makeAndExpr), but for one that add_window_condition()
/// made.
List *conjuncts_of(Node *quals)
{
    if (quals == nullptr || !is_andclause(quals))
        return quals == nullptr ? NIL : list_make1(quals);
    List *conjuncts = NIL;
    for (auto *one : pg::each<Node>(reinterpret_cast<BoolExpr *>(quals)->args))
        conjuncts = list_concat(conjuncts, conjuncts_of(one));
    return conjuncts;
}

/// In WHERE and ON of the query and of the subqueries in FROM; elsewhere it is an expression.
bool has_edge_in_condition(const Query *query)
{
    check_stack_depth();
    if (has_edge(query->jointree))
        return true;
    for (auto *entry : pg::each<RangeTblEntry>(query->rtable))
        if (entry->rtekind == RTE_SUBQUERY && has_edge_in_condition(entry->subquery))
            return true;
    return false;
}

void check_rest(const Query *query, const ViewOptions &options, bool found)
{
    if (!has_edge_in_condition(query))
        return;
    if (!found)
        refuse_shape("a sliding window may only appear as a top-level condition of WHERE", kShape);
    if (options.window != nullptr)
        refuse_shape("cannot specify both \"sw\" and a sliding window expression in the WHERE "
                     "clause",
                     "Leave out one of them.");
    refuse_shape("a continuous view has one sliding window", kShape);
}

/// date_bin(step, time, '2000-01-01 00:00:00+00'): the server's own, immutable, and the same in
/// every time zone.
Expr *step_expression(const Window &window)
{
    auto *const step = static_cast<Interval *>(palloc0(sizeof(Interval)));
    step->time = window.step;
    Node *const origin = reinterpret_cast<Node *>(makeConst(
        TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz), TimestampTzGetDatum(0), false, true));
    return reinterpret_cast<Expr *>(
        makeFuncExpr(F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ, TIMESTAMPTZOID,
                     list_make3(interval_constant(step), copyObjectImpl(window.time), origin),
                     InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
}

Index free_reference(const Query *query)
{
    Index last = 0;
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        last = std::max(last, entry->ressortgroupref);
    return last + 1;
}

} // namespace

void add_window_condition(Node *raw_query, const ViewOptions &options)
{
    if (options.window == nullptr)
        return;
    auto *const select = reinterpret_cast<SelectStmt *>(raw_query);
    if (!IsA(raw_query, SelectStmt) || select->op != SETOP_NONE)
        refuse_shape("option \"sw\" needs a plain SELECT",
                     "Write SELECT ... FROM (SELECT ... UNION ALL SELECT ...) s WHERE s.column > "
                     "clock_timestamp() - interval '1 hour'.");
    ColumnRef *const column = makeNode(ColumnRef);
    column->fields = list_make1(makeString(
        pstrdup(options.window_column != nullptr ? options.window_column : "arrival_timestamp")));
    column->location = -1;
    A_Const *const text = makeNode(A_Const);
    text->val.sval.type = T_String;
    text->val.sval.sval = interval_text(options.window);
    text->location = -1;
    TypeCast *const size = makeNode(TypeCast);
    size->arg = reinterpret_cast<Node *>(text);
    size->typeName = makeTypeNameFromNameList(system_name("interval"));
    size->location = -1;
    FuncCall *const clock =
        makeFuncCall(system_name("clock_timestamp"), NIL, COERCE_EXPLICIT_CALL, -1);
    A_Expr *const edge = makeA_Expr(AEXPR_OP, system_name("-"), reinterpret_cast<Node *>(clock),
                                    reinterpret_cast<Node *>(size), -1);
    Node *const condition = reinterpret_cast<Node *>(
        makeA_Expr(AEXPR_OP, system_name(">"), reinterpret_cast<Node *>(column),
                   reinterpret_cast<Node *>(edge), -1));
    select->whereClause = select->whereClause == nullptr
                              ? condition
                              : reinterpret_cast<Node *>(makeBoolExpr(
                                    AND_EXPR, list_make2(select->whereClause, condition), -1));
}

Window take_window(Query *query, const ViewOptions &options)
{
    Window window{};
    List *rest = NIL;
    for (auto *conjunct : pg::each<Node>(conjuncts_of(query->jointree->quals))) {
        Condition condition;
        if (window.size != nullptr || !parse_condition(conjunct, &condition)) {
            rest = lappend(rest, conjunct);
            continue;
        }
        window.size = size_of(condition.edge);
        window.step = step_of(window.size, options.step_factor);
        window.name = name_of(query, condition.time);
        window.time = as_timestamptz(condition.time);
        rest = lappend(rest, has_time(window.time));
    }
    if (window.size != nullptr)
        query->jointree->quals = reinterpret_cast<Node *>(make_ands_explicit(rest));
    check_rest(query, options, window.size != nullptr);
    if (window.size == nullptr && options.step_factor >= 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("can only specify \"step_factor\" for sliding window queries"),
                        errhint("Add sw = '1 hour', or leave it out.")));
    return window;
}

void add_step(Query *query, const Window &window)
{
    if (window.size == nullptr || is_append_query(query))
        return;
    AttrNumber const resno = static_cast<AttrNumber>(list_length(query->targetList) + 1);
    char *const name = window.name != nullptr ? pstrdup(window.name) : nullptr;
    TargetEntry *const entry = makeTargetEntry(step_expression(window), resno, name, true);
    entry->ressortgroupref = free_reference(query);
    query->targetList = lappend(query->targetList, entry);

    SortGroupClause *const clause = makeNode(SortGroupClause);
    clause->tleSortGroupRef = entry->ressortgroupref;
    get_sort_group_operators(TIMESTAMPTZOID, true, true, false, &clause->sortop, &clause->eqop,
                             nullptr, &clause->hashable);
    if (is_first_row_query(query)) { // the first row of each step
        query->distinctClause = lcons(clause, query->distinctClause);
        if (query->sortClause != NIL)
            query->sortClause = lcons(copyObjectImpl(clause), query->sortClause);
        return;
    }
    query->groupClause = lcons(clause, query->groupClause);
    // Each grouping set gets it, as with GROUP BY step, GROUPING SETS (…).
    if (query->groupingSets != NIL)
        query->groupingSets =
            lcons(makeGroupingSet(GROUPING_SET_SIMPLE,
                                  list_make1_int(static_cast<int>(entry->ressortgroupref)), -1),
                  query->groupingSets);
}

Node *in_window(Node *time, const Interval *size)
{
    Oid const clock =
        LookupFuncName(list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("clock"))),
                       0, nullptr, false);
    Expr *const now = reinterpret_cast<Expr *>(
        makeFuncExpr(clock, TIMESTAMPTZOID, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
    Oid const minus = OpernameGetOprid(system_name("-"), TIMESTAMPTZOID, INTERVALOID);
    Expr *const edge =
        make_opclause(minus, TIMESTAMPTZOID, false, now,
                      reinterpret_cast<Expr *>(interval_constant(size)), InvalidOid, InvalidOid);
    set_opfuncid(reinterpret_cast<OpExpr *>(edge));
    Oid const greater = OpernameGetOprid(system_name(">"), exprType(time), TIMESTAMPTZOID);
    if (!OidIsValid(greater))
        elog(ERROR, "no operator compares type %u with the clock", exprType(time));
    Expr *const condition = make_opclause(greater, BOOLOID, false, reinterpret_cast<Expr *>(time),
                                          edge, InvalidOid, InvalidOid);
    set_opfuncid(reinterpret_cast<OpExpr *>(condition));
    return reinterpret_cast<Node *>(condition);
}

} // namespace pipeline::view
