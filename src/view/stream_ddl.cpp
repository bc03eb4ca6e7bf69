#include "view/ddl.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "foreign/foreign.h"
#include "parser/parse_type.h"
}

namespace pipeline::view {
namespace {

constexpr char kArrival[] = "arrival_timestamp";

ColumnDef *declared_arrival(List *elements)
{
    for (auto *element : pg::each<Node>(elements)) {
        auto *column = reinterpret_cast<ColumnDef *>(element);
        if (IsA(element, ColumnDef) && strcmp(column->colname, kArrival) == 0)
            return column;
    }
    return nullptr;
}

void check_arrival(const ColumnDef *column)
{
    if (column->typeName != nullptr && typenameTypeId(nullptr, column->typeName) == TIMESTAMPTZOID)
        return;
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                    errmsg("column name \"%s\" conflicts with a system column name", kArrival),
                    errhint("Declare it with type timestamptz, or choose another name.")));
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

void handle_create_stream(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CreateForeignTableStmt *>(call.statement->utilityStmt);
    ForeignServer *const server = GetForeignServerByName(statement->servername, true);
    if (server != nullptr && is_stream_server(server)) {
        spool::require_preload();
        statement = pg::own_tree<CreateForeignTableStmt>(call);
        ColumnDef *const declared = declared_arrival(statement->base.tableElts);
        if (declared != nullptr)
            check_arrival(declared);
        else if (statement->base.partbound == nullptr) // a partition has its parent's columns
            statement->base.tableElts = lappend(
                statement->base.tableElts, makeColumnDef(kArrival, TIMESTAMPTZOID, -1, InvalidOid));
    }
    next(call);
}

void handle_copy(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CopyStmt *>(call.statement->utilityStmt);
    if (statement->is_from && statement->relation != nullptr && statement->attlist == NIL) {
        Oid const relid = RangeVarGetRelid(statement->relation, NoLock, true);
        if (OidIsValid(relid) && is_stream(relid)) {
            statement = pg::own_tree<CopyStmt>(call);
            // The lock keeps the columns as they are until COPY takes its own.
            statement->attlist = pg::with_relation(relid, RowExclusiveLock, columns_to_copy);
        }
    }
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
