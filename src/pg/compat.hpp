// Differences between PostgreSQL majors. Nowhere else may PG_VERSION_NUM be tested.
#pragma once

#include "pg/postgres.hpp"

#if PG_VERSION_NUM < 150000
#error "pipeline_ext needs PostgreSQL 15 or later"
#endif

extern "C" {
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "parser/parse_agg.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteManip.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
}

namespace pipeline::pg {

inline constexpr int kServerMajor = PG_VERSION_NUM / 10000;

/// A path for the scan of a stream, with the relation's own target and rows.
inline ForeignPath *make_foreign_scan_path(PlannerInfo *root, RelOptInfo *rel, Cost startup,
                                           Cost total)
{
#if PG_VERSION_NUM >= 180000
    return create_foreignscan_path(root, rel, nullptr, rel->rows, 0, startup, total, NIL,
                                   rel->lateral_relids, nullptr, NIL, NIL);
#elif PG_VERSION_NUM >= 170000
    return create_foreignscan_path(root, rel, nullptr, rel->rows, startup, total, NIL,
                                   rel->lateral_relids, nullptr, NIL, NIL);
#else
    return create_foreignscan_path(root, rel, nullptr, rel->rows, startup, total, NIL,
                                   rel->lateral_relids, nullptr, NIL);
#endif
}

/// Runs a started query to its end.
inline void executor_run(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
    ExecutorRun(query, ForwardScanDirection, 0);
#else
    ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/// Runs a started portal to its end, not as a top-level statement.
inline void portal_run(Portal portal, DestReceiver *destination)
{
#if PG_VERSION_NUM >= 180000
    PortalRun(portal, FETCH_ALL, false, destination, destination, nullptr);
#else
    PortalRun(portal, FETCH_ALL, false, true, destination, destination, nullptr);
#endif
}

/// What table_tuple_update says about indexes: is a new entry needed in any?
#if PG_VERSION_NUM >= 160000
using UpdateIndexes = TU_UpdateIndexes;
inline bool needs_index_entries(UpdateIndexes update)
{
    return update != TU_None;
}
inline bool only_summarizing(UpdateIndexes update)
{
    return update == TU_Summarizing;
}
#else
using UpdateIndexes = bool;
inline bool needs_index_entries(UpdateIndexes update)
{
    return update;
}
inline bool only_summarizing(UpdateIndexes)
{
    return false;
}
#endif

/// True if the row left its HOT chain.
inline bool is_new_chain(UpdateIndexes update)
{
    return needs_index_entries(update) && !only_summarizing(update);
}

/// ExecInsertIndexTuples for a row that `update` describes (or for a new one).
inline void insert_index_entries(ResultRelInfo *target, TupleTableSlot *slot, EState *estate,
                                 bool update, bool summarizing_only)
{
#if PG_VERSION_NUM >= 160000
    list_free(
        ExecInsertIndexTuples(target, slot, estate, update, false, nullptr, NIL, summarizing_only));
#else
    (void) summarizing_only;
    list_free(ExecInsertIndexTuples(target, slot, estate, update, false, nullptr, NIL));
#endif
}

/// True if `role` owns the relation, or has the privileges of its owner.
inline bool owns_relation(Oid relid, Oid role)
{
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(RelationRelationId, relid, role);
#else
    return pg_class_ownercheck(relid, role);
#endif
}

inline bool may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
    return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/// A Var of the same place as `from` becomes NULL where that one does: since 16 a Var says which
/// outer joins do it.
inline void copy_nulling_rels([[maybe_unused]] Var *to, [[maybe_unused]] const Var *from)
{
#if PG_VERSION_NUM >= 160000
    to->varnullingrels = bms_union(to->varnullingrels, from->varnullingrels);
#endif
}

/// True if the current user has the rights that the executor would ask for.
inline bool may_read_relations(const PlannedStmt *statement)
{
#if PG_VERSION_NUM >= 160000
    return ExecCheckPermissions(statement->rtable, statement->permInfos, false);
#else
    return ExecCheckRTPerms(statement->rtable, false);
#endif
}

/// Moves what the parse state collected beside the range table into the query: since 16
/// permissions are checked by a list of their own.
inline void take_range_table(Query *query, ParseState *pstate)
{
    query->rtable = pstate->p_rtable;
#if PG_VERSION_NUM >= 160000
    query->rteperminfos = pstate->p_rteperminfos;
#endif
}

/// Raises the server's error unless the current user has the rights that the query's own range
/// table asks for, as ExecutorStart will test them; subqueries not included.
inline void check_permissions(Query *query)
{
#if PG_VERSION_NUM >= 160000
    (void) ExecCheckPermissions(query->rtable, query->rteperminfos, true);
#else
    (void) ExecCheckRTPerms(query->rtable, true);
#endif
}

/// Up to 15 the stored query of a view has two entries more in the range table, the first ones
/// (view.c, UpdateRangeTableOfViewParse). This takes them out of a copy.
inline void drop_rule_entries([[maybe_unused]] Query *query)
{
#if PG_VERSION_NUM < 160000
    query->rtable = list_copy_tail(query->rtable, 2);
    OffsetVarNodes(reinterpret_cast<Node *>(query), -2, 0);
#endif
}

/// Asks in `query` for the columns that `other` asks for, too; its range table begins as that one.
inline void add_column_rights(Query *query, const Query *other)
{
    for (int i = 0; i < list_length(other->rtable); i++) {
        auto *const from = static_cast<RangeTblEntry *>(list_nth(other->rtable, i));
        auto *const to = static_cast<RangeTblEntry *>(list_nth(query->rtable, i));
        if (from->rtekind != RTE_RELATION)
            continue;
#if PG_VERSION_NUM >= 160000
        const RTEPermissionInfo *const asked = getRTEPermissionInfo(other->rteperminfos, from);
        RTEPermissionInfo *const asks = getRTEPermissionInfo(query->rteperminfos, to);
        asks->selectedCols = bms_add_members(asks->selectedCols, asked->selectedCols);
#else
        to->selectedCols = bms_add_members(to->selectedCols, from->selectedCols);
#endif
    }
}

/// Replaces columns of joins by the columns below them, to compare expressions as parse_agg.c
/// does; since 16 the result is for comparing only.
inline Node *flatten_join_columns(Query *query, Node *node)
{
#if PG_VERSION_NUM >= 160000
    return flatten_join_alias_vars(nullptr, query, node);
#else
    return flatten_join_alias_vars(query, node);
#endif
}

/// Since 18 the grouped expressions are Vars of a range table entry of their own, the last
/// one. This puts the expressions back, as every earlier version has them.
inline void dissolve_group_entry([[maybe_unused]] Query *query)
{
#if PG_VERSION_NUM >= 180000
    if (!query->hasGroupRTE)
        return;
    Node *const flat =
        flatten_group_exprs(nullptr, query, reinterpret_cast<Node *>(query->targetList));
    query->targetList = reinterpret_cast<List *>(flat);
    query->havingQual = flatten_group_exprs(nullptr, query, query->havingQual);
    query->rtable = list_truncate(query->rtable, list_length(query->rtable) - 1);
    query->hasGroupRTE = false;
#endif
}

/// Since 16 the states of array_agg can be serialized, but not for every type: the first test
/// is that of prepagg.c (preprocess_aggref). The second is ours: the bytes hold the type's OID
/// and, for an enum or a composite type, more OIDs, and the OIDs of types that are not built in
/// do not survive dump and restore.
inline bool state_outlives_dump([[maybe_unused]] Aggref *aggref, [[maybe_unused]] Oid deserialfn)
{
#if PG_VERSION_NUM >= 160000
    if (deserialfn != F_ARRAY_AGG_DESERIALIZE && deserialfn != F_ARRAY_AGG_ARRAY_DESERIALIZE)
        return true;
    Oid const type = linitial_oid(aggref->aggargtypes);
    Oid const element = get_base_element_type(type);
    return agg_args_support_sendreceive(aggref) && type < FirstNormalObjectId &&
           element < FirstNormalObjectId;
#else
    return true;
#endif
}

/// sum and avg of interval have an internal state since 17.
#if PG_VERSION_NUM >= 170000
inline constexpr Oid kIntervalAvgSerialize = F_INTERVAL_AVG_SERIALIZE;
inline constexpr Oid kIntervalAvgDeserialize = F_INTERVAL_AVG_DESERIALIZE;
#else
inline constexpr Oid kIntervalAvgSerialize = InvalidOid;
inline constexpr Oid kIntervalAvgDeserialize = InvalidOid;
#endif

/// Of a query without LIMIT; 17 has no name of its own for it.
#if PG_VERSION_NUM >= 170000
inline constexpr LimitOption kNoLimitOption = LIMIT_OPTION_COUNT;
#else
inline constexpr LimitOption kNoLimitOption = LIMIT_OPTION_DEFAULT;
#endif

using Walker = bool (*)(Node *node, void *context);
using Mutator = Node *(*) (Node *node, void *context);

/// By way of void (*)(), which gcc takes as "meant so" (-Wcast-function-type).
template <typename To, typename From> To untyped(From function)
{
    return reinterpret_cast<To>(reinterpret_cast<void (*)()>(function));
}

/// The tree walkers of nodeFuncs.c. Up to 15 they take functions without a prototype, which
/// C++ does not convert to.
inline bool walk_expression(Node *node, Walker walker, void *context)
{
#if PG_VERSION_NUM >= 160000
    return expression_tree_walker(node, walker, context);
#else
    return expression_tree_walker(node, untyped<bool (*)()>(walker), context);
#endif
}

inline bool walk_query(Query *query, Walker walker, void *context, int flags)
{
#if PG_VERSION_NUM >= 160000
    return query_tree_walker(query, walker, context, flags);
#else
    return query_tree_walker(query, untyped<bool (*)()>(walker), context, flags);
#endif
}

/// The same for what the grammar makes, before parse analysis.
inline bool walk_raw_expression(Node *node, Walker walker, void *context)
{
#if PG_VERSION_NUM >= 160000
    return raw_expression_tree_walker(node, walker, context);
#else
    return raw_expression_tree_walker(node, untyped<bool (*)()>(walker), context);
#endif
}

inline Node *mutate_expression(Node *node, Mutator mutator, void *context)
{
#if PG_VERSION_NUM >= 160000
    return expression_tree_mutator(node, mutator, context);
#else
    return expression_tree_mutator(node, untyped<Node *(*) ()>(mutator), context);
#endif
}

inline Query *mutate_query(Query *query, Mutator mutator, void *context, int flags)
{
#if PG_VERSION_NUM >= 160000
    return query_tree_mutator(query, mutator, context, flags);
#else
    return query_tree_mutator(query, untyped<Node *(*) ()>(mutator), context, flags);
#endif
}

inline IndexScanDesc begin_index_scan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
    return index_beginscan(heap, index, snapshot, nullptr, nkeys, 0);
#else
    return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/// A new, empty file for a relation, with a fresh relfrozenxid.
inline void new_relation_file(Relation rel)
{
#if PG_VERSION_NUM >= 160000
    RelationSetNewRelfilenumber(rel, rel->rd_rel->relpersistence);
#else
    RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
#endif
}

/// True if `transaction` runs in the process of `proc`.
inline bool is_transaction_of(const VirtualTransactionId &transaction, const PGPROC &proc)
{
#if PG_VERSION_NUM >= 170000
    return transaction.procNumber == proc.vxid.procNumber;
#else
    return transaction.backendId == proc.backendId;
#endif
}

/// PARTITION BY RANGE, as the grammar has it.
inline void set_range_strategy(PartitionSpec *spec)
{
#if PG_VERSION_NUM >= 160000
    spec->strategy = PARTITION_STRATEGY_RANGE;
#else
    spec->strategy = pstrdup("range");
#endif
}

inline void rebuild_toast_index(Oid relid)
{
    ReindexParams params{};
#if PG_VERSION_NUM >= 170000
    reindex_relation(nullptr, relid, REINDEX_REL_PROCESS_TOAST, &params);
#else
    reindex_relation(relid, REINDEX_REL_PROCESS_TOAST, &params);
#endif
}

} // namespace pipeline::pg
