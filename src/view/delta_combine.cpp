#include "view/delta_combine.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/stored_state.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "parser/analyze.h"
#include "parser/parse_target.h"
}

namespace pipeline::view {
namespace {

struct Replacement {
    const SelectStmt *query;
    const pg::UtilityCall *call;
    bool done; ///< anything was replaced
};

/// combine((a).b): whether it is our combine, only the parser knows.
bool may_be_ours(const FuncCall *call)
{
    return strcmp(strVal(llast(call->funcname)), "combine") == 0 && list_length(call->args) == 1 &&
           IsA(linitial(call->args), A_Indirection) && call->over == nullptr;
}

/// SELECT combine((a).b) FROM …, analysed.
Node *analysed(const FuncCall *call, const Replacement &replacement)
{
    auto *bare = static_cast<FuncCall *>(copyObjectImpl(call));
    bare->agg_filter = nullptr;
    ResTarget *const target = makeNode(ResTarget);
    target->val = reinterpret_cast<Node *>(bare);
    target->location = -1;
    SelectStmt *const select = makeNode(SelectStmt);
    select->targetList = list_make1(target);
    select->fromClause = static_cast<List *>(copyObjectImpl(replacement.query->fromClause));
    select->withClause = static_cast<WithClause *>(copyObjectImpl(replacement.query->withClause));
    RawStmt *const raw = makeNode(RawStmt);
    raw->stmt = reinterpret_cast<Node *>(select);
    raw->stmt_location = replacement.call->statement->stmt_location;
    raw->stmt_len = replacement.call->statement->stmt_len;
    Query *const query =
        parse_analyze_fixedparams(raw, replacement.call->query_string, nullptr, 0, nullptr);
    return reinterpret_cast<Node *>(linitial_node(TargetEntry, query->targetList)->expr);
}

/// The field of a composite column that combine() is called with, or nullptr.
const FieldSelect *combined_field(Node *expr)
{
    auto *const aggref = reinterpret_cast<Aggref *>(expr);
    if (!IsA(expr, Aggref) || state_aggregate_of(aggref->aggfnoid) != StateAggregate::kPlaceholder)
        return nullptr;
    auto *const field =
        reinterpret_cast<FieldSelect *>(linitial_node(TargetEntry, aggref->args)->expr);
    return IsA(field, FieldSelect) ? field : nullptr;
}

A_Const *raw_constant(const char *text)
{
    A_Const *const constant = makeNode(A_Const);
    constant->location = -1;
    constant->isnull = text == nullptr;
    if (text != nullptr) {
        constant->val.sval.type = T_String;
        constant->val.sval.sval = pstrdup(text);
    }
    return constant;
}

Node *raw_cast(const Const *constant)
{
    TypeCast *const cast = makeNode(TypeCast);
    const char *text = nullptr;
    if (!constant->constisnull) // of type regprocedure, which reads numbers too
        text = psprintf("%u", DatumGetObjectId(constant->constvalue));
    cast->arg = reinterpret_cast<Node *>(raw_constant(text));
    cast->typeName = makeTypeNameFromOid(constant->consttype, -1);
    cast->location = -1;
    return reinterpret_cast<Node *>(cast);
}

List *collation_name(Oid collation)
{
    HeapTuple const tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for collation %u", collation);
    auto *const form = reinterpret_cast<Form_pg_collation>(GETSTRUCT(tuple));
    List *const name = list_make2(makeString(get_namespace_name(form->collnamespace)),
                                  makeString(pstrdup(NameStr(form->collname))));
    ReleaseSysCache(tuple);
    return name;
}

/// What the arguments of combine_state() are, as the grammar would have made it.
Node *raw_argument(Node *expr)
{
    if (IsA(expr, Const))
        return raw_cast(reinterpret_cast<Const *>(expr));
    auto *const collate = castNode(CollateExpr, expr);
    CollateClause *const clause = makeNode(CollateClause);
    clause->arg = raw_argument(reinterpret_cast<Node *>(collate->arg));
    clause->collname = collation_name(collate->collOid);
    clause->location = -1;
    return reinterpret_cast<Node *>(clause);
}

void replace_call(FuncCall *call, Replacement *replacement)
{
    const FieldSelect *const field = combined_field(analysed(call, *replacement));
    if (field == nullptr)
        return;
    Oid definition;
    Oid const matrel =
        get_typ_typrelid(getBaseType(exprType(reinterpret_cast<Node *>(field->arg))));
    const Aggref *const aggregate = aggregate_of_column(matrel, field->fieldnum, &definition);
    if (aggregate == nullptr)
        refuse_key_column(matrel, field->fieldnum);
    Expr *const state = static_cast<Expr *>(copyObjectImpl(const_cast<FieldSelect *>(field)));
    List *args = list_make1(linitial(call->args));
    int position = 0;
    for (auto *arg : pg::each<Node>(state_arguments(aggregate, state_form_of(aggregate), state))) {
        if (position == 0)
            args = lcons(raw_argument(arg), args);
        else if (position > 1)
            args = lappend(args, raw_argument(arg));
        position++;
    }
    call->funcname =
        list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("combine_state")));
    call->args = args;
    replacement->done = true;
}

extern "C" bool pipeline_delta_combine_walker(Node *node, void *context)
{
    // Below the query itself a continuous query has no aggregates.
    if (node == nullptr || IsA(node, SelectStmt))
        return false;
    check_stack_depth();
    if (IsA(node, FuncCall) && may_be_ours(reinterpret_cast<FuncCall *>(node)))
        replace_call(reinterpret_cast<FuncCall *>(node), static_cast<Replacement *>(context));
    return pg::walk_raw_expression(node, pipeline_delta_combine_walker, context);
}

/// The column keeps the name that it would have had.
void replace_in_target(ResTarget *target, Replacement *replacement)
{
    char *const name = target->name != nullptr ? target->name : FigureColname(target->val);
    replacement->done = false;
    (void) pipeline_delta_combine_walker(target->val, replacement);
    if (replacement->done)
        target->name = name;
}

} // namespace

void resolve_delta_combines(Node *raw_query, const pg::UtilityCall &call)
{
    if (!IsA(raw_query, SelectStmt))
        return;
    auto *const select = reinterpret_cast<SelectStmt *>(raw_query);
    Replacement replacement{select, &call, false};
    for (auto *target : pg::each<ResTarget>(select->targetList))
        replace_in_target(target, &replacement);
    (void) pipeline_delta_combine_walker(select->havingClause, &replacement);
    (void) pipeline_delta_combine_walker(reinterpret_cast<Node *>(select->sortClause),
                                         &replacement);
}

} // namespace pipeline::view
