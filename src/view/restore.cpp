#include "view/create_view.hpp"

#include "pg/compat.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"
#include "view/creation_settings.hpp"
#include "view/decompose.hpp"
#include "view/from_checks.hpp"
#include "view/matrel.hpp"
#include "view/partition.hpp"
#include "view/query_checks.hpp"
#include "view/reloptions.hpp"
#include "view/ttl.hpp"
#include "view/view_options.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
}

namespace pipeline::view {
namespace {

constexpr char kFromDump[] =
    "Restore the table, the definition and the view from one dump, in its order.";

[[noreturn]] void refuse_link(const char *message, const char *name)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION), errmsg(message, name),
                    errhint("%s", kFromDump)));
    pg_unreachable();
}

void refuse_replace(const ViewStmt *statement)
{
    if (statement->replace)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views cannot be replaced"), errhint("%s", kFromDump)));
}

/// What is needed of a relation's pg_class row.
struct RelationFacts {
    Oid owner;
    Oid schema;
    Oid access_method;
    char kind;
    char persistence;
};

RelationFacts facts_of(Oid relid)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for relation %u", relid);
    auto *row = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    RelationFacts const facts{row->relowner, row->relnamespace, row->relam, row->relkind,
                              row->relpersistence};
    ReleaseSysCache(tuple);
    return facts;
}

/// The table that a restored view reads.
Oid matrel_of(Oid view, const char *view_name)
{
    RangeTblEntry *const entry = single_from_entry(stored_query(view));
    if (entry == nullptr || entry->rtekind != RTE_RELATION)
        refuse_link("continuous view \"%s\" does not read one table", view_name);
    return entry->relid;
}

} // namespace

Oid find_definition(const char *name, Oid schema)
{
    Oid const definition = get_relname_relid(name, schema);
    if (!OidIsValid(definition) || get_rel_relkind(definition) != RELKIND_VIEW)
        refuse_link("definition \"%s\" of a continuous view does not exist", name);
    const char *const action = option_value(stored_options(definition), kActionOption);
    if (action == nullptr || strcmp(action, "definition") != 0)
        refuse_link("view \"%s\" is not the definition of a continuous view", name);
    return definition;
}

void check_definition(Oid definition)
{
    if (!pg::owns_relation(definition, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(definition));
    if (find_query(definition) != nullptr)
        refuse_link("definition \"%s\" belongs to another continuous view",
                    get_rel_name(definition));
}

namespace {

/// Such statements can be written by hand. Queries run as the owner of the definition and
/// write the table, so both must belong to one role, whose privileges the user has; nothing
/// is gained that this role could not do.
void check_parts(Oid definition, Oid matrel)
{
    RelationFacts const def = facts_of(definition);
    RelationFacts const table = facts_of(matrel);
    bool const is_heap = table.kind == RELKIND_RELATION && table.access_method == HEAP_TABLE_AM_OID;
    if ((!is_heap && table.kind != RELKIND_PARTITIONED_TABLE) ||
        table.persistence != RELPERSISTENCE_PERMANENT)
        refuse_link("\"%s\" is not an ordinary table", get_rel_name(matrel));
    if (table.schema != def.schema)
        refuse_link("table \"%s\" is not in the schema of its view", get_rel_name(matrel));
    if (table.owner != def.owner)
        refuse_link("table \"%s\" does not belong to the owner of its definition",
                    get_rel_name(matrel));
    check_definition(definition);
    if (find_query(matrel) != nullptr)
        refuse_link("table \"%s\" belongs to another continuous view", get_rel_name(matrel));
}

} // namespace

Query *stored_query(Oid view)
{
    Relation rel = table_open(view, AccessShareLock);
    auto *query = static_cast<Query *>(copyObjectImpl(get_view_query(rel)));
    table_close(rel, NoLock);
    pg::dissolve_group_entry(query);
    return query;
}

/// Of the options only those that CREATE VIEW writes are kept; core refuses unknown ones.
void restore_definition(pg::UtilityCall &call, pg::UtilityNext next, Query *query)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    refuse_replace(statement);
    pg::dissolve_group_entry(query);
    check_query(query);
    // No look at rights: a dump grants them in the end, and the fold asks for them each time.
    columns_of_definition(query); // raises the error
    Oid const schema = creation_schema(statement);
    SplitOptions const options = split_options(statement->options);
    statement->options = options.others;
    next(call);
    CommandCounterIncrement();
    Oid const definition = created_view(statement, schema);
    check_no_temporary_objects(definition);
    store_options(definition, list_concat(options.own, stored_options(definition)));
}

namespace {

/// The column by which rows leave a window, as create_view.cpp stored it: window_options().
void restore_window(Oid view, Oid matrel, const Decomposition &parts, List *options)
{
    const char *const size = option_value(options, kWindowOption);
    const char *const name = option_value(options, kWindowColumnOption);
    if (size == nullptr && name == nullptr)
        return;
    AttrNumber const column = name != nullptr ? get_attnum(matrel, name) : InvalidAttrNumber;
    // Where groups are kept the step is their first key; truncation.cpp relies on it.
    bool const is_step = parts.append || column == 1;
    if (size == nullptr || column <= 0 || !is_step || get_atttype(matrel, column) != TIMESTAMPTZOID)
        refuse_link("continuous view \"%s\" has no column for its window", get_rel_name(view));
    DefElem option{};
    option.type = T_DefElem;
    option.defname = pstrdup(kWindowOption);
    option.arg = reinterpret_cast<Node *>(makeString(pstrdup(size)));
    set_expiry(view, column, *parse_interval_option(&option));
}

List *window_options(List *options)
{
    List *result = NIL;
    constexpr const char *kNames[] = {kWindowOption, kWindowColumnOption};
    for (const char *name : kNames)
        if (const char *const value = option_value(options, name); value != nullptr)
            result = lappend(result, make_option(name, value));
    return result;
}

} // namespace

/// The view is created over its table, the link to the definition and the catalog row are
/// made anew. Data comes by COPY into the table, index and guard trigger later in the dump.
void restore_view(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    refuse_replace(statement);
    Oid const schema = creation_schema(statement);
    SplitOptions const options = split_options(statement->options);
    const char *const definition_name = option_value(options.own, kDefinitionOption);
    Oid const definition = find_definition(definition_name, schema);
    LockRelationOid(definition, AccessShareLock);

    statement->options = options.others;
    next(call);
    CommandCounterIncrement();
    Oid const view = created_view(statement, schema);
    Oid const matrel = matrel_of(view, statement->view->relname);
    // Nobody else may link, drop or alter the table meanwhile.
    LockRelationOid(matrel, ShareUpdateExclusiveLock);
    check_parts(definition, matrel);
    Query *const query = stored_query(definition);
    Decomposition const parts = columns_of_definition(query);
    check_matrel_columns(matrel, parts);
    List *own = list_concat(list_make2(make_option(kActionOption, "materialize"),
                                       make_option(kDefinitionOption, definition_name)),
                            list_concat(window_options(options.own), ttl_options(options.own)));
    own = list_concat(own, kept_partition_options(options.own));
    store_options(view, list_concat(own, stored_options(view)));
    register_query(QueryKind::kView, view, definition, matrel, streams_of(query));
    restore_window(view, matrel, parts, options.own);
    restore_ttl(view, matrel, options.own);
}

} // namespace pipeline::view
