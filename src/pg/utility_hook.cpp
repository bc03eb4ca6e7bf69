#include "pg/utility_hook.hpp"

extern "C" {
#include "commands/extension.h"
}

namespace pipeline::pg {
namespace {

struct Handler {
    NodeTag tag;
    bool everywhere;
    UtilityHandler run;
};

constexpr int kMaxHandlers = 32;
constexpr int kMaxEpilogues = 4;

struct State {
    ProcessUtility_hook_type previous;
    Handler handlers[kMaxHandlers];
    int num_handlers;
    UtilityEpilogue epilogues[kMaxEpilogues];
    int num_epilogues;
    int depth;
};

constinit State state{};

void run_statement(UtilityCall &call)
{
    auto run = state.previous != nullptr ? state.previous : standard_ProcessUtility;
    run(call.statement, call.query_string, call.read_only_tree, call.context, call.params,
        call.environment, call.destination, call.completion);
}

/// These run one statement of the client's on its behalf; its executor is at the top level.
bool wraps_a_statement(const Node *parsetree)
{
    switch (nodeTag(parsetree)) {
    case T_ExecuteStmt:
    case T_ExplainStmt:
    case T_CopyStmt:
    case T_DeclareCursorStmt:
    case T_CreateTableAsStmt:
        return true;
    default:
        return false;
    }
}

const Handler *find_handler(const Node *parsetree)
{
    for (int i = 0; i < state.num_handlers; i++)
        if (state.handlers[i].tag == nodeTag(parsetree))
            return &state.handlers[i];
    return nullptr;
}

/// Inside a transaction block that has failed, no catalog may be read; statements that end
/// or begin a transaction come here too.
bool extension_is_here()
{
    return IsTransactionState() && OidIsValid(get_extension_oid("pipeline_ext", true));
}

extern "C" void pipeline_process_utility(PlannedStmt *statement, const char *query_string,
                                         bool read_only_tree, ProcessUtilityContext context,
                                         ParamListInfo params, QueryEnvironment *environment,
                                         DestReceiver *destination, QueryCompletion *completion)
{
    UtilityCall call{statement, query_string, read_only_tree, context,
                     params,    environment,  destination,    completion};
    Node *const parsetree = statement->utilityStmt;
    const Handler *const handler = find_handler(parsetree);
    bool const nests = !wraps_a_statement(parsetree);

    if (nests)
        state.depth++;
    if (handler != nullptr && (handler->everywhere || extension_is_here()))
        handler->run(call, run_statement);
    else
        run_statement(call);
    if (nests && state.depth > 0)
        state.depth--;
    for (int i = 0; i < state.num_epilogues; i++)
        state.epilogues[i](parsetree);
}

/// An ERROR leaves no other trace in the depth than this: at the end of a transaction no
/// statement of it is running. COMMIT inside a procedure ends a transaction inside a
/// statement, hence only aborts reset.
void forget_depth(XactEvent event, void *)
{
    if (event == XACT_EVENT_ABORT)
        state.depth = 0;
}

} // namespace

void register_utility_handler(NodeTag tag, UtilityHandler handler, bool everywhere)
{
    if (state.num_handlers >= kMaxHandlers)
        elog(ERROR, "too many utility handlers");
    state.handlers[state.num_handlers++] = {tag, everywhere, handler};
}

void register_utility_epilogue(UtilityEpilogue epilogue)
{
    if (state.num_epilogues >= kMaxEpilogues)
        elog(ERROR, "too many utility epilogues");
    state.epilogues[state.num_epilogues++] = epilogue;
}

void install_utility_hook()
{
    state.previous = ProcessUtility_hook;
    ProcessUtility_hook = pipeline_process_utility;
    RegisterXactCallback(forget_depth, nullptr);
}

int nesting_depth()
{
    return state.depth;
}

void enter_nested()
{
    state.depth++;
}

void leave_nested()
{
    if (state.depth > 0)
        state.depth--;
}

void reset_nesting()
{
    state.depth = 0;
}

} // namespace pipeline::pg
