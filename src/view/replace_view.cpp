#include "view/replace_view.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"
#include "view/create_view.hpp"
#include "view/creation_notices.hpp"
#include "view/matrel_columns.hpp"
#include "view/merge_parts.hpp"
#include "view/output.hpp"
#include "view/output_checks.hpp"
#include "view/query_checks.hpp"
#include "view/reading.hpp"
#include "view/reloptions.hpp"
#include "view/replace_options.hpp"
#include "view/replace_seam.hpp"
#include "view/ttl.hpp"
#include "view/view_options.hpp"

extern "C" {
#include "commands/view.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
}

namespace pipeline::view {
namespace {

/// What a statement that creates a view would find in its way.
Oid existing_relation(const ViewStmt *statement)
{
    auto *name = static_cast<RangeVar *>(copyObjectImpl(statement->view));
    return get_relname_relid(name->relname, RangeVarGetCreationNamespace(name));
}

[[noreturn]] void refuse_exchange(Oid relid, const char *from, const char *to)
{
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE),
             errmsg("cannot replace %s \"%s\" by %s", from, get_rel_name(relid), to),
             errhint("Create it under another name, or drop \"%s\" first.", get_rel_name(relid))));
    pg_unreachable();
}

const char *kind_name(QueryKind kind)
{
    return kind == QueryKind::kTransform ? "a continuous transform" : "a continuous view";
}

[[noreturn]] void refuse_internal(const ContinuousQuery *query, Oid relid)
{
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("cannot replace \"%s\": it belongs to %s \"%s\"", get_rel_name(relid),
                           kind_of(query), get_rel_name(query->view)),
                    errhint("Replace the %s itself; this goes with it.", kind_of(query))));
    pg_unreachable();
}

/// The lock keeps DROP, ALTER and other replacements out; readers and the fold worker go on.
const ContinuousQuery *lock_query(Oid view, QueryKind kind)
{
    const ContinuousQuery *query = find_query(view);
    if (query == nullptr)
        refuse_exchange(view, "the ordinary relation", kind_name(kind));
    if (query->view != view)
        refuse_internal(query, view);
    if (!pg::owns_relation(view, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(view));
    LockRelationOid(view, ShareUpdateExclusiveLock);
    query = find_query(view);
    if (query == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("the continuous view was dropped by another session")));
    if (query->kind != kind)
        refuse_exchange(view, kind_of(query), kind_name(kind));
    return query;
}

const Interval *stored_window(Oid view)
{
    const char *const size = option_value(stored_options(view), kWindowOption);
    return size != nullptr ? parse_interval_option(make_option(kWindowOption, size)) : nullptr;
}

// ---- the change ----------------------------------------------------------------------

/// A replacement as it is carried out.
struct Replacement {
    const ContinuousQuery *query;
    Replaced old;
    PreparedQuery prepared;
    Merged merged;
};

int count_shown(const Query *query)
{
    int shown = 0;
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        shown += !entry->resjunk;
    return shown;
}

/// Its output stream has these columns, and the functions behind it know them.
void check_transform_columns(const Replacement &replacement)
{
    if (replacement.merged.num_old == count_shown(replacement.prepared.query))
        return;
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot change the columns of continuous transform \"%s\"",
                           replacement.old.name),
                    errdetail("Its output stream has the same ones."),
                    errhint("Create a transform of another name.")));
}

Replacement plan_replacement(const ViewStmt *statement, const ContinuousQuery *query,
                             const ViewOptions &options, Query *analysed)
{
    bool const is_view = query->kind == QueryKind::kView;
    Replacement replacement{};
    replacement.query = query;
    replacement.prepared = is_view ? prepare_view_query(statement, options, analysed)
                                   : prepare_transform_query(statement, options, analysed);
    replacement.old = {kind_of(query), get_rel_name(query->view), stored_query(query->definition),
                       is_view ? stored_query(query->view) : nullptr,
                       is_view ? stored_window(query->view) : nullptr};
    pg::drop_rule_entries(replacement.old.definition);
    replacement.merged =
        merge_parts(replacement.old, replacement.prepared.query, replacement.prepared.parts);
    if (!is_view)
        check_transform_columns(replacement);
    check_outputs(replacement.prepared.streams, pg::relation_owner(query->view));
    return replacement;
}

void store_definition(const Replacement &replacement)
{
    const ContinuousQuery *const query = replacement.query;
    const Merged &merged = replacement.merged;
    Query *const folded = merged_definition(replacement.old, replacement.prepared.query, merged);
    notice_fold_time(folded);
    notice_unindexed_joins(replacement.prepared.query);
    if (query->kind == QueryKind::kView)
        add_matrel_columns(query->matrel, merged.parts, merged.num_old);
    add_view_columns(query->definition, folded, merged.num_old);
    StoreViewQuery(query->definition, folded, true);
    CommandCounterIncrement();
    announce_change();
    spool::wake_worker_at_commit(query->worker);
}

/// What has expired is left out as before.
Query *new_reading(const Replacement &replacement)
{
    Query *const reading = reading_query(replacement.prepared.query, replacement.merged.parts,
                                         replacement.query->matrel);
    Node *const ttl = ttl_condition(replacement.old.reading);
    if (ttl == nullptr)
        return reading;
    auto *const from = linitial_node(RangeTblRef, replacement.old.reading->jointree->fromlist);
    ChangeVarNodes(ttl, from->rtindex, 1, 0);
    reading->jointree->quals = make_and_qual(reading->jointree->quals, ttl);
    return reading;
}

void notice_seam(const Replacement &replacement, bool has_backlog)
{
    bool const is_view = replacement.query->kind == QueryKind::kView;
    ereport(NOTICE,
            (errmsg("%s \"%s\" goes by its new query from now on", replacement.old.kind,
                    replacement.old.name),
             has_backlog ? errdetail("Rows that wait go by it, too, since the view is stopped.")
                         : errdetail("Rows written before went by the old query."),
             is_view ? errhint("To begin anew, use pipelinedb.truncate_continuous_view().") : 0));
}

/// The server replaces the view's own query and columns, so that every rule about them is its own.
void replace_shown(pg::UtilityCall &call, pg::UtilityNext next, ViewStmt *statement, Oid view)
{
    List *const own = split_options(stored_options(view)).own;
    statement->options = without_view_options(split_options(statement->options).others);
    next(call);
    CommandCounterIncrement();
    check_no_temporary_objects(view);
    store_options(view, list_concat(own, stored_options(view)));
}

} // namespace

bool is_replacement(const ViewStmt *statement)
{
    return statement->replace && OidIsValid(existing_relation(statement));
}

void refuse_ordinary_replacement(const ViewStmt *statement)
{
    if (!statement->replace)
        return;
    Oid const existing = existing_relation(statement);
    const ContinuousQuery *const query = OidIsValid(existing) ? find_query(existing) : nullptr;
    if (query != nullptr && query->view == existing)
        refuse_exchange(existing, kind_of(query), "an ordinary view");
    if (query != nullptr)
        refuse_internal(query, existing);
}

void replace_query(pg::UtilityCall &call, pg::UtilityNext next, Query *query, QueryKind kind)
{
    auto *statement = pg::own_tree<ViewStmt>(call);
    check_kind_of_view(statement);
    ViewOptions const options = parse_view_options(statement->options);
    const ContinuousQuery *const ours = lock_query(existing_relation(statement), kind);
    check_same_options(options, ours);
    Replacement const replacement = plan_replacement(statement, ours, options, query);
    bool const folds_alike = replacement.merged.folds_alike;
    Seam const seam = folds_alike ? Seam::kNone : make_seam(ours);

    replace_shown(call, next, statement, ours->view);
    if (!folds_alike)
        store_definition(replacement);
    Query *const shown = kind == QueryKind::kTransform ? empty_query(replacement.prepared.query)
                                                       : new_reading(replacement);
    StoreViewQuery(ours->view, shown, true);
    CommandCounterIncrement();
    if (OidIsValid(ours->output))
        check_has_output(ours);
    pg::stop_point("replace_stored");
    if (!folds_alike)
        notice_seam(replacement, seam == Seam::kWithBacklog);
}

} // namespace pipeline::view
