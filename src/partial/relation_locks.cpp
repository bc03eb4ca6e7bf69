#include "partial/relation_locks.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
}

namespace pipeline::partial {
namespace {

/// TRUNCATE, and forms of ALTER TABLE that rewrite the table, are not MVCC-safe (documentation,
/// "Caveats" of concurrency control): to a snapshot that is older than their commit the table
/// is empty. They write a new version of its pg_class row. So do harmless commands (GRANT);
/// then the view is folded a moment later.
bool is_newer_than_snapshot(Oid relid)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
    if (!HeapTupleIsValid(tuple))
        return false; // dropped: planning says so
    char const kind = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relkind;
    TransactionId const writer = HeapTupleHeaderGetXmin(tuple->t_data);
    ReleaseSysCache(tuple);
    return (kind == RELKIND_RELATION || kind == RELKIND_MATVIEW) && TransactionIdIsNormal(writer) &&
           !TransactionIdIsCurrentTransactionId(writer) &&
           XidInMVCCSnapshot(writer, GetActiveSnapshot());
}

bool lock_one(Oid relid, LOCKMODE mode)
{
    return ConditionalLockRelationOid(relid, mode) && !is_newer_than_snapshot(relid);
}

extern "C" bool pipeline_lock_relations_walker(Node *node, void *context);

bool lock_view(Oid view, Oid *refused)
{
    // A copy: the locks of what is in it may rebuild the relation's cache entry.
    Relation rel = table_open(view, NoLock);
    auto *query = static_cast<Node *>(copyObjectImpl(get_view_query(rel)));
    table_close(rel, NoLock);
    return pipeline_lock_relations_walker(query, refused);
}

/// Planning opens every index (plancat.c, get_relation_info); REINDEX INDEX locks the index alone.
bool lock_indexes(Oid relid, LOCKMODE mode)
{
    Relation rel = table_open(relid, NoLock);
    List *const indexes = RelationGetIndexList(rel);
    table_close(rel, NoLock);
    for (Oid const index : pg::each_oid(indexes))
        if (!ConditionalLockRelationOid(index, mode))
            return false;
    return true;
}

/// The relation with its partitions or, for a view, with what it reads. True if one is refused.
bool lock_tree(Oid relid, LOCKMODE mode, bool with_children, Oid *refused)
{
    check_stack_depth();
    char const kind = lock_one(relid, mode) ? get_rel_relkind(relid) : '\0';
    if (kind == RELKIND_VIEW)
        return lock_view(relid, refused);
    if (kind == '\0' || !lock_indexes(relid, mode)) {
        *refused = relid;
        return true;
    }
    if (with_children && has_subclass(relid))
        for (Oid const child : pg::each_oid(find_inheritance_children(relid, NoLock)))
            if (lock_tree(child, mode, true, refused))
                return true;
    return false;
}

extern "C" bool pipeline_lock_relations_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (IsA(node, RangeTblEntry)) {
        auto *entry = reinterpret_cast<RangeTblEntry *>(node);
        return entry->rtekind == RTE_RELATION && entry->inFromCl &&
               lock_tree(entry->relid, entry->rellockmode, entry->inh, static_cast<Oid *>(context));
    }
    if (IsA(node, Query))
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_lock_relations_walker,
                              context, QTW_EXAMINE_RTES_BEFORE);
    return pg::walk_expression(node, pipeline_lock_relations_walker, context);
}

} // namespace

Oid lock_query_relations(Oid definition)
{
    Oid refused = InvalidOid;
    lock_view(definition, &refused);
    return refused;
}

/// As plancache.c, AcquireExecutorLocks. Since 16 a view's entry is that of its subquery.
Oid lock_statement_relations(const PlannedStmt *statement)
{
    for (auto *entry : pg::each<RangeTblEntry>(statement->rtable))
        if ((entry->rtekind == RTE_RELATION || entry->rtekind == RTE_SUBQUERY) &&
            OidIsValid(entry->relid) && !lock_one(entry->relid, entry->rellockmode))
            return entry->relid;
    return InvalidOid;
}

} // namespace pipeline::partial
