#include "pg/guard.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/resowner.h"
}

namespace pipeline::pg {

void raise_caught(const CaughtException &caught)
{
    ereport(ERROR, (errcode(caught.sqlstate), errmsg_internal("%s", caught.message)));
}

namespace {

/// Takes the current error off the server's error stack, copied into `context`.
Failure take_error(MemoryContext context)
{
    MemoryContextSwitchTo(context);
    ErrorData *error = CopyErrorData();
    FlushErrorState();
    Failure failure;
    failure.failed = true;
    failure.sqlstate = error->sqlerrcode;
    failure.message = error->message ? error->message : "missing error text";
    failure.detail = error->detail;
    failure.hint = error->hint;
    failure.context = error->context;
    failure.table = error->table_name;
    failure.constraint = error->constraint_name;
    return failure;
}

Failure run_in_subtransaction(Callback fn, void *arg, bool keep)
{
    MemoryContext const context = CurrentMemoryContext;
    ResourceOwner const owner = CurrentResourceOwner;
    Failure failure;

    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        fn(arg);
        if (keep)
            ReleaseCurrentSubTransaction();
        else
            RollbackAndReleaseCurrentSubTransaction();
    }
    PG_CATCH();
    {
        failure = take_error(context);
        RollbackAndReleaseCurrentSubTransaction();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    return failure;
}

} // namespace

Failure subtransaction(Callback fn, void *arg)
{
    return run_in_subtransaction(fn, arg, true);
}

Failure trial(Callback fn, void *arg)
{
    return run_in_subtransaction(fn, arg, false);
}

void raise_again(const Failure &failure)
{
    ereport(
        ERROR,
        (errcode(failure.sqlstate), errmsg_internal("%s", failure.message),
         failure.detail ? errdetail_internal("%s", failure.detail) : 0,
         failure.hint ? errhint("%s", failure.hint) : 0,
         failure.table ? err_generic_string(PG_DIAG_TABLE_NAME, failure.table) : 0,
         failure.constraint ? err_generic_string(PG_DIAG_CONSTRAINT_NAME, failure.constraint) : 0));
}

Failure top_level(Callback fn, void *arg)
{
    MemoryContext const context = CurrentMemoryContext;
    Failure failure;

    PG_TRY();
    {
        fn(arg);
    }
    PG_CATCH();
    {
        // The error must be copied before the abort, which may free what it points to.
        failure = take_error(context);
        AbortOutOfAnyTransaction(); // also out of a subtransaction that could not end
    }
    PG_END_TRY();
    MemoryContextSwitchTo(context);
    return failure;
}

void in_database_encoding(Callback fn, void *arg)
{
    int const encoding = pg_get_client_encoding();
    if (encoding == GetDatabaseEncoding()) {
        fn(arg);
        return;
    }
    PG_TRY();
    {
        // Not by the setting: that cannot be changed in a parallel operation (variable.c).
        SetClientEncoding(GetDatabaseEncoding());
        fn(arg);
    }
    PG_FINALLY();
    {
        SetClientEncoding(encoding);
    }
    PG_END_TRY();
}

} // namespace pipeline::pg
