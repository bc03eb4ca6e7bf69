// DROP of a continuous view, however it comes about: nothing of it stays behind.
//
// The object access hook sees every relation just before it is deleted; if it belongs to a
// registered view, the catalog rows go at once and the rest of the view is dropped when the
// statement has ended (deleting inside deleteOneObject would disturb its list of targets).
#include "view/ddl.hpp"

#include "pg/list.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"
#include "view/backfill_job.hpp"
#include "view/catalog.hpp"
#include "view/earlier_writers.hpp"
#include "view/output.hpp"
#include "view/truncation.hpp"
#include "view/rejected.hpp"
#include "view/window_edge.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
}

namespace pipeline::view {
namespace {

/// A view of which something was dropped, or may be dropped together with the catalogs.
struct Pending {
    Oid view;
    Oid definition;
    Oid matrel;
    Oid output;
    SubTransactionId subtransaction;
};

struct State {
    object_access_hook_type previous;
    List *pending; ///< of Pending *, in TopTransactionContext
};

constinit State state{};

void remember(const ContinuousQuery *query)
{
    MemoryContext const caller = MemoryContextSwitchTo(TopTransactionContext);
    auto *pending = static_cast<Pending *>(palloc(sizeof(Pending)));
    *pending = {query->view, query->definition, query->matrel, query->output,
                GetCurrentSubTransactionId()};
    state.pending = lappend(state.pending, pending);
    MemoryContextSwitchTo(caller);
}

void forget_all(XactEvent event, void *)
{
    if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
        state.pending = NIL;
}

/// Subtransactions get ascending numbers, so all that a rolled-back one and its committed
/// children remembered has its number or a higher one.
void forget_rolled_back(SubXactEvent event, SubTransactionId mine, SubTransactionId, void *)
{
    if (event != SUBXACT_EVENT_ABORT_SUB)
        return;
    for (int i = list_length(state.pending) - 1; i >= 0; i--)
        if (static_cast<Pending *>(list_nth(state.pending, i))->subtransaction >= mine)
            state.pending = list_delete_nth_cell(state.pending, i);
}

void on_drop(Oid relid)
{
    char const kind = get_rel_relkind(relid);
    if (kind == RELKIND_FOREIGN_TABLE)
        forget_output(relid);
    if (kind != RELKIND_VIEW && kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
        return;
    ContinuousQuery *const query = find_query(relid);
    if (query == nullptr)
        return;
    delete_query(query->view);
    spool::delete_progress(query->view);
    delete_truncation(query->view);
    delete_earlier_writers(query->view);
    delete_backfill(query->view);
    forget_rejected(query->view);
    forget_edge(query->view);
    remember(query);
}

extern "C" void pipeline_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
                                       int sub_id, void *arg)
{
    if (state.previous != nullptr)
        state.previous(access, class_id, object_id, sub_id, arg);
    if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0 &&
        IsNormalProcessingMode() && extension_installed())
        on_drop(object_id);
}

bool exists(Oid relid)
{
    return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

bool is_whole(const Pending *pending)
{
    return exists(pending->view) && exists(pending->definition) && exists(pending->matrel);
}

void add_if_there(ObjectAddresses *objects, Oid relid)
{
    if (!OidIsValid(relid) || !exists(relid))
        return;
    ObjectAddress address;
    ObjectAddressSet(address, RelationRelationId, relid);
    add_exact_object_address(&address, objects);
}

/// Only a statement that says RESTRICT, or nothing, can be refused now because others depend
/// on what is left; any other that got here dropped a part by CASCADE.
DropBehavior behavior_of(Node *parsetree)
{
    return IsA(parsetree, DropStmt) ? reinterpret_cast<DropStmt *>(parsetree)->behavior
                                    : DROP_CASCADE;
}

void drop_rest(Node *parsetree)
{
    if (likely(state.pending == NIL))
        return;
    CommandCounterIncrement();
    List *const pending = state.pending;
    state.pending = NIL;
    ObjectAddresses *const objects = new_object_addresses();
    for (auto *entry : pg::each<Pending>(pending)) {
        if (is_whole(entry))
            continue;
        add_if_there(objects, entry->view);
        add_if_there(objects, entry->definition);
        add_if_there(objects, entry->matrel);
        add_if_there(objects, entry->output);
    }
    performMultipleDeletions(objects, behavior_of(parsetree),
                             PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
    free_object_addresses(objects);
    CommandCounterIncrement();
    // The deletions above went through the hook too, but their catalog rows were gone.
    state.pending = NIL;
}

/// When the extension goes, its catalogs may be deleted before the views that they list.
void remember_all()
{
    for (auto *query : pg::each<ContinuousQuery>(list_queries()))
        remember(query);
}

bool names_extension(const DropStmt *statement)
{
    if (statement->removeType != OBJECT_EXTENSION)
        return false;
    for (auto *name : pg::each<Node>(statement->objects))
        if (strcmp(strVal(name), "pipeline_ext") == 0)
            return true;
    return false;
}

} // namespace

void install_drop_hook()
{
    state.previous = object_access_hook;
    object_access_hook = pipeline_object_access;
    RegisterXactCallback(forget_all, nullptr);
    RegisterSubXactCallback(forget_rolled_back, nullptr);
    pg::register_utility_epilogue(drop_rest);
}

void handle_drop(pg::UtilityCall &call, pg::UtilityNext next)
{
    bool const drops_extension =
        names_extension(reinterpret_cast<DropStmt *>(call.statement->utilityStmt));
    if (drops_extension)
        remember_all();
    next(call);
    if (drops_extension)
        spool::wake_worker_at_commit(); // it looks, and leaves
}

void handle_drop_owned(pg::UtilityCall &call, pg::UtilityNext next)
{
    remember_all();
    next(call);
}

} // namespace pipeline::view
