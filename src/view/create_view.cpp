#include "view/create_view.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"
#include "spool/view_lock.hpp"
#include "spool/writer.hpp"
#include "view/catalog.hpp"
#include "view/create_transform.hpp"
#include "view/creation_notices.hpp"
#include "view/creation_settings.hpp"
#include "view/decompose.hpp"
#include "view/delta_combine.hpp"
#include "view/earlier_writers.hpp"
#include "view/from_checks.hpp"
#include "view/grouping.hpp"
#include "view/inline_cte.hpp"
#include "view/matrel.hpp"
#include "view/output.hpp"
#include "view/partition.hpp"
#include "view/query_checks.hpp"
#include "view/reading.hpp"
#include "view/reloptions.hpp"
#include "view/replace_view.hpp"
#include "view/ttl.hpp"
#include "view/union_streams.hpp"
#include "view/view_options.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/view.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "storage/lmgr.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

constexpr uint16 kCreationLock = 1;

void refuse_check_option(const ViewStmt *statement)
{
    if (statement->withCheckOption != NO_CHECK_OPTION ||
        option_value(statement->options, "check_option") != nullptr)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views do not support WITH CHECK OPTION"),
                        errhint("Nothing can be written to a continuous view.")));
}

} // namespace

void check_kind_of_view(const ViewStmt *statement)
{
    if (statement->view->relpersistence == RELPERSISTENCE_TEMP)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views cannot be temporary"),
                        errhint("The query runs in another session; leave out TEMPORARY.")));
    refuse_check_option(statement);
}

namespace {

/// Rows of an append view are never updated.
int fillfactor_of(const ViewOptions &options, bool append)
{
    constexpr int kFull = 100;
    if (options.fillfactor >= 0)
        return options.fillfactor;
    return append ? kFull : settings::fillfactor;
}

} // namespace

void apply_aliases(Query *query, List *aliases)
{
    int i = 0;
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (!entry->resjunk && i < list_length(aliases))
            entry->resname = pstrdup(strVal(list_nth(aliases, i++)));
}

void follow_owner(Oid view, Oid relid)
{
    Oid const owner = pg::relation_owner(view);
    if (owner == pg::relation_owner(relid))
        return;
    ATExecChangeOwner(relid, owner, true, AccessExclusiveLock);
    CommandCounterIncrement();
}

List *definition_options()
{
    return lcons(make_option(kActionOption, "definition"), current_creation_settings());
}

namespace {

/// What a restore needs to know beside the definition (restore.cpp).
List *window_options(const Decomposition &parts)
{
    if (parts.window == nullptr)
        return NIL;
    const auto *const column =
        static_cast<MatrelColumn *>(list_nth(parts.columns, parts.time_column - 1));
    return list_make2(make_option(kWindowOption, interval_text(parts.window)),
                      make_option(kWindowColumnOption, column->name));
}

AttrNumber primary_key_of(const ViewOptions &options, const Decomposition &parts, Query *query)
{
    if (options.primary_key == nullptr)
        return InvalidAttrNumber;
    if (parts.window != nullptr)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a sliding window cannot have a primary key"),
                        errdetail("Its table has a row for each group and step."),
                        errhint("Leave out pk.")));
    FoundColumn const found = find_output_column(parts, query, options.primary_key);
    if (found.column == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("primary key column \"%s\" not found", options.primary_key),
                        found.attno == kComputed
                            ? errdetail("It is computed when the view is read, and not stored.")
                            : 0,
                        errhint("Use a column of the view that its query groups by.")));
    return found.attno;
}

} // namespace

PreparedQuery prepare_view_query(const ViewStmt *statement, const ViewOptions &options,
                                 Query *query)
{
    pg::dissolve_group_entry(query);
    inline_ctes(query);
    query = wrap_union(query);
    Window const window = take_window(query, options);
    normalise_grouping(query);
    add_step(query, window);
    List *const streams = check_query(query);
    check_expansion(query);
    apply_aliases(query, statement->aliases);
    return {query, streams, decompose(query, window)};
}

namespace {

/// v itself is created by the server from the user's own statement, so that every rule about
/// views, event triggers included, is the server's. Then its query is replaced.
void create_continuous_view(pg::UtilityCall &call, pg::UtilityNext next, Query *query)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    check_kind_of_view(statement);
    ViewOptions const options = parse_view_options(statement->options);
    PreparedQuery const prepared = prepare_view_query(statement, options, query);
    check_outputs(prepared.streams, GetUserId());
    query = prepared.query;
    const Decomposition &parts = prepared.parts;
    Oid const schema = creation_schema(statement);

    statement->options = without_view_options(split_options(statement->options).others);
    next(call);
    CommandCounterIncrement();
    Oid const view = created_view(statement, schema);
    check_no_temporary_objects(view);
    Query *const folded = definition_query(query, parts);
    notice_fold_time(folded);
    notice_unindexed_joins(query);
    char *const name = statement->view->relname;
    TableOptions const table{fillfactor_of(options, parts.append), options.tablespace,
                             primary_key_of(options, parts, query),
                             partition_column(options, parts, query)};
    Oid const matrel = create_matrel(name, schema, parts, table);
    Oid const definition = create_definition(name, schema, folded);
    StoreViewQuery(view, reading_query(query, parts, matrel), true);
    CommandCounterIncrement();
    follow_owner(view, matrel);
    follow_owner(view, definition);

    store_options(definition, definition_options());
    List *own = list_concat(list_make2(make_option(kActionOption, "materialize"),
                                       make_option(kDefinitionOption, get_rel_name(definition))),
                            window_options(parts));
    own = list_concat(own,
                      partition_options(options, parts, table.partition_column, table.fillfactor));
    store_options(view, list_concat(own, stored_options(view)));
    register_query(QueryKind::kView, view, definition, matrel, prepared.streams);
    if (parts.window != nullptr)
        set_expiry(view, parts.time_column, *parts.window);
    add_ttl(view, options);
}

/// Of the numbers below pipelinedb.num_workers the one with the fewest views; fold workers
/// settle what two sessions choose at the same time (fold/assignment.cpp).
int least_loaded_worker()
{
    int counts[spool::kMaxWorkers]{};
    for (auto *query : pg::each<ContinuousQuery>(list_queries()))
        counts[query->worker]++;
    spool::WorkerSet const denied = spool::roster().denied;
    int best = 0;
    for (int number = 1; number < settings::num_workers; number++)
        if (counts[number] < counts[best] && (denied >> number & 1) == 0)
            best = number;
    return best;
}

/// A query that reads the output of another is folded in the same tick, if one worker has both.
int worker_for(const ContinuousQuery &query)
{
    for (int i = 0; i < query.nstreams; i++)
        if (const ContinuousQuery *const source = find_query_of_output(query.streams[i]);
            source != nullptr)
            return source->worker;
    return least_loaded_worker();
}

} // namespace

Query *analyse_view_query(pg::UtilityCall &call)
{
    auto *statement = reinterpret_cast<ViewStmt *>(call.statement->utilityStmt);
    RawStmt *const raw = makeNode(RawStmt);
    raw->stmt = static_cast<Node *>(copyObjectImpl(statement->query));
    if (option_value(statement->options, kDefinitionOption) == nullptr &&
        option_value(statement->options, "sw") != nullptr)
        add_window_condition(raw->stmt, parse_view_options(statement->options));
    raw->stmt_location = call.statement->stmt_location;
    raw->stmt_len = call.statement->stmt_len;
    return parse_analyze_fixedparams(raw, call.query_string, nullptr, 0, nullptr);
}

Oid creation_schema(const ViewStmt *statement)
{
    auto *name = static_cast<RangeVar *>(copyObjectImpl(statement->view));
    Oid existing;
    Oid const schema = RangeVarGetAndCheckCreationNamespace(name, NoLock, &existing);
    if (OidIsValid(existing))
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
                        errmsg("relation \"%s\" already exists", name->relname)));
    if (isAnyTempNamespace(schema))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views cannot be temporary"),
                        errhint("Create the view in another schema.")));
    return schema;
}

Oid created_view(const ViewStmt *statement, Oid schema)
{
    Oid const view = get_relname_relid(statement->view->relname, schema);
    if (!OidIsValid(view) || get_rel_relkind(view) != RELKIND_VIEW)
        elog(ERROR, "view \"%s\" was not created", statement->view->relname);
    return view;
}

void start_counting(const ContinuousQuery &query)
{
    // In the order of OIDs, as everybody else who takes several.
    Oid streams[kMaxStreams];
    std::copy_n(query.streams, query.nstreams, streams);
    std::sort(streams, streams + query.nstreams);
    // Writers that aggregate have no groups for a view that they did not know: those who have
    // begun count as earlier ones, further ones write rows.
    for (int i = 0; i < query.nstreams; i++)
        spool::close_gate(streams[i]);
    // The fold worker takes this exclusively before it empties a spool generation, so chunks
    // that a view still uncommitted needs are kept.
    LockDatabaseObject(ExtensionRelationId, get_extension_oid("pipeline_ext", false), kCreationLock,
                       ShareLock);
    // First the look, then the snapshot: who commits in between is visible there.
    store_earlier_writers(query.view, spool::aggregating_writers(streams, query.nstreams));
    pg::stop_point("create_looked");
    spool::insert_start_progress(query.view);
}

void register_query(QueryKind kind, Oid view, Oid definition, Oid matrel, const List *streams)
{
    ObjectAddress dependent, referenced;
    ObjectAddressSet(dependent, RelationRelationId, view);
    ObjectAddressSet(referenced, RelationRelationId, definition);
    recordDependencyOn(&dependent, &referenced, DEPENDENCY_NORMAL);

    FullTransactionId const own = GetTopFullTransactionId();
    ContinuousQuery query{};
    query.view = view;
    query.definition = definition;
    query.matrel = matrel;
    for (Oid const stream : pg::each_oid(streams))
        query.streams[query.nstreams++] = stream;
    hold_outputs(streams);
    start_counting(query);
    query.created_xid = own;
    query.created_seq = spool::last_chunk_seq();
    query.worker = worker_for(query);
    query.active = true;
    query.kind = kind;
    insert_query(query);
    CommandCounterIncrement();
    spool::wake_worker_at_commit(query.worker);
}

void handle_create_view(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    resolve_outputs(statement->query);
    resolve_delta_combines(statement->query, call);
    const char *const action = option_value(statement->options, kActionOption);
    const char *const definition = option_value(statement->options, kDefinitionOption);
    if (action != nullptr && strcmp(action, "materialize") != 0 &&
        strcmp(action, "definition") != 0 && strcmp(action, "transform") != 0)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid action \"%s\"", action),
                 errhint("Actions are \"materialize\" and \"transform\".")));
    bool const is_transform = action != nullptr && strcmp(action, "transform") == 0;
    Query *const query = analyse_view_query(call);
    bool const plain = query->commandType != CMD_SELECT || query->utilityStmt != nullptr;
    if (action == nullptr && (plain || !names_a_stream(query))) {
        refuse_ordinary_replacement(statement);
        next(call);
        return;
    }

    spool::require_preload();
    if (query->hasModifyingCTE)
        refuse("data-modifying statements in WITH",
               "A continuous view changes no other table; run the statement by itself.");
    if (action != nullptr && strcmp(action, "definition") == 0)
        restore_definition(call, next, query);
    else if (action != nullptr && definition != nullptr)
        is_transform ? restore_transform(call, next) : restore_view(call, next);
    else if (plain || !names_a_stream(query))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                 errmsg("a continuous %s must read a stream", is_transform ? "transform" : "view"),
                 errhint("Name a stream in FROM, or leave out action=%s for an ordinary "
                         "view.",
                         action)));
    else if (is_replacement(statement))
        replace_query(call, next, query, is_transform ? QueryKind::kTransform : QueryKind::kView);
    else if (is_transform)
        create_transform(call, next, query);
    else if (option_value(statement->options, "outputfunc") != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("option \"outputfunc\" makes no sense for a continuous view"),
                        errhint("Create a trigger on its output stream, or a transform that reads "
                                "that.")));
    else
        create_continuous_view(call, next, query);
}

} // namespace pipeline::view
