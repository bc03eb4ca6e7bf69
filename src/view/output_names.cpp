// output_of('view') and <view>_osrel in a query that was not analysed yet.
#include "view/output.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"

extern "C" {
#include "utils/varlena.h"
}

namespace pipeline::view {
namespace {

constexpr char kSuffix[] = "_osrel";

/// The function's call in FROM, nullptr if it is another one.
const FuncCall *output_call(const RangeFunction *item)
{
    if (item->is_rowsfrom || item->ordinality || list_length(item->functions) != 1)
        return nullptr;
    auto *const call = static_cast<Node *>(linitial(linitial_node(List, item->functions)));
    if (!IsA(call, FuncCall))
        return nullptr;
    const auto *const function = reinterpret_cast<const FuncCall *>(call);
    return strcmp(strVal(llast(function->funcname)), kOutputOption) == 0 ? function : nullptr;
}

const ContinuousQuery *query_named(RangeVar *name)
{
    Oid const relid = RangeVarGetRelid(name, NoLock, true);
    const ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
    return query != nullptr && query->view == relid ? query : nullptr;
}

RangeVar *name_of(const FuncCall *call)
{
    auto *const arg =
        list_length(call->args) == 1 ? static_cast<Node *>(linitial(call->args)) : nullptr;
    if (arg == nullptr || !IsA(arg, A_Const) ||
        nodeTag(&reinterpret_cast<A_Const *>(arg)->val) != T_String)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("output_of takes the name of a continuous query as a constant"),
                        errhint("Write FROM output_of('view').")));
    const char *const name = strVal(&reinterpret_cast<A_Const *>(arg)->val);
    return makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
}

/// The stream in place of the call, with the call's alias.
Node *stream_of(const RangeFunction *item, const FuncCall *call)
{
    RangeVar *const name = name_of(call);
    const ContinuousQuery *const query = query_named(name);
    if (query == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("\"%s\" is not a continuous view or transform", name->relname)));
    Oid const output = ensure_output(query);
    RangeVar *const stream = makeRangeVar(get_namespace_name(get_rel_namespace(output)),
                                          get_rel_name(output), call->location);
    stream->alias = item->alias;
    return reinterpret_cast<Node *>(stream);
}

/// A name that ends in _osrel may be that of an output stream which nobody has read yet, or that
/// has the name which the view had then: it is put there.
bool make_named_output(RangeVar *name)
{
    Size const length = strlen(name->relname);
    Size const suffix = strlen(kSuffix);
    if (length <= suffix || strcmp(name->relname + length - suffix, kSuffix) != 0 ||
        OidIsValid(RangeVarGetRelid(name, NoLock, true)))
        return false;
    auto *const view = static_cast<RangeVar *>(copyObjectImpl(name));
    view->relname = pnstrdup(name->relname, length - suffix);
    const ContinuousQuery *const query = query_named(view);
    if (query == nullptr)
        return false;
    Oid const output = ensure_output(query);
    if (name->alias == nullptr && strcmp(name->relname, get_rel_name(output)) != 0)
        name->alias = makeAlias(pstrdup(name->relname), NIL);
    name->schemaname = get_namespace_name(get_rel_namespace(output));
    name->relname = pstrdup(get_rel_name(output));
    return true;
}

struct Resolved {
    bool any;
};

Node *resolve_item(Node *item, Resolved *resolved)
{
    if (IsA(item, RangeFunction)) {
        auto *const function = reinterpret_cast<RangeFunction *>(item);
        if (const FuncCall *const call = output_call(function); call != nullptr) {
            resolved->any = true;
            return stream_of(function, call);
        }
    } else if (IsA(item, RangeVar)) {
        resolved->any |= make_named_output(reinterpret_cast<RangeVar *>(item));
    }
    return item;
}

extern "C" bool pipeline_resolve_outputs_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    auto *const resolved = static_cast<Resolved *>(context);
    if (IsA(node, SelectStmt)) {
        ListCell *cell;
        foreach (cell, reinterpret_cast<SelectStmt *>(node)->fromClause)
            lfirst(cell) = resolve_item(static_cast<Node *>(lfirst(cell)), resolved);
    } else if (IsA(node, JoinExpr)) {
        auto *const join = reinterpret_cast<JoinExpr *>(node);
        join->larg = resolve_item(join->larg, resolved);
        join->rarg = resolve_item(join->rarg, resolved);
    }
    return pg::walk_raw_expression(node, pipeline_resolve_outputs_walker, context);
}

} // namespace

bool resolve_outputs(Node *raw_query)
{
    Resolved resolved{};
    (void) pipeline_resolve_outputs_walker(raw_query, &resolved);
    if (resolved.any)
        CommandCounterIncrement();
    return resolved.any;
}

} // namespace pipeline::view
