#include "view/matrel.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/grouping.hpp"
#include "view/key_index.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/view.h"
#include "tcop/utility.h"
}

namespace pipeline::view {

void run_subcommand(void *statement)
{
    PlannedStmt *const wrapper = makeNode(PlannedStmt);
    wrapper->commandType = CMD_UTILITY;
    wrapper->utilityStmt = static_cast<Node *>(statement);
    wrapper->stmt_location = -1;
    ProcessUtility(wrapper, "CREATE VIEW (pipeline_ext)", false, PROCESS_UTILITY_SUBCOMMAND,
                   nullptr, nullptr, None_Receiver, nullptr);
    CommandCounterIncrement();
}

void alter_table(RangeVar *name, AlterTableCmd *command)
{
    AlterTableStmt *const statement = makeNode(AlterTableStmt);
    statement->relation = name;
    statement->cmds = list_make1(command);
    statement->objtype = OBJECT_TABLE;
    run_subcommand(statement);
}

namespace {

ColumnDef *column_def(const MatrelColumn *column)
{
    return makeColumnDef(column->name, column->type, column->typmod, column->collation);
}

RangeVar *relation_name(Oid schema, const char *name)
{
    return makeRangeVar(get_namespace_name(schema), pstrdup(name), -1);
}

DefElem *table_option(const char *name, Node *value)
{
    return makeDefElem(pstrdup(name), value, -1);
}

/// Rows that have expired are found in the index, and their room in both, only if VACUUM comes
/// early and looks at the indexes each time.
List *expiry_options()
{
    return list_make2(
        table_option("autovacuum_vacuum_scale_factor",
                     reinterpret_cast<Node *>(makeFloat(pstrdup("0.05")))),
        table_option("vacuum_index_cleanup", reinterpret_cast<Node *>(makeString(pstrdup("on")))));
}

char *column_name(const Decomposition &parts, AttrNumber column)
{
    return pstrdup(static_cast<MatrelColumn *>(list_nth(parts.columns, column - 1))->name);
}

PartitionSpec *partition_spec(const Decomposition &parts, AttrNumber column)
{
    PartitionElem *const element = makeNode(PartitionElem);
    element->name = column_name(parts, column);
    element->location = -1;
    PartitionSpec *const spec = makeNode(PartitionSpec);
    pg::set_range_strategy(spec);
    spec->partParams = list_make1(element);
    spec->location = -1;
    return spec;
}

void create_table(RangeVar *name, const Decomposition &parts, const TableOptions &options)
{
    CreateStmt *const statement = makeNode(CreateStmt);
    statement->relation = name;
    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        statement->tableElts = lappend(statement->tableElts, column_def(column));
    if (options.partition_column == 0) {
        Node *const value = reinterpret_cast<Node *>(makeInteger(options.fillfactor));
        statement->options = list_make1(table_option("fillfactor", value));
        if (parts.time_column != 0)
            statement->options = list_concat(statement->options, expiry_options());
    } else {
        statement->partspec = partition_spec(parts, options.partition_column);
    }
    statement->oncommit = ONCOMMIT_NOOP;
    if (options.tablespace != nullptr)
        statement->tablespacename = pstrdup(options.tablespace);
    // The fold worker writes by heap_insert and heap_update, whatever
    // default_table_access_method says.
    if (options.partition_column == 0)
        statement->accessMethod = pstrdup("heap");
    run_subcommand(statement);
}

/// Without GROUP BY, and for a grouping set without columns, there is one row from the
/// beginning, so that SELECT count(*) shows 0.
void insert_initial_row(Oid matrel, const Decomposition &parts)
{
    pg::with_relation(matrel, RowExclusiveLock, [&](Relation rel) {
        TupleDesc const desc = RelationGetDescr(rel);
        auto *values = static_cast<Datum *>(palloc0(sizeof(Datum) * size_t(desc->natts)));
        auto *nulls = static_cast<bool *>(palloc0(sizeof(bool) * size_t(desc->natts)));
        fill_total_row(parts, values, nulls);
        simple_heap_insert(rel, heap_form_tuple(desc, values, nulls));
    });
    CommandCounterIncrement();
}

IndexElem *index_column(char *name)
{
    IndexElem *const element = makeNode(IndexElem);
    element->name = name;
    return element;
}

IndexElem *index_expression(void *expr)
{
    IndexElem *const element = makeNode(IndexElem);
    element->expr = static_cast<Node *>(expr);
    return element;
}

IndexElem *index_true()
{
    A_Const *const constant = makeNode(A_Const);
    constant->val.boolval.type = T_Boolean;
    constant->val.boolval.boolval = true;
    constant->location = -1;
    return index_expression(constant);
}

/// pipelinedb.hash_group(columns)
IndexElem *index_hash(const List *columns)
{
    List *args = NIL;
    for (auto *column : pg::each<MatrelColumn>(columns)) {
        ColumnRef *const reference = makeNode(ColumnRef);
        reference->fields = list_make1(makeString(column->name));
        reference->location = -1;
        args = lappend(args, reference);
    }
    List *const name =
        list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("hash_group")));
    return index_expression(makeFuncCall(name, args, COERCE_EXPLICIT_CALL, -1));
}

IndexStmt *index_statement(RangeVar *table, const char *method)
{
    IndexStmt *const statement = makeNode(IndexStmt);
    statement->relation = table;
    statement->accessMethod = pstrdup(method);
    return statement;
}

void create_btree(RangeVar *name, const List *columns)
{
    IndexStmt *const statement = index_statement(name, "btree");
    for (auto *column : pg::each<MatrelColumn>(columns))
        statement->indexParams = lappend(statement->indexParams, index_column(column->name));
    run_subcommand(statement);
}

/// For WHERE key = …, where a btree could not take every value. A hash index suits values that
/// differ; to add one it walks through all equal ones (hashinsert.c: _hash_doinsert), and a key
/// beside others has many.
void create_reader_index(RangeVar *name, const MatrelColumn *column, bool only_key)
{
    const char *const operators = only_key ? nullptr : key_operator_class(column->type);
    IndexStmt *const statement = index_statement(name, operators != nullptr ? "gin" : "hash");
    IndexElem *const element = index_column(column->name);
    if (operators != nullptr) {
        element->opclass =
            list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup(operators)));
        // New groups are found at once, without a list of pending ones that grows until VACUUM.
        Node *const off = reinterpret_cast<Node *>(makeBoolean(false));
        statement->options = list_make1(makeDefElem(pstrdup("fastupdate"), off, -1));
    }
    statement->indexParams = list_make1(element);
    run_subcommand(statement);
}

/// Finds a group. Unique where a btree entry has room for every key, see view/key_index. For a
/// view of a single row it is on a constant: at most one row.
void create_key_index(RangeVar *name, Oid schema, const Decomposition &parts)
{
    IndexStmt *const statement = index_statement(name, "btree");
    statement->idxname = ChooseRelationName(name->relname, nullptr, "key", schema, false);
    KeyIndexes const chosen = choose_key_indexes(parts);
    statement->unique = statement->nulls_not_distinct = chosen.unique;
    for (auto *column : pg::each<MatrelColumn>(chosen.plain))
        statement->indexParams = lappend(statement->indexParams, index_column(column->name));
    if (chosen.hashed != NIL)
        statement->indexParams = lappend(statement->indexParams, index_hash(chosen.hashed));
    if (parts.num_keys == 0)
        statement->indexParams = list_make1(index_true());
    run_subcommand(statement);

    for (auto *column : pg::each<MatrelColumn>(chosen.readers))
        create_reader_index(name, column, parts.num_keys == 1);
    if (chosen.behind_step != NIL)
        create_btree(name, chosen.behind_step);
}

/// Then its index finds the groups.
bool is_only_key(const Decomposition &parts, AttrNumber column)
{
    return parts.num_keys == 1 && column == 1;
}

/// For readers of a window, and for the removal of what is behind it. Rows that are grouped have
/// the time as the first column of the index over the groups.
void create_time_index(RangeVar *name, char *column)
{
    IndexStmt *const statement = index_statement(name, "btree");
    statement->indexParams = list_make1(index_column(column));
    run_subcommand(statement);
}

bool has_index_beginning_with(Oid matrel, AttrNumber column)
{
    return pg::with_relation(matrel, AccessShareLock, [column](Relation rel) {
        bool found = false;
        for (Oid const oid : pg::each_oid(RelationGetIndexList(rel))) {
            Relation index = index_open(oid, AccessShareLock);
            found |= index->rd_rel->relam == BTREE_AM_OID &&
                     index->rd_index->indkey.values[0] == column &&
                     RelationGetIndexPredicate(index) == NIL;
            index_close(index, NoLock);
        }
        return found;
    });
}

void set_table_options(RangeVar *name, List *options)
{
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_SetRelOptions;
    command->def = reinterpret_cast<Node *>(options);
    alter_table(name, command);
}

/// Name and constraint are what pg_dump writes: it comes back by itself.
void create_primary_key(RangeVar *table, Oid schema, const Decomposition &parts,
                        const TableOptions &options)
{
    Constraint *const constraint = makeNode(Constraint);
    constraint->contype = CONSTR_PRIMARY;
    constraint->conname = ChooseRelationName(table->relname, nullptr, "pkey", schema, true);
    constraint->keys = list_make1(makeString(column_name(parts, options.primary_key)));
    if (options.partition_column != 0 && options.partition_column != options.primary_key)
        constraint->keys =
            lappend(constraint->keys, makeString(column_name(parts, options.partition_column)));
    constraint->location = -1;
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_AddConstraint;
    command->def = reinterpret_cast<Node *>(constraint);
    alter_table(table, command);
}

/// Keys may be NULL, so there is no primary key that logical replication could use.
void set_replica_identity(RangeVar *name)
{
    ReplicaIdentityStmt *const identity = makeNode(ReplicaIdentityStmt);
    identity->identity_type = REPLICA_IDENTITY_FULL;
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_ReplicaIdentity;
    command->def = reinterpret_cast<Node *>(identity);
    alter_table(name, command);
}

void create_guard(RangeVar *name)
{
    CreateTrigStmt *const statement = makeNode(CreateTrigStmt);
    statement->trigname = pstrdup("pipelinedb_guard");
    statement->relation = name;
    statement->funcname =
        list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("guard_matrel")));
    statement->timing = TRIGGER_TYPE_BEFORE;
    statement->events =
        TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_TRUNCATE;
    run_subcommand(statement);
}

} // namespace

Oid create_matrel(const char *view_name, Oid schema, const Decomposition &parts,
                  const TableOptions &options)
{
    char *const name = ChooseRelationName(view_name, nullptr, "mrel", schema, false);
    RangeVar *const table = relation_name(schema, name);
    create_table(table, parts, options);
    Oid const matrel = get_relname_relid(name, schema);
    if (parts.total_row)
        insert_initial_row(matrel, parts);
    bool const has_key = options.primary_key != 0 && is_only_key(parts, options.primary_key);
    if (!parts.append && !has_key)
        create_key_index(table, schema, parts);
    if (parts.append && parts.time_column != 0)
        create_time_index(table, column_name(parts, parts.time_column));
    if (options.primary_key != 0)
        create_primary_key(table, schema, parts, options);
    else
        set_replica_identity(table);
    create_guard(table);
    return matrel;
}

void prepare_for_expiry(Oid matrel, AttrNumber column, bool index)
{
    // Partitions are dropped as a whole.
    if (get_rel_relkind(matrel) == RELKIND_PARTITIONED_TABLE)
        return;
    RangeVar *const table = relation_name(get_rel_namespace(matrel), get_rel_name(matrel));
    set_table_options(table, expiry_options());
    if (index && !has_index_beginning_with(matrel, column))
        create_time_index(table, get_attname(matrel, column, false));
}

void protect_table(RangeVar *name)
{
    set_replica_identity(name);
    create_guard(name);
}

void fill_total_row(const Decomposition &parts, Datum *values, bool *nulls)
{
    // Of a window it is in a step that never leaves it, and the first mask begins with the step.
    bool first_is_kept = parts.time_column != 0;
    int i = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        values[i] = static_cast<Datum>(0);
        nulls[i] = false;
        if (IsA(column->expr, GroupingFunc)) {
            const auto *const mask = reinterpret_cast<const GroupingFunc *>(column->expr);
            values[i] = Int32GetDatum(all_rolled_up(mask, first_is_kept));
            first_is_kept = false;
        } else if (i + 1 == parts.time_column)
            values[i] = TimestampTzGetDatum(DT_NOEND);
        else if (column->is_key)
            nulls[i] = true;
        else
            values[i] = initial_state(column->form, &nulls[i]);
        i++;
    }
}

/// As DefineVirtualRelation (view.c), which is not exported.
Oid create_definition(const char *view_name, Oid schema, Query *definition)
{
    CreateStmt *const statement = makeNode(CreateStmt);
    statement->relation =
        relation_name(schema, ChooseRelationName(view_name, nullptr, "def", schema, false));
    for (auto *entry : pg::each<TargetEntry>(definition->targetList)) {
        Node *const expr = reinterpret_cast<Node *>(entry->expr);
        ColumnDef *const column =
            makeColumnDef(entry->resname, exprType(expr), exprTypmod(expr), exprCollation(expr));
        statement->tableElts = lappend(statement->tableElts, column);
    }
    statement->oncommit = ONCOMMIT_NOOP;
    ObjectAddress const address =
        DefineRelation(statement, RELKIND_VIEW, InvalidOid, nullptr, nullptr);
    CommandCounterIncrement();
    StoreViewQuery(address.objectId, definition, false);
    CommandCounterIncrement();
    return address.objectId;
}

bool has_guard(Relation matrel)
{
    const TriggerDesc *const triggers = matrel->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        Oid const function = triggers->triggers[i].tgfoid;
        if (get_func_namespace(function) == get_namespace_oid("pipelinedb", true) &&
            strcmp(get_func_name(function), "guard_matrel") == 0)
            return true;
    }
    return false;
}

void check_matrel_columns(Oid matrel, const Decomposition &parts)
{
    pg::with_relation(matrel, AccessShareLock, [&](Relation rel) {
        TupleDesc const desc = RelationGetDescr(rel);
        bool matches = desc->natts == list_length(parts.columns);
        for (int i = 0; matches && i < desc->natts; i++) {
            Form_pg_attribute const attr = TupleDescAttr(desc, i);
            auto *column = static_cast<const MatrelColumn *>(list_nth(parts.columns, i));
            matches = !attr->attisdropped && strcmp(NameStr(attr->attname), column->name) == 0 &&
                      attr->atttypid == column->type && attr->atttypmod == column->typmod &&
                      attr->attcollation == column->collation && attr->attgenerated == '\0';
        }
        if (!matches)
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                     errmsg("table \"%s\" does not have the columns of the view's definition",
                            RelationGetRelationName(rel)),
                     errhint("Restore the table, the definition and the view from one dump.")));
    });
}

} // namespace pipeline::view
