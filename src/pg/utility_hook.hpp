// One ProcessUtility hook for the whole extension, with small handlers by statement kind.
//
// Owns: the hook and the table of handlers. A handler changes the call's tree only after
// own_tree() and runs the statement by next(call); a statement without a handler costs one
// array lookup. Handlers run only in databases that have the extension, unless they say so.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "tcop/utility.h"
}

namespace pipeline::pg {

/// The arguments of ProcessUtility.
struct UtilityCall {
    PlannedStmt *statement;
    const char *query_string;
    bool read_only_tree;
    ProcessUtilityContext context;
    ParamListInfo params;
    QueryEnvironment *environment;
    DestReceiver *destination;
    QueryCompletion *completion;
};

using UtilityNext = void (*)(UtilityCall &call);
using UtilityHandler = void (*)(UtilityCall &call, UtilityNext next);

/// Registers the one handler for statements of kind `tag` (a NodeTag of the raw statement).
/// With `everywhere`, it is called in databases without the extension too.
void register_utility_handler(NodeTag tag, UtilityHandler handler, bool everywhere = false);

/// Registers a function that runs after every utility statement that succeeded, of any kind
/// (at most four).
using UtilityEpilogue = void (*)(Node *parsetree);
void register_utility_epilogue(UtilityEpilogue epilogue);

/// Returns a statement tree that the handler may scribble on.
template <typename T> T *own_tree(UtilityCall &call)
{
    if (call.read_only_tree) {
        call.statement = static_cast<PlannedStmt *>(copyObjectImpl(call.statement));
        call.read_only_tree = false;
    }
    return reinterpret_cast<T *>(call.statement->utilityStmt);
}

/// Installs the hook (from _PG_init).
void install_utility_hook();

/// How deep this backend is in statements that run inside other statements: 0 between
/// statements, 1 while a client's statement runs. EXECUTE, EXPLAIN, COPY, DECLARE CURSOR and
/// CREATE TABLE AS count as the statement they wrap.
int nesting_depth();
void enter_nested();
void leave_nested();
void reset_nesting();

} // namespace pipeline::pg
