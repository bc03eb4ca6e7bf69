#include "view/state_expressions.hpp"

#include "pg/list.hpp"

extern "C" {
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "parser/parse_agg.h"
}

namespace pipeline::view {
namespace {

/// NULL of a type and collation, to tell a polymorphic function its types.
Expr *typed_null(Oid type, Oid collation)
{
    Expr *const null = reinterpret_cast<Expr *>(makeNullConst(type, -1, get_typcollation(type)));
    if (!OidIsValid(collation) || collation == get_typcollation(type))
        return null;
    CollateExpr *const collate = makeNode(CollateExpr);
    collate->arg = null;
    collate->collOid = collation;
    collate->location = -1;
    return reinterpret_cast<Expr *>(collate);
}

Expr *aggregate_constant(Oid aggregate)
{
    return reinterpret_cast<Expr *>(makeConst(REGPROCEDUREOID, -1, InvalidOid, sizeof(Oid),
                                              ObjectIdGetDatum(aggregate), false, true));
}

Oid state_function(const char *name, const Oid *types, int count)
{
    oidvector *const vector = buildoidvector(types, count);
    Oid const schema = get_namespace_oid("pipelinedb", false);
    Oid const function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, PointerGetDatum(name),
                                         PointerGetDatum(vector), ObjectIdGetDatum(schema));
    if (!OidIsValid(function))
        elog(ERROR, "function pipelinedb.%s is missing", name);
    return function;
}

/// pipelinedb.finalize and the aggregate pipelinedb.combine_state have the same arguments.
Oid result_function(const char *name, int nargs)
{
    constexpr Oid kTypes[] = {REGPROCEDUREOID, ANYOID, ANYELEMENTOID, ANYOID};
    return state_function(name, kTypes, Min(nargs, 4));
}

/// The inputs matter where the transition type or the final function's call follows from them,
/// and where a collation other than the default must reach the final function.
bool needs_inputs(const Aggref *aggref, const StateForm &form)
{
    bool const collated =
        OidIsValid(aggref->inputcollid) && aggref->inputcollid != DEFAULT_COLLATION_OID;
    return form.polymorphic || form.finalextra || collated;
}

/// A NULL of the type. The name of an aggregate is kept: of what combine_state() gives over no rows
/// nothing else tells.
Expr *input_of(const Aggref *aggref, int i, Oid type)
{
    if (type == REGPROCEDUREOID && i < list_length(aggref->args)) {
        Expr *const given = static_cast<TargetEntry *>(list_nth(aggref->args, i))->expr;
        if (IsA(given, Const))
            return static_cast<Expr *>(copyObjectImpl(given));
    }
    return typed_null(type, type_is_collatable(type) ? aggref->inputcollid : InvalidOid);
}

Aggref *aggregate_call(Oid function, List *args, Oid type, Oid collation, Oid input_collation)
{
    Aggref *const call = makeNode(Aggref);
    call->aggfnoid = function;
    call->aggtype = type;
    call->aggcollid = collation;
    call->inputcollid = input_collation;
    call->aggkind = AGGKIND_NORMAL;
    call->aggsplit = AGGSPLIT_SIMPLE;
    call->aggno = call->aggtransno = -1;
    call->location = -1;
    for (auto *arg : pg::each<Expr>(args)) {
        auto const resno = static_cast<AttrNumber>(list_length(call->args) + 1);
        call->args = lappend(call->args, makeTargetEntry(arg, resno, nullptr, false));
        call->aggargtypes = lappend_oid(call->aggargtypes, exprType(reinterpret_cast<Node *>(arg)));
    }
    return call;
}

/// Our functions are in a schema where nobody else may create any.
bool is_ours(Oid function)
{
    return function >= FirstNormalObjectId &&
           get_func_namespace(function) == get_namespace_oid("pipelinedb", true);
}

} // namespace

List *state_arguments(const Aggref *aggref, const StateForm &form, Expr *state)
{
    List *args = list_make3(aggregate_constant(aggref->aggfnoid), state,
                            typed_null(aggref->aggtype, aggref->aggcollid));
    if (!needs_inputs(aggref, form) || aggref->args == NIL)
        return args;
    Oid types[FUNC_MAX_ARGS];
    // get_aggregate_argtypes only reads its argument.
    int const count = get_aggregate_argtypes(const_cast<Aggref *>(aggref), types);
    for (int i = 0; i < count; i++)
        args = lappend(args, input_of(aggref, i, types[i]));
    return args;
}

Node *finalize_call(const Aggref *aggref, const StateForm &form, Expr *state)
{
    List *const args = state_arguments(aggref, form, state);
    return reinterpret_cast<Node *>(makeFuncExpr(result_function("finalize", list_length(args)),
                                                 aggref->aggtype, args, aggref->aggcollid,
                                                 aggref->inputcollid, COERCE_EXPLICIT_CALL));
}

CombineArguments combine_arguments(const Aggref *aggref, const StateForm &form, Expr *state)
{
    return {state_arguments(aggref, form, state), aggref->aggtype, aggref->aggcollid,
            aggref->inputcollid};
}

Aggref *combine_call(const Aggref *aggref, const StateForm &form, Expr *state, Index depth)
{
    Aggref *const call = combine_aggregate(combine_arguments(aggref, form, state));
    call->agglevelsup = depth;
    return call;
}

Aggref *combine_aggregate(const CombineArguments &arguments)
{
    return aggregate_call(result_function("combine_state", list_length(arguments.args)),
                          arguments.args, arguments.type, arguments.collation,
                          arguments.input_collation);
}

Aggref *merge_aggregate(const CombineArguments &arguments)
{
    constexpr Oid kTypes[] = {REGPROCEDUREOID, ANYELEMENTOID, ANYOID};
    List *const args = list_delete_nth_cell(list_copy(arguments.args), 2);
    auto *const state = static_cast<Node *>(lsecond(args));
    return aggregate_call(state_function("merge_states", kTypes, Min(list_length(args), 3)), args,
                          exprType(state), exprCollation(state), arguments.input_collation);
}

StateAggregate state_aggregate_of(Oid function)
{
    if (function < FirstNormalObjectId)
        return StateAggregate::kNone;
    HeapTuple const tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        return StateAggregate::kNone;
    Oid const transition = reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(tuple))->aggtransfn;
    ReleaseSysCache(tuple);
    if (!is_ours(transition))
        return StateAggregate::kNone;
    const char *const name = get_func_name(transition);
    return strcmp(name, "combine_placeholder") == 0  ? StateAggregate::kPlaceholder
           : strcmp(name, "combine_state_step") == 0 ? StateAggregate::kCombine
           : strcmp(name, "merge_states_step") == 0  ? StateAggregate::kMerge
                                                     : StateAggregate::kNone;
}

bool is_finalize(Oid function)
{
    return is_ours(function) && strcmp(get_func_name(function), "finalize") == 0;
}

} // namespace pipeline::view
