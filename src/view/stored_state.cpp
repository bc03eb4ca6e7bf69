#include "view/stored_state.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
}

namespace pipeline::view {
namespace {

/// The name of a column that only carries a state; users never see it.
constexpr const char *kStateColumn = "combined state";

[[noreturn]] void refuse_argument(const char *detail, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("combine argument must be a single aggregate column"),
                    errdetail_internal("%s", detail), errhint("%s", hint)));
    pg_unreachable();
}

[[noreturn]] void refuse_expression()
{
    refuse_argument("It is an expression over columns.",
                    "Combine columns first, then compute: combine(a) / combine(b).");
}

[[noreturn]] void refuse_level(const char *detail)
{
    refuse_argument(detail, "Call combine() below that, where each row is one of the view.");
}

[[noreturn]] void refuse_column(const char *detail)
{
    refuse_argument(detail, "Name one aggregate column of a continuous view.");
}

[[noreturn]] void refuse_source()
{
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("combine aggregates are only supported on continuous views"),
                    errhint("Elsewhere, use an ordinary aggregate, such as sum() or max().")));
    pg_unreachable();
}

/// A user who reads the table itself sees states, and gets no result of another type.
[[noreturn]] void refuse_state(Oid relid, AttrNumber attno)
{
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("combine argument must be a single aggregate column"),
             errdetail("Column \"%s\" of \"%s\" holds a state whose result has another type.",
                       get_attname(relid, attno, true), get_rel_name(relid)),
             errhint("Read the continuous view, or call pipelinedb.combine_state().")));
    pg_unreachable();
}

CombineArguments follow_var(List *levels, const Var *var, FollowedViews *followed);

/// A column that is the state itself: of count, sum(int), max …
CombineArguments state_in_table(const RangeTblEntry *entry, const Var *var, FollowedViews *followed)
{
    if (entry->relkind != RELKIND_RELATION && entry->relkind != RELKIND_PARTITIONED_TABLE)
        refuse_source();
    Oid definition;
    const Aggref *const aggregate = aggregate_of_column(entry->relid, var->varattno, &definition);
    followed->definitions = list_append_unique_oid(followed->definitions, definition);
    if (aggregate == nullptr)
        refuse_key_column(entry->relid, var->varattno);
    StateForm const form = state_form_of(aggregate);
    if (form.kind != StateKind::kResult)
        refuse_state(entry->relid, var->varattno);
    return combine_arguments(aggregate, form,
                             static_cast<Expr *>(copyObjectImpl(const_cast<Var *>(var))));
}

bool groups(const Query *query)
{
    return query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL ||
           query->havingQual != nullptr;
}

void check_level(const Query *query, bool may_group)
{
    if (query->commandType != CMD_SELECT)
        refuse_source();
    if (query->setOperations != nullptr)
        refuse_level("It is a column of a UNION, INTERSECT or EXCEPT.");
    if (query->distinctClause != NIL && !query->hasDistinctOn)
        refuse_level("It comes from a subquery or view with DISTINCT.");
    if (groups(query) && !may_group)
        refuse_level("It comes from a subquery or view that groups or aggregates.");
}

List *expressions_of(const Aggref *aggref)
{
    List *list = NIL;
    for (auto *entry : pg::each<TargetEntry>(aggref->args))
        list = lappend(list, copyObjectImpl(entry->expr));
    return list;
}

/// A level that combines states can hand on the state instead of its result. A window is read so.
CombineArguments state_of_aggregate(const Aggref *aggref)
{
    CombineArguments arguments{expressions_of(aggref), aggref->aggtype, aggref->aggcollid,
                               aggref->inputcollid};
    Aggref *const merged = merge_aggregate(arguments);
    merged->aggfilter = static_cast<Expr *>(copyObjectImpl(aggref->aggfilter));
    lsecond(arguments.args) = merged;
    return arguments;
}

/// `expr` is what the innermost level shows. The state in the result is for the same place.
CombineArguments follow_entry(List *levels, Expr *expr, FollowedViews *followed)
{
    auto *const query = static_cast<Query *>(linitial(levels));
    auto *const aggref = reinterpret_cast<Aggref *>(expr);
    bool const combines = IsA(expr, Aggref) && aggref->agglevelsup == 0 &&
                          state_aggregate_of(aggref->aggfnoid) == StateAggregate::kCombine;
    check_level(query, combines);
    if (combines)
        return state_of_aggregate(aggref);
    if (IsA(expr, Var))
        return follow_var(levels, reinterpret_cast<Var *>(expr), followed);
    auto *const call = reinterpret_cast<FuncExpr *>(expr);
    if (!IsA(expr, FuncExpr) || !is_finalize(call->funcid) || !IsA(lsecond(call->args), Var))
        refuse_expression();
    return {static_cast<List *>(copyObjectImpl(call->args)), call->funcresulttype, call->funccollid,
            call->inputcollid};
}

/// Visible columns come first: what is behind them is only used by the level itself.
AttrNumber add_column(Query *query, Expr *expr)
{
    int visible = 0;
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        if (entry->resjunk)
            continue;
        visible++;
        if (entry->resname != nullptr && strcmp(entry->resname, kStateColumn) == 0 &&
            equal(entry->expr, expr))
            return entry->resno;
    }
    auto const resno = static_cast<AttrNumber>(visible + 1);
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (entry->resno >= resno)
            entry->resno++;
    TargetEntry *const added = makeTargetEntry(expr, resno, pstrdup(kStateColumn), false);
    query->targetList = list_insert_nth(query->targetList, visible, added);
    return resno;
}

/// So that the names of the entry are as many as its columns.
void name_columns(RangeTblEntry *entry, AttrNumber count)
{
    while (list_length(entry->eref->colnames) < count)
        entry->eref->colnames = lappend(entry->eref->colnames, makeString(pstrdup(kStateColumn)));
}

/// `var` shows what `state` is computed from: the same for the state, where `var` is.
Var *state_var(const Var *var, AttrNumber attno, Node *state)
{
    Var *const outer = makeVar(var->varno, attno, exprType(state), exprTypmod(state),
                               exprCollation(state), var->varlevelsup);
    pg::copy_nulling_rels(outer, var);
    return outer;
}

TargetEntry *visible_column(const Query *query, AttrNumber attno)
{
    TargetEntry *const entry = get_tle_by_resno(query->targetList, attno);
    if (entry == nullptr || entry->resjunk)
        refuse_column("It is a whole row.");
    return entry;
}

/// `inner` are the levels from the query of a subquery or WITH query on. `added` is the number of
/// the state's column there.
CombineArguments follow_query(List *inner, const Var *var, FollowedViews *followed,
                              AttrNumber *added)
{
    check_stack_depth();
    auto *const query = static_cast<Query *>(linitial(inner));
    TargetEntry *const entry = visible_column(query, var->varattno);
    CombineArguments arguments = follow_entry(inner, entry->expr, followed);
    auto *const state = static_cast<Expr *>(lsecond(arguments.args));
    *added = equal(state, entry->expr) ? var->varattno : add_column(query, state);
    lsecond(arguments.args) = state_var(var, *added, reinterpret_cast<Node *>(state));
    return arguments;
}

/// True if the level reads the column from a table.
bool is_over_table(const Query *query, AttrNumber attno)
{
    auto const reads_table = [&](Expr *expr) {
        auto *const var = reinterpret_cast<Var *>(expr);
        return IsA(expr, Var) && var->varlevelsup == 0 &&
               rt_fetch(var->varno, query->rtable)->rtekind == RTE_RELATION;
    };
    Expr *const expr = visible_column(query, attno)->expr;
    if (IsA(expr, FuncExpr))
        return reads_table(static_cast<Expr *>(lsecond(reinterpret_cast<FuncExpr *>(expr)->args)));
    if (IsA(expr, Aggref))
        return reads_table(lsecond_node(TargetEntry, reinterpret_cast<Aggref *>(expr)->args)->expr);
    return reads_table(expr);
}

CombineArguments follow_subquery(List *levels, RangeTblEntry *entry, const Var *var,
                                 FollowedViews *followed)
{
    AttrNumber added;
    CombineArguments const arguments =
        follow_query(lcons(entry->subquery, list_copy(levels)), var, followed, &added);
    // A state tells more than its result: of an average, how many there were. Whoever wrote a
    // security barrier did not mean to show that. A continuous view itself may be one.
    if (entry->security_barrier && !is_over_table(entry->subquery, added))
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("combine cannot look through view \"%s\"", entry->eref->aliasname),
                 errdetail("It is a security barrier, and the state of an aggregate tells more "
                           "than its result."),
                 errhint("Combine inside the view, or read the continuous view itself.")));
    name_columns(entry, added);
    return arguments;
}

CommonTableExpr *find_with(const Query *query, const char *name)
{
    for (auto *with : pg::each<CommonTableExpr>(query->cteList))
        if (strcmp(with->ctename, name) == 0)
            return with;
    elog(ERROR, "could not find CTE \"%s\"", name);
    pg_unreachable();
}

CombineArguments follow_with(List *levels, RangeTblEntry *entry, const Var *var,
                             FollowedViews *followed)
{
    List *const around = list_copy_tail(levels, int(entry->ctelevelsup));
    CommonTableExpr *const with = find_with(static_cast<Query *>(linitial(around)), entry->ctename);
    if (with->cterecursive || entry->self_reference || !IsA(with->ctequery, Query))
        refuse_level("It comes from a recursive query.");
    AttrNumber added;
    CombineArguments const arguments =
        follow_query(lcons(with->ctequery, around), var, followed, &added);
    auto *const state = static_cast<Node *>(lsecond(arguments.args));
    if (added > list_length(with->ctecolnames)) {
        with->ctecolnames = lappend(with->ctecolnames, makeString(pstrdup(kStateColumn)));
        with->ctecoltypes = lappend_oid(with->ctecoltypes, exprType(state));
        with->ctecoltypmods = lappend_int(with->ctecoltypmods, exprTypmod(state));
        with->ctecolcollations = lappend_oid(with->ctecolcollations, exprCollation(state));
    }
    name_columns(entry, added);
    entry->coltypes = list_copy(with->ctecoltypes);
    entry->coltypmods = list_copy(with->ctecoltypmods);
    entry->colcollations = list_copy(with->ctecolcollations);
    name_columns(entry, static_cast<AttrNumber>(list_length(with->ctecolnames)));
    return arguments;
}

CombineArguments follow_join(List *levels, const RangeTblEntry *entry, const Var *var,
                             FollowedViews *followed)
{
    auto *const below = static_cast<Var *>(list_nth(entry->joinaliasvars, var->varattno - 1));
    if (below == nullptr || !IsA(below, Var))
        refuse_column("It is a column that two tables are joined by.");
    auto *const copy = static_cast<Var *>(copyObjectImpl(below));
    IncrementVarSublevelsUp(reinterpret_cast<Node *>(copy), int(var->varlevelsup), 0);
    pg::copy_nulling_rels(copy, var);
    return follow_var(levels, copy, followed);
}

/// `levels` is where `var` is.
CombineArguments follow_var(List *levels, const Var *var, FollowedViews *followed)
{
    check_stack_depth();
    List *const own = list_copy_tail(levels, int(var->varlevelsup));
    auto *const query = static_cast<Query *>(linitial(own));
    RangeTblEntry *const entry = rt_fetch(var->varno, query->rtable);
    if (var->varattno <= 0)
        refuse_column(var->varattno == 0 ? "It is a whole row." : "It is a system column.");
    switch (entry->rtekind) {
    case RTE_RELATION:
        return state_in_table(entry, var, followed);
    case RTE_SUBQUERY:
        return follow_subquery(own, entry, var, followed);
    case RTE_CTE:
        return follow_with(own, entry, var, followed);
    case RTE_JOIN:
        return follow_join(levels, entry, var, followed);
    default:
        refuse_source();
    }
}

} // namespace

void refuse_key_column(Oid matrel, AttrNumber attno)
{
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("combine argument is not an aggregate column"),
                    errdetail("Column \"%s\" of \"%s\" does not hold the state of an aggregate.",
                              get_attname(matrel, attno, true), get_rel_name(matrel)),
                    errhint("Use an ordinary aggregate, such as sum() or max().")));
    pg_unreachable();
}

const Aggref *aggregate_of_column(Oid matrel, AttrNumber attno, Oid *definition)
{
    const ContinuousQuery *const query = OidIsValid(matrel) ? find_query(matrel) : nullptr;
    if (query == nullptr || query->matrel != matrel)
        refuse_source();
    *definition = query->definition;
    return pg::with_relation(query->definition, AccessShareLock, [&](Relation rel) {
        List *const columns = get_view_query(rel)->targetList;
        if (attno > list_length(columns))
            return static_cast<const Aggref *>(nullptr);
        auto *const entry = static_cast<TargetEntry *>(list_nth(columns, attno - 1));
        return IsA(entry->expr, Aggref) ? static_cast<const Aggref *>(copyObjectImpl(entry->expr))
                                        : nullptr;
    });
}

CombineArguments find_stored_state(List *levels, Node *arg, FollowedViews *followed)
{
    if (!IsA(arg, Var))
        refuse_expression();
    return follow_var(levels, reinterpret_cast<Var *>(arg), followed);
}

} // namespace pipeline::view
