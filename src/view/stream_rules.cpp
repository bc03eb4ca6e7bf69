#include "view/stream_rules.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "commands/tablecmds.h"
#include "parser/parse_type.h"
#include "utils/fmgroids.h"
}

namespace pipeline::view {
namespace {

/// ALTER TABLE recurses to children, so a statement about a parent is one about its streams.
List *streams_below(Oid relid)
{
    List *streams = NIL;
    for (Oid const member : pg::each_oid(find_all_inheritors(relid, NoLock, nullptr)))
        if (is_stream(member))
            streams = lappend_oid(streams, member);
    return streams;
}

bool has_arrival(Oid stream)
{
    AttrNumber const attno = get_attnum(stream, kArrival);
    return attno != InvalidAttrNumber && get_atttype(stream, attno) == TIMESTAMPTZOID;
}

// ---- types -------------------------------------------------------------------------------

[[noreturn]] void refuse_type(const AlterTableCmd *command, Oid relid, Oid stream)
{
    if (relid == stream)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot change the type of column \"%s\" of stream \"%s\"",
                               command->name, get_rel_name(stream)),
                        errdetail("Rows that wait to be folded hold the old type."),
                        errhint("Add a column of the new type instead.")));
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("cannot change the type of column \"%s\" of table \"%s\"", command->name,
                    get_rel_name(relid)),
             errdetail("Stream \"%s\" inherits it, and its rows that wait to be folded hold the "
                       "old type.",
                       get_rel_name(stream)),
             errhint("Add a column of the new type instead, or detach the stream first.")));
}

struct StreamColumn {
    Oid stream; ///< InvalidOid = none
    AttrNumber attno;
};

StreamColumn find_stream_column(Oid type);

/// CREATE TABLE ... OF type: ALTER TYPE ... CASCADE changes it, too.
bool is_typed_table(Oid relid, Oid type)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
    if (!HeapTupleIsValid(tuple))
        return false;
    bool const typed = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->reloftype == type;
    ReleaseSysCache(tuple);
    return typed;
}

StreamColumn check_dependent(const FormData_pg_depend *row)
{
    if (row->classid == TypeRelationId) // an array, a domain or a range of it
        return find_stream_column(row->objid);
    if (row->classid != RelationRelationId ||
        (row->objsubid <= 0 && !is_typed_table(row->objid, row->refobjid)))
        return {};
    if (row->objsubid > 0 && is_stream(row->objid))
        return {row->objid, static_cast<AttrNumber>(row->objsubid)};
    Oid const row_type = get_rel_type_id(row->objid);
    return OidIsValid(row_type) ? find_stream_column(row_type) : StreamColumn{};
}

/// A column of a stream that holds values of `type`, inside others or not. The server's own
/// search (tablecmds.c:find_composite_type_dependencies) leaves out foreign tables, since they
/// store nothing.
StreamColumn find_stream_column(Oid type)
{
    check_stack_depth();
    StreamColumn found{};
    Relation depend = table_open(DependRelationId, AccessShareLock);
    ScanKeyData keys[2];
    ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(TypeRelationId));
    ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(type));
    SysScanDesc scan = systable_beginscan(depend, DependReferenceIndexId, true, nullptr, 2, keys);
    HeapTuple tuple;
    while (!OidIsValid(found.stream) && HeapTupleIsValid(tuple = systable_getnext(scan)))
        found = check_dependent(reinterpret_cast<Form_pg_depend>(GETSTRUCT(tuple)));
    systable_endscan(scan);
    table_close(depend, AccessShareLock);
    return found;
}

/// The fields of a composite value are found by the types of the fields before them.
void check_row_types(const AlterTableCmd *command, Oid relid)
{
    for (Oid const member : pg::each_oid(find_all_inheritors(relid, NoLock, nullptr))) {
        Oid const row_type = get_rel_type_id(member);
        StreamColumn const user =
            OidIsValid(row_type) ? find_stream_column(row_type) : StreamColumn{};
        if (OidIsValid(user.stream))
            ereport(ERROR,
                    (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                     errmsg("cannot change the type of \"%s\" of \"%s\" because column \"%s.%s\" "
                            "uses its row type",
                            command->name, get_rel_name(relid), get_rel_name(user.stream),
                            get_attname(user.stream, user.attno, false)),
                     errdetail("Rows of the stream that wait to be folded hold the old type."),
                     errhint("Add an attribute or column of the new type instead, or drop the "
                             "stream's column.")));
    }
}

void check_type_change(const AlterTableCmd *command, Oid relid)
{
    List *const streams = streams_below(relid);
    if (streams != NIL)
        refuse_type(command, relid,
                    list_member_oid(streams, relid) ? relid : linitial_oid(streams));
    check_row_types(command, relid);
}

// ---- parents -----------------------------------------------------------------------------

/// The server refuses the column, too (tablecmds.c:ATExecAttachPartition), but cannot know
/// whence it came.
void check_attach(const PartitionCmd *command, Oid parent)
{
    Oid const stream = RangeVarGetRelid(command->name, NoLock, true);
    if (!OidIsValid(stream) || !is_stream(stream) ||
        get_attnum(stream, kArrival) == InvalidAttrNumber ||
        get_attnum(parent, kArrival) != InvalidAttrNumber)
        return;
    ereport(ERROR,
            (errcode(ERRCODE_DATATYPE_MISMATCH),
             errmsg("stream \"%s\" has a column \"%s\" that table \"%s\" has not",
                    get_rel_name(stream), kArrival, get_rel_name(parent)),
             errdetail("A partition has the columns of its parent and no others."),
             errhint("ALTER FOREIGN TABLE %s DROP COLUMN %s, or add such a column to the parent.",
                     quote_identifier(get_rel_name(stream)), kArrival)));
}

void check_command(const AlterTableCmd *command, Oid relid)
{
    switch (command->subtype) {
    case AT_AlterColumnType:
        check_type_change(command, relid);
        break;
    case AT_AddColumn: {
        auto *column = reinterpret_cast<const ColumnDef *>(command->def);
        if (is_stream(relid) && strcmp(column->colname, kArrival) == 0)
            check_arrival(column);
        break;
    }
    case AT_AddInherit:
        check_no_stream_parent(list_make1(command->def));
        break;
    case AT_AttachPartition:
        check_attach(reinterpret_cast<const PartitionCmd *>(command->def), relid);
        break;
    default:
        break;
    }
}

// ---- arrival_timestamp -------------------------------------------------------------------

Oid owner_of(Oid relid)
{
    return pg::with_relation(relid, NoLock, [](Relation rel) { return rel->rd_rel->relowner; });
}

/// A dump does not say that a column was dropped; the option does, so that CREATE FOREIGN
/// TABLE does not add it again.
void note_missing_arrival(const AlterTableStmt *statement, Oid stream)
{
    if (get_attnum(stream, kArrival) != InvalidAttrNumber)
        return;
    List *const options = GetForeignTable(stream)->options;
    if (!wants_arrival(options))
        return;
    DefElem *const option =
        makeDefElem(pstrdup(kArrival), reinterpret_cast<Node *>(makeString(pstrdup("off"))), -1);
    option->defaction = DEFELEM_ADD;
    for (auto *given : pg::each<DefElem>(options))
        if (strcmp(given->defname, kArrival) == 0)
            option->defaction = DEFELEM_SET;
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_GenericOptions;
    command->def = reinterpret_cast<Node *>(list_make1(option));
    // Who owns a parent may drop its columns from children of others. An event trigger may have
    // run the statement; its command collection is not prepared for a change of ours.
    EventTriggerAlterTableStart(reinterpret_cast<Node *>(const_cast<AlterTableStmt *>(statement)));
    pg::as_user(owner_of(stream), SECURITY_LOCAL_USERID_CHANGE,
                [&] { AlterTableInternal(stream, list_make1(command), false); });
    EventTriggerAlterTableEnd();
    CommandCounterIncrement();
}

} // namespace

void check_arrival(const ColumnDef *column)
{
    if (column->typeName != nullptr && typenameTypeId(nullptr, column->typeName) == TIMESTAMPTZOID)
        return;
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                    errmsg("column name \"%s\" conflicts with a system column name", kArrival),
                    errhint("Declare it with type timestamptz, or choose another name.")));
}

void check_no_stream_parent(const List *parents)
{
    for (auto *name : pg::each<RangeVar>(parents)) {
        Oid const parent = RangeVarGetRelid(name, NoLock, true);
        if (OidIsValid(parent) && is_stream(parent))
            ereport(ERROR,
                    (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                     errmsg("cannot inherit from stream \"%s\"", name->relname),
                     errdetail("A continuous view over it would not see the rows of its children."),
                     errhint("Write to the stream itself. To have the same columns, use "
                             "CREATE TABLE ... (LIKE %s).",
                             quote_identifier(name->relname))));
    }
}

bool wants_arrival(List *options)
{
    for (auto *option : pg::each<DefElem>(options))
        if (strcmp(option->defname, kArrival) == 0)
            return defGetBoolean(option);
    return true;
}

void check_stream_alter(const AlterTableStmt *statement, Oid relid)
{
    // Without the right to alter it the server raises the error.
    if (!OidIsValid(relid) || !pg::owns_relation(relid, GetUserId()))
        return;
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds))
        check_command(command, relid);
}

void finish_stream_alter(const AlterTableStmt *statement, Oid relid)
{
    bool dropped = false;
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds))
        dropped |= command->subtype == AT_DropColumn && strcmp(command->name, kArrival) == 0;
    if (!dropped || !OidIsValid(relid))
        return;
    CommandCounterIncrement();
    for (Oid const stream : pg::each_oid(streams_below(relid)))
        note_missing_arrival(statement, stream);
}

void check_stream_rename(const RenameStmt *statement, Oid relid)
{
    if (statement->renameType != OBJECT_COLUMN || !OidIsValid(relid) ||
        strcmp(statement->subname, kArrival) != 0 || !pg::owns_relation(relid, GetUserId()))
        return;
    for (Oid const stream : pg::each_oid(streams_below(relid)))
        if (has_arrival(stream))
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("cannot rename column \"%s\" of stream \"%s\"", kArrival,
                                   get_rel_name(stream)),
                            errdetail("The time of writing is found by this name."),
                            errhint("Give it another name in the select list of the view.")));
}

} // namespace pipeline::view
