#include "view/ddl.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"
#include "view/output.hpp"
#include "view/output_function.hpp"
#include "view/partition.hpp"
#include "view/reloptions.hpp"
#include "view/stream_rules.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/pg_trigger.h"
#include "commands/tablecmds.h"
#include "storage/lmgr.h"
}

namespace pipeline::view {
namespace {

Oid named_relation(RangeVar *name)
{
    return name != nullptr ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
}

[[noreturn]] void refuse_internal(const char *what, const ContinuousQuery *query, Oid relid)
{
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("cannot %s \"%s\": it belongs to continuous view \"%s\"", what,
                           get_rel_name(relid), get_rel_name(query->view)),
                    errhint("Alter the continuous view itself; this goes with it.")));
    pg_unreachable();
}

/// An output stream has the columns of its query and goes with it.
void refuse_output(Oid relid, const char *what)
{
    if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
        return;
    if (const ContinuousQuery *const query = find_query_of_output(relid); query != nullptr)
        refuse_internal(what, query, relid);
}

/// What a dump says of an output stream besides: whose it is, and which triggers are off.
bool is_for_outputs(const AlterTableCmd *command, Oid relid)
{
    switch (command->subtype) {
    case AT_ChangeOwner:
        return get_rolespec_oid(command->newowner, true) == pg::relation_owner(relid);
    case AT_EnableTrig:
    case AT_EnableAlwaysTrig:
    case AT_EnableReplicaTrig:
    case AT_DisableTrig:
    case AT_EnableTrigAll:
    case AT_DisableTrigAll:
    case AT_EnableTrigUser:
    case AT_DisableTrigUser:
        return true;
    default:
        return false;
    }
}

void check_output_alter(const AlterTableStmt *statement, Oid relid)
{
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds))
        if (OidIsValid(relid) && !is_for_outputs(command, relid))
            refuse_output(relid, "alter");
}

/// An ordinary stream does not become one.
void refuse_output_option(const AlterTableStmt *statement)
{
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds)) {
        if (command->subtype != AT_GenericOptions)
            continue;
        for (auto *option : pg::each<DefElem>(reinterpret_cast<List *>(command->def)))
            if (strcmp(option->defname, kOutputOption) == 0)
                ereport(ERROR,
                        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                         errmsg("option \"%s\" of a stream cannot be changed", kOutputOption),
                         errhint("The output stream of a view is made when a continuous "
                                 "query first reads it.")));
    }
}

/// What would break the correspondence of the definition with its table, or the table's
/// durability. The rest (storage parameters, constraints, statistics, tablespace) is free.
const char *breaks_matrel(AlterTableType type)
{
    switch (type) {
    case AT_AddColumn:
        return "add a column to";
    case AT_DropColumn:
        return "drop a column of";
    case AT_AlterColumnType:
        return "change the type of a column of";
    case AT_ChangeOwner:
        return "change the owner of";
    case AT_SetUnLogged:
        return "change the persistence of";
    case AT_AddInherit:
    case AT_AddOf:
        return "attach";
    default:
        return nullptr;
    }
}

bool sets_options(AlterTableType type)
{
    return type == AT_SetRelOptions || type == AT_ResetRelOptions || type == AT_ReplaceRelOptions;
}

bool is_ttl_option(const DefElem *option)
{
    return strcmp(option->defname, kTtlOption) == 0 ||
           strcmp(option->defname, kTtlColumnOption) == 0;
}

void refuse_own_options(List *options)
{
    for (auto *option : pg::each<DefElem>(options))
        if (is_own_option(option))
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("option \"%s\" of a continuous view cannot be changed",
                                   option->defname),
                            is_ttl_option(option) ? errhint("Use pipelinedb.set_ttl().")
                                                  : errhint("Drop the view and create it again.")));
}

/// What violates CHECK, NOT NULL or the primary key is a rejected row; they are the owner's to
/// choose, and the last is what option pk makes. Any other unique index that a group could violate
/// would stop the view.
void check_constraint(const Constraint *constraint, const ContinuousQuery *query)
{
    if (constraint->contype == CONSTR_EXCLUSION)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot add an exclusion constraint to \"%s\": it belongs to "
                               "continuous view \"%s\"",
                               get_rel_name(query->matrel), get_rel_name(query->view)),
                        errhint("Create an index instead.")));
    // With USING INDEX the index was checked when it was created.
    if (constraint->contype == CONSTR_UNIQUE && constraint->indexname == nullptr)
        check_unique(query, constraint->keys);
}

Oid partition_named_in(const AlterTableCmd *command)
{
    return named_relation(reinterpret_cast<PartitionCmd *>(command->def)->name);
}

/// Changes of a view's table that depend on more than their kind.
void check_matrel_command(const AlterTableCmd *command, const ContinuousQuery *query)
{
    if (command->subtype == AT_AttachPartition)
        if (Oid const partition = partition_named_in(command); OidIsValid(partition))
            check_attached(query->matrel, partition);
    if (command->subtype == AT_AddConstraint)
        check_constraint(reinterpret_cast<const Constraint *>(command->def), query);
    // The fold worker writes by heap_insert and heap_update.
    if (command->subtype == AT_SetAccessMethod && strcmp(command->name, "heap") != 0)
        refuse_internal("change the access method of", query, query->matrel);
}

/// Rows are written below the executor, which would check the partition's bounds.
void refuse_partition(const AlterTableStmt *statement)
{
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds)) {
        if (command->subtype != AT_AttachPartition)
            continue;
        auto *const partition = reinterpret_cast<PartitionCmd *>(command->def);
        Oid const relid = named_relation(partition->name);
        const ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
        if (query != nullptr)
            refuse_internal("attach", query, relid);
    }
}

/// Returns whether the statement sets options, i.e. core must not see ours meanwhile.
bool check_view_commands(const AlterTableStmt *statement, const ContinuousQuery *query, Oid relid)
{
    bool options = false;
    // A transform, which stores nothing, stands there for its table, too.
    bool const of_matrel = relid == query->matrel && relid != query->view;
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds)) {
        if (relid == query->definition && command->subtype == AT_ChangeOwner)
            refuse_internal("change the owner of", query, relid);
        if (of_matrel && breaks_matrel(command->subtype) != nullptr)
            refuse_internal(breaks_matrel(command->subtype), query, relid);
        if (of_matrel)
            check_matrel_command(command, query);
        if (!of_matrel && sets_options(command->subtype)) {
            refuse_own_options(reinterpret_cast<List *>(command->def));
            options = true;
        }
    }
    return options;
}

void finish_matrel_commands(const AlterTableStmt *statement, const ContinuousQuery *query)
{
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds)) {
        if (command->subtype != AT_AttachPartition)
            continue;
        CommandCounterIncrement();
        finish_attached(query->matrel, partition_named_in(command));
    }
}

void carry_owner(const AlterTableStmt *statement, const ContinuousQuery *query)
{
    for (auto *command : pg::each<AlterTableCmd>(statement->cmds)) {
        if (command->subtype != AT_ChangeOwner)
            continue;
        Oid const owner = get_rolespec_oid(command->newowner, false);
        CommandCounterIncrement();
        ATExecChangeOwner(query->definition, owner, false, AccessExclusiveLock);
        ATExecChangeOwner(query->matrel, owner, false, AccessExclusiveLock);
        for (Oid const table : pg::each_oid(tables_of(query->matrel, AccessExclusiveLock)))
            if (table != query->matrel)
                ATExecChangeOwner(table, owner, false, AccessExclusiveLock);
        if (OidIsValid(query->output))
            ATExecChangeOwner(query->output, owner, true, AccessExclusiveLock);
        CommandCounterIncrement();
    }
}

void alter_view(pg::UtilityCall &call, pg::UtilityNext next, const ContinuousQuery *query,
                Oid relid)
{
    auto *statement = reinterpret_cast<AlterTableStmt *>(call.statement->utilityStmt);
    // Without the right to alter it core raises the error.
    if (!pg::owns_relation(relid, GetUserId())) {
        next(call);
        return;
    }
    bool const options = check_view_commands(statement, query, relid);
    List *own = NIL;
    if (options) {
        LockRelationOid(relid, AccessExclusiveLock);
        SplitOptions const stored = split_options(stored_options(relid));
        own = stored.own;
        store_options(relid, stored.others);
    }
    next(call);
    if (options) {
        CommandCounterIncrement();
        store_options(relid, list_concat(own, stored_options(relid)));
    }
    if (relid == query->view)
        carry_owner(statement, query);
    if (relid == query->matrel)
        finish_matrel_commands(statement, query);
}

void carry_schema(Oid relid, Oid new_schema, ObjectAddresses *moved)
{
    Oid const old_schema = get_rel_namespace(relid);
    if (old_schema == new_schema)
        return;
    pg::with_relation(relid, AccessExclusiveLock, [&](Relation rel) {
        AlterTableNamespaceInternal(rel, old_schema, new_schema, moved);
    });
    CommandCounterIncrement();
}

} // namespace

void handle_alter_table(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<AlterTableStmt *>(call.statement->utilityStmt);
    Oid const relid = named_relation(statement->relation);
    check_stream_alter(statement, relid);
    check_output_alter(statement, relid);
    if (OidIsValid(relid) && is_stream(relid))
        refuse_output_option(statement);
    ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
    refuse_partition(statement);
    if (query != nullptr)
        alter_view(call, next, query, relid);
    else
        next(call);
    finish_stream_alter(statement, relid);
}

/// CREATE OR REPLACE RULE "_RETURN" would put another query into a view.
void handle_create_rule(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<RuleStmt *>(call.statement->utilityStmt);
    Oid const relid = named_relation(statement->relation);
    ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
    if (query != nullptr && statement->event == CMD_SELECT)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views cannot be replaced"),
                        errhint("Create a view of another name, or drop this one first.")));
    next(call);
}

/// Others would be there, and never fire: the rows are not inserted by a statement.
void handle_create_trigger(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<CreateTrigStmt *>(call.statement->utilityStmt);
    Oid const relid = named_relation(statement->relation);
    bool const fires = statement->row && statement->timing == TRIGGER_TYPE_AFTER &&
                       (statement->events & TRIGGER_TYPE_INSERT) != 0;
    bool const of_output =
        OidIsValid(relid) && is_stream(relid) && find_query_of_output(relid) != nullptr;
    if (of_output && !fires)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("trigger \"%s\" would never fire", statement->trigname),
                        errdetail("Of output streams only AFTER INSERT ... FOR EACH ROW triggers "
                                  "are fired."),
                        errhint("Create such a trigger.")));
    if (of_output)
        check_trigger(statement, relid);
    next(call);
}

void handle_rename(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<RenameStmt *>(call.statement->utilityStmt);
    Oid const relid = named_relation(statement->relation);
    check_stream_rename(statement, relid);
    ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
    bool const of_relation = statement->renameType == OBJECT_VIEW ||
                             statement->renameType == OBJECT_TABLE ||
                             statement->renameType == OBJECT_COLUMN;
    if (query != nullptr && relid != query->view && of_relation)
        refuse_internal(statement->renameType == OBJECT_COLUMN ? "rename a column of" : "rename",
                        query, relid);
    refuse_output(relid, "rename");
    next(call);
    if (query != nullptr && relid == query->view && statement->renameType == OBJECT_VIEW) {
        CommandCounterIncrement();
        rename_output(query);
    }
}

void handle_set_schema(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<AlterObjectSchemaStmt *>(call.statement->utilityStmt);
    Oid const relid = named_relation(statement->relation);
    ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
    if (query != nullptr && relid != query->view)
        refuse_internal("change the schema of", query, relid);
    refuse_output(relid, "change the schema of");
    next(call);
    if (query == nullptr)
        return;
    CommandCounterIncrement();
    Oid const schema = get_rel_namespace(query->view);
    ObjectAddresses *const moved = new_object_addresses();
    carry_schema(query->definition, schema, moved);
    for (Oid const table : pg::each_oid(tables_of(query->matrel, AccessExclusiveLock)))
        if (table != query->matrel)
            carry_schema(table, schema, moved);
    carry_schema(query->matrel, schema, moved);
    if (OidIsValid(query->output))
        carry_schema(query->output, schema, moved);
    free_object_addresses(moved);
}

} // namespace pipeline::view
