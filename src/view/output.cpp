#include "view/output.hpp"

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/create_view.hpp"
#include "view/matrel.hpp"
#include "view/output_checks.hpp"
#include "view/stream_rules.hpp"
#include "view/window_edge.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "foreign/foreign.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
}

namespace pipeline::view {
namespace {

List *transform_columns(Oid view)
{
    return pg::with_relation(view, AccessShareLock, [](Relation rel) {
        List *columns = NIL;
        for (int i = 0; i < RelationGetDescr(rel)->natts; i++) {
            Form_pg_attribute const attr = TupleDescAttr(RelationGetDescr(rel), i);
            if (strcmp(NameStr(attr->attname), kArrival) != 0)
                columns = lappend(columns, makeColumnDef(NameStr(attr->attname), attr->atttypid,
                                                         attr->atttypmod, attr->attcollation));
        }
        return columns;
    });
}

ColumnDef *row_column(const char *name, Oid relid)
{
    return makeColumnDef(name, get_rel_type_id(relid), -1, InvalidOid);
}

List *columns_of(const ContinuousQuery *query)
{
    if (query->kind == QueryKind::kTransform)
        return transform_columns(query->view);
    List *columns = list_make2(row_column("old", query->view), row_column("new", query->view));
    if (!has_window(query))
        columns = lappend(columns, row_column("delta", query->matrel));
    return columns;
}

RangeVar *range_of(Oid relid)
{
    return makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid), -1);
}

/// Who may read the view is asked by check_outputs(), each time.
void open_to_all(Oid output)
{
    RoleSpec *const everybody = makeNode(RoleSpec);
    everybody->roletype = ROLESPEC_PUBLIC;
    everybody->location = -1;
    AccessPriv *const select = makeNode(AccessPriv);
    select->priv_name = pstrdup("select");
    GrantStmt *const grant = makeNode(GrantStmt);
    grant->is_grant = true;
    grant->targtype = ACL_TARGET_OBJECT;
    grant->objtype = OBJECT_TABLE;
    grant->objects = list_make1(range_of(output));
    grant->privileges = list_make1(select);
    grant->grantees = list_make1(everybody);
    run_subcommand(grant);
}

/// While nobody read the output, nobody was told what left the window.
void begin_edge(const ContinuousQuery *query)
{
    int64 const step = step_of_definition(stored_query(query->definition));
    store_edge(query->view, edge_at(pg::now(), query->expire_after, step));
}

/// The owner of the view needs no right to create streams: the table is made with all rights, and
/// given to him.
Oid create_output(const ContinuousQuery *query)
{
    Oid const schema = get_rel_namespace(query->view);
    char *const view_name = get_rel_name(query->view);
    char *const name = ChooseRelationName(view_name, nullptr, "osrel", schema, false);
    CreateForeignTableStmt *const statement = makeNode(CreateForeignTableStmt);
    statement->base.relation = makeRangeVar(get_namespace_name(schema), name, -1);
    statement->base.tableElts = columns_of(query);
    statement->base.oncommit = ONCOMMIT_NOOP;
    statement->servername = pstrdup("pipelinedb");
    statement->options = list_make1(
        makeDefElem(pstrdup(kOutputOption), reinterpret_cast<Node *>(makeString(view_name)), -1));
    pg::as_user(BOOTSTRAP_SUPERUSERID, SECURITY_LOCAL_USERID_CHANGE, [&] {
        run_subcommand(statement);
        open_to_all(get_relname_relid(name, schema));
    });
    if (has_window(query))
        begin_edge(query);
    return get_relname_relid(name, schema);
}

void check_may_read(Oid view, Oid role)
{
    if (pg_class_aclcheck(view, role, ACL_SELECT) != ACLCHECK_OK)
        aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, get_rel_name(view));
}

/// So that the output goes with the view, without CASCADE.
void depend_on_view(Oid output, Oid view)
{
    ObjectAddress dependent, referenced;
    ObjectAddressSet(dependent, RelationRelationId, output);
    ObjectAddressSet(referenced, RelationRelationId, view);
    recordDependencyOn(&dependent, &referenced, DEPENDENCY_AUTO);
}

void set_option(Oid output, const char *view_name)
{
    DefElem *const option = makeDefElem(
        pstrdup(kOutputOption), reinterpret_cast<Node *>(makeString(pstrdup(view_name))), -1);
    option->defaction = DEFELEM_SET;
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_GenericOptions;
    command->def = reinterpret_cast<Node *>(list_make1(option));
    AlterTableInternal(output, list_make1(command), false);
    CommandCounterIncrement();
}

bool is_read(Oid stream)
{
    for (auto *query : pg::each<ContinuousQuery>(list_queries()))
        if (query->reads_stream(stream))
            return true;
    return false;
}

} // namespace

Oid ensure_output(const ContinuousQuery *query)
{
    check_may_read(query->view, GetUserId());
    if (OidIsValid(query->output))
        return query->output;
    check_has_output(query);
    // Of two sessions that are the first one waits, and finds it.
    LockRelationOid(query->view, ShareUpdateExclusiveLock);
    query = find_query(query->view);
    if (query == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("the continuous view was dropped by another session")));
    return OidIsValid(query->output) ? query->output : create_output(query);
}

void check_outputs(const List *streams, Oid role)
{
    for (Oid const stream : pg::each_oid(streams))
        if (const ContinuousQuery *const query = find_query_of_output(stream); query != nullptr)
            check_may_read(query->view, role);
}

void hold_outputs(const List *streams)
{
    for (Oid const stream : pg::each_oid(streams)) {
        const ContinuousQuery *const query = find_query_of_output(stream);
        if (query == nullptr)
            continue;
        LockRelationOid(query->matrel, ShareLock);
        if (has_window(query) && !is_read(stream))
            begin_edge(query);
    }
}

/// Such statements can be written by hand, too.
void link_output(Oid output, const char *view_name)
{
    Oid const view = get_relname_relid(view_name, get_rel_namespace(output));
    const ContinuousQuery *const query = OidIsValid(view) ? find_query(view) : nullptr;
    if (query == nullptr || query->view != view)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("continuous query \"%s\" does not exist", view_name),
                        errhint("Restore the query and its output stream from one dump, in its "
                                "order.")));
    if (!pg::owns_relation(view, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, view_name);
    if (OidIsValid(query->output))
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        errmsg("continuous query \"%s\" has an output stream already", view_name),
                        errhint("Its name is \"%s\".", get_rel_name(query->output))));
    check_output_columns(output, columns_of(query));
    set_output(view, output);
    depend_on_view(output, view);
    Oid const owner = pg::relation_owner(view);
    if (owner != pg::relation_owner(output)) {
        ATExecChangeOwner(output, owner, true, AccessExclusiveLock);
        CommandCounterIncrement();
    }
}

void rename_output(const ContinuousQuery *query)
{
    if (OidIsValid(query->output))
        set_option(query->output, get_rel_name(query->view));
}

void forget_output(Oid output)
{
    if (const ContinuousQuery *const query = find_query_of_output(output); query != nullptr)
        set_output(query->view, InvalidOid);
}

} // namespace pipeline::view
