#include "pg/guard.hpp"

extern "C" {
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
    return failure;
}

} // namespace

Failure subtransaction(Callback fn, void *arg)
{
    MemoryContext const context = CurrentMemoryContext;
    ResourceOwner const owner = CurrentResourceOwner;
    Failure failure;

    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        fn(arg);
        ReleaseCurrentSubTransaction();
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

} // namespace pipeline::pg
