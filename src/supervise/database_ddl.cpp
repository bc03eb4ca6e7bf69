#include "supervise/database_ddl.hpp"

#include "pg/list.hpp"
#include "pg/utility_hook.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "utils/acl.h"
}

namespace pipeline::supervise {
namespace {

/// The server itself waits as long for other sessions (procarray.c, CountOtherDBBackends).
constexpr int kStopTimeoutMs = 5000;

constinit ProcessUtility_hook_type previous_utility = nullptr;

bool may_create_databases()
{
    HeapTuple const tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
    if (!HeapTupleIsValid(tuple))
        return false;
    bool const may = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcreatedb;
    ReleaseSysCache(tuple);
    return may;
}

/// True if the current user owns the database, or may copy it as a template (dbcommands.c,
/// createdb).
bool may_touch(Oid db, bool as_template)
{
    HeapTuple const tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db));
    if (!HeapTupleIsValid(tuple))
        return false;
    auto const database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
    bool const may = has_privs_of_role(GetUserId(), database->datdba) ||
                     (as_template && database->datistemplate && may_create_databases());
    ReleaseSysCache(tuple);
    return may;
}

/// Outside a transaction, or in a failed one, the statement itself will complain.
void stop_workers_of(const char *name, bool as_template = false)
{
    if (!spool::is_preloaded() || !IsTransactionState())
        return;
    Oid const db = get_database_oid(name, true);
    if (OidIsValid(db) && may_touch(db, as_template))
        spool::stop_workers(db, kStopTimeoutMs);
}

DefElem *find_option(const List *options, const char *name)
{
    for (DefElem *option : pg::each<DefElem>(options))
        if (strcmp(option->defname, name) == 0)
            return option;
    return nullptr;
}

/// Without TEMPLATE, template1 is copied. The copy gets a worker of its own, if the
/// extension came along.
void handle_create(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto const statement = reinterpret_cast<CreatedbStmt *>(call.statement->utilityStmt);
    DefElem *const source = find_option(statement->options, "template");
    stop_workers_of(
        source != nullptr && source->arg != nullptr ? defGetString(source) : "template1", true);
    next(call);
    if (!spool::is_preloaded() || !IsTransactionState())
        return;
    spool::request_worker_at_commit(get_database_oid(statement->dbname, true));
}

void handle_drop(pg::UtilityCall &call, pg::UtilityNext next)
{
    stop_workers_of(reinterpret_cast<DropdbStmt *>(call.statement->utilityStmt)->dbname);
    next(call);
}

void handle_alter(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto const statement = reinterpret_cast<AlterDatabaseStmt *>(call.statement->utilityStmt);
    if (find_option(statement->options, "tablespace") != nullptr)
        stop_workers_of(statement->dbname);
    next(call);
}

/// A hook of its own: the handler of RenameStmt, which is one statement for all kinds of
/// objects, belongs to the views.
extern "C" void pipeline_rename_database(PlannedStmt *statement, const char *query_string,
                                         bool read_only_tree, ProcessUtilityContext context,
                                         ParamListInfo params, QueryEnvironment *environment,
                                         DestReceiver *destination, QueryCompletion *completion)
{
    if (IsA(statement->utilityStmt, RenameStmt)) {
        auto const rename = reinterpret_cast<RenameStmt *>(statement->utilityStmt);
        if (rename->renameType == OBJECT_DATABASE)
            stop_workers_of(rename->subname);
    }
    auto const run = previous_utility != nullptr ? previous_utility : standard_ProcessUtility;
    run(statement, query_string, read_only_tree, context, params, environment, destination,
        completion);
}

} // namespace

void install_database_ddl()
{
    pg::register_utility_handler(T_CreatedbStmt, handle_create, true);
    pg::register_utility_handler(T_DropdbStmt, handle_drop, true);
    pg::register_utility_handler(T_AlterDatabaseStmt, handle_alter, true);
    previous_utility = ProcessUtility_hook;
    ProcessUtility_hook = pipeline_rename_database;
}

} // namespace pipeline::supervise
