#include "view/ddl.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"
#include "view/from_checks.hpp"
#include "view/output.hpp"
#include "view/reloptions.hpp"
#include "view/stream_rules.hpp"

extern "C" {
#include "foreign/foreign.h"
}

namespace pipeline::view {
namespace {

ColumnDef *declared_arrival(List *elements)
{
    for (auto *element : pg::each<Node>(elements)) {
        auto *column = reinterpret_cast<ColumnDef *>(element);
        if (IsA(element, ColumnDef) && strcmp(column->colname, kArrival) == 0)
            return column;
    }
    return nullptr;
}

bool inherits_arrival(List *parents)
{
    for (auto *name : pg::each<RangeVar>(parents)) {
        Oid const parent = RangeVarGetRelid(name, NoLock, true);
        if (OidIsValid(parent) && get_attnum(parent, kArrival) != InvalidAttrNumber)
            return true;
    }
    return false;
}

bool has_option(List *options, const char *name)
{
    for (auto *option : pg::each<DefElem>(options))
        if (strcmp(option->defname, name) == 0)
            return true;
    return false;
}

/// The query runs in another session, and CREATE VIEW would refuse the stream.
void check_permanent(RangeVar *name)
{
    auto *copy = static_cast<RangeVar *>(copyObjectImpl(name));
    if (isAnyTempNamespace(RangeVarGetCreationNamespace(copy)))
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("streams cannot be temporary"),
                 errhint("Create the stream in another schema.")));
}

/// A partition has its parent's columns and no others. The option tells that to a restore,
/// where it is created as a table of its own and attached later.
void add_arrival(CreateForeignTableStmt *statement)
{
    CreateStmt *const table = &statement->base;
    ColumnDef *const declared = declared_arrival(table->tableElts);
    if (table->partbound != nullptr) {
        if (!has_option(statement->options, kArrival))
            statement->options =
                lappend(statement->options,
                        makeDefElem(pstrdup(kArrival),
                                    reinterpret_cast<Node *>(makeString(pstrdup("off"))), -1));
    } else if (declared != nullptr) {
        check_arrival(declared);
    } else if (wants_arrival(statement->options) && !inherits_arrival(table->inhRelations)) {
        table->tableElts =
            lappend(table->tableElts, makeColumnDef(kArrival, TIMESTAMPTZOID, -1, InvalidOid));
    }
}

/// Every column of the stream but the arrival time, which each row gets by itself.
List *columns_to_copy(Relation stream)
{
    List *columns = NIL;
    TupleDesc const desc = RelationGetDescr(stream);
    for (int i = 0; i < desc->natts; i++) {
        Form_pg_attribute const attr = TupleDescAttr(desc, i);
        if (!attr->attisdropped && attr->attgenerated == '\0' &&
            strcmp(NameStr(attr->attname), kArrival) != 0)
            columns = lappend(columns, makeString(pstrdup(NameStr(attr->attname))));
    }
    return columns;
}

} // namespace

void handle_create_table(pg::UtilityCall &call, pg::UtilityNext next)
{
    check_no_stream_parent(
        reinterpret_cast<CreateStmt *>(call.statement->utilityStmt)->inhRelations);
    next(call);
}

void handle_create_stream(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CreateForeignTableStmt *>(call.statement->utilityStmt);
    check_no_stream_parent(statement->base.inhRelations);
    ForeignServer *const server = GetForeignServerByName(statement->servername, true);
    if (server != nullptr && is_stream_server(server)) {
        spool::require_preload();
        statement = pg::own_tree<CreateForeignTableStmt>(call);
        check_permanent(statement->base.relation);
        add_arrival(statement);
    }
    Oid const output = server != nullptr && has_option(statement->options, kOutputOption)
                           ? RangeVarGetCreationNamespace(statement->base.relation)
                           : InvalidOid;
    next(call);
    if (OidIsValid(output)) {
        CommandCounterIncrement();
        link_output(get_relname_relid(statement->base.relation->relname, output),
                    option_value(statement->options, kOutputOption));
    }
}

/// The server's hint for COPY TO is COPY (SELECT ...), which a stream refuses as well.
void handle_copy(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CopyStmt *>(call.statement->utilityStmt);
    Oid const relid = statement->relation != nullptr
                          ? RangeVarGetRelid(statement->relation, NoLock, true)
                          : InvalidOid;
    if (OidIsValid(relid) && is_stream(relid)) {
        if (!statement->is_from)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("cannot copy from stream \"%s\"", statement->relation->relname),
                            errhint("A stream stores no rows. Copy from a continuous view: COPY "
                                    "(SELECT ... FROM view) TO ...")));
        if (statement->attlist == NIL) {
            statement = pg::own_tree<CopyStmt>(call);
            // The lock keeps the columns as they are until COPY takes its own.
            statement->attlist = pg::with_relation(relid, RowExclusiveLock, columns_to_copy);
        }
    }
    next(call);
}

/// With data, planning the query refuses the stream. Without, the statement would succeed, and
/// every REFRESH fail.
void handle_create_table_as(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CreateTableAsStmt *>(call.statement->utilityStmt);
    if (statement->objtype == OBJECT_MATVIEW && IsA(statement->query, Query) &&
        names_a_stream(reinterpret_cast<Query *>(statement->query)))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("a materialized view cannot read a stream"),
                        errhint("Use CREATE VIEW: a view over a stream is materialized, and always "
                                "up to date.")));
    next(call);
}

void handle_create_extension(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CreateExtensionStmt *>(call.statement->utilityStmt);
    next(call);
    if (strcmp(statement->extname, "pipeline_ext") == 0 && spool::is_preloaded())
        spool::wake_worker_at_commit();
}

} // namespace pipeline::view
