#include "view/create_transform.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/catalog.hpp"
#include "view/create_view.hpp"
#include "view/creation_notices.hpp"
#include "view/decompose.hpp"
#include "view/from_checks.hpp"
#include "view/inline_cte.hpp"
#include "view/matrel.hpp"
#include "view/output.hpp"
#include "view/output_function.hpp"
#include "view/query_checks.hpp"
#include "view/reloptions.hpp"
#include "view/union_streams.hpp"
#include "view/view_options.hpp"

extern "C" {
#include "commands/view.h"
}

namespace pipeline::view {
namespace {

void check_clauses(const Query *query)
{
    const char *const what = query->hasAggs ? "aggregates"
                             : query->groupClause != NIL || query->groupingSets != NIL ? "GROUP BY"
                             : query->havingQual != nullptr                            ? "HAVING"
                             : query->hasWindowFuncs        ? "window functions"
                             : query->distinctClause != NIL ? "DISTINCT"
                             : query->sortClause != NIL     ? "ORDER BY"
                             : query->limitCount != nullptr || query->limitOffset != nullptr
                                 ? "LIMIT and OFFSET"
                             : query->rowMarks != NIL ? "FOR UPDATE and FOR SHARE"
                                                      : nullptr;
    if (what != nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("continuous transforms cannot contain %s", what),
                 errdetail("A transform hands on each row of its stream by itself."),
                 errhint("Do that in a continuous view that reads the output of the transform.")));
}

void check_options(const ViewOptions &options)
{
    const char *const name = options.fillfactor >= 0               ? "fillfactor"
                             : options.tablespace != nullptr       ? "tablespace"
                             : options.window != nullptr           ? "sw"
                             : options.step_factor >= 0            ? "step_factor"
                             : options.ttl != nullptr              ? "ttl"
                             : options.primary_key != nullptr      ? "pk"
                             : options.partition_column != nullptr ? "partition_by"
                                                                   : nullptr;
    if (name != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("option \"%s\" makes no sense for a transform", name),
                        errdetail("A transform stores nothing."), errhint("Leave it out.")));
}

} // namespace

Query *empty_query(const Query *query)
{
    Query *const empty = makeNode(Query);
    empty->commandType = CMD_SELECT;
    empty->querySource = QSRC_ORIGINAL;
    empty->canSetTag = true;
    empty->jointree = makeFromExpr(NIL, makeBoolConst(false, false));
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        if (entry->resjunk)
            continue;
        Node *const expr = reinterpret_cast<Node *>(entry->expr);
        Const *const null = makeNullConst(exprType(expr), exprTypmod(expr), exprCollation(expr));
        auto const resno = static_cast<AttrNumber>(list_length(empty->targetList) + 1);
        empty->targetList =
            lappend(empty->targetList, makeTargetEntry(reinterpret_cast<Expr *>(null), resno,
                                                       pstrdup(entry->resname), false));
    }
    return empty;
}

namespace {

void store_transform_options(Oid transform, const char *definition)
{
    store_options(transform, list_concat(list_make2(make_option(kActionOption, "transform"),
                                                    make_option(kDefinitionOption, definition)),
                                         stored_options(transform)));
}

} // namespace

PreparedQuery prepare_transform_query(const ViewStmt *statement, const ViewOptions &options,
                                      Query *query)
{
    check_options(options);
    pg::dissolve_group_entry(query);
    inline_ctes(query);
    query = wrap_union(query);
    check_clauses(query);
    List *const streams = check_from(query);
    check_expressions(query);
    check_expansion(query);
    apply_aliases(query, statement->aliases);
    return {query, streams, decompose(query, Window{})};
}

void create_transform(pg::UtilityCall &call, pg::UtilityNext next, Query *query)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    check_kind_of_view(statement);
    ViewOptions const options = parse_view_options(statement->options);
    PreparedQuery const prepared = prepare_transform_query(statement, options, query);
    List *const streams = prepared.streams;
    check_outputs(streams, GetUserId());
    OutputFunction const function = parse_output_function(options.output_function);
    check_no_cycle(function, streams);
    query = prepared.query;
    Oid const schema = creation_schema(statement);

    statement->options = without_view_options(split_options(statement->options).others);
    next(call);
    CommandCounterIncrement();
    Oid const transform = created_view(statement, schema);
    check_no_temporary_objects(transform);
    Query *const folded = definition_query(query, prepared.parts);
    notice_fold_time(folded);
    notice_unindexed_joins(query);
    Oid const definition = create_definition(statement->view->relname, schema, folded);
    StoreViewQuery(transform, empty_query(query), true);
    CommandCounterIncrement();
    follow_owner(transform, definition);
    store_options(definition, definition_options());
    store_transform_options(transform, get_rel_name(definition));
    register_query(QueryKind::kTransform, transform, definition, transform, streams);
    if (OidIsValid(function.function))
        call_for_output(function, ensure_output(find_query(transform)));
}

void restore_transform(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    Oid const schema = creation_schema(statement);
    SplitOptions const options = split_options(statement->options);
    const char *const name = option_value(options.own, kDefinitionOption);
    Oid const definition = find_definition(name, schema);
    statement->options = options.others;
    next(call);
    CommandCounterIncrement();
    Oid const transform = created_view(statement, schema);
    check_definition(definition);
    Query *const query = stored_query(definition);
    if (!equal(stored_query(transform)->targetList, empty_query(query)->targetList))
        ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                        errmsg("transform \"%s\" does not have the columns of its definition",
                               statement->view->relname),
                        errhint("Restore the definition and the view from one dump.")));
    store_transform_options(transform, name);
    register_query(QueryKind::kTransform, transform, definition, transform, streams_of(query));
}

} // namespace pipeline::view
