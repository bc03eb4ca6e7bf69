// truncate_continuous_view(): the table is emptied at once, and what was committed before is
// left out by every later tick.
//
// The fold worker's progress is not touched. What it had folded is gone with the table; what
// it had not is covered by `seen`, a set of transactions taken under the table's lock. So it
// does not matter how far the worker was, nor whether the view is paused, lags behind or has a
// large transaction half folded.
#include "view/truncation.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"
#include "spool/writer.hpp"
#include "view/catalog_row.hpp"
#include "view/create_view.hpp"
#include "view/decompose.hpp"
#include "view/matrel.hpp"
#include "view/rejected.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/indexing.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/varlena.h"
}

namespace pipeline::view {
namespace {

enum Column : AttrNumber { kView = 1, kSeen, kXid, kSeq, kNumColumns = kSeq };

constexpr char kKey[] = "truncation_pkey";

void store(Oid view, const Seam &seam)
{
    pg::with_relation(catalog_relation("truncation"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns];
        bool nulls[kNumColumns] = {};
        values[kView - 1] = ObjectIdGetDatum(view);
        values[kSeen - 1] = spool::pg_snapshot_datum(seam.seen);
        values[kXid - 1] = UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()));
        values[kSeq - 1] = Int64GetDatum(seam.seq);
        HeapTuple const tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
        bool const found = with_row(rel, kKey, kView, view, [&](HeapTuple old) {
            CatalogTupleUpdate(rel, &old->t_self, tuple);
        });
        if (!found)
            CatalogTupleInsert(rel, tuple);
    });
    announce_change();
    CommandCounterIncrement();
}

/// From RangeVarGetRelidExtended, before the lock: who may not do it does not wait in line.
void check_owner(const RangeVar *name, Oid relid, Oid, void *)
{
    if (OidIsValid(relid) && !pg::owns_relation(relid, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
                       name->relname);
}

/// The server's own TRUNCATE: it has the rules about foreign keys, triggers and logical
/// decoding. The guard trigger lets it pass.
void empty_table(Oid matrel)
{
    auto *const statement = makeNode(TruncateStmt);
    statement->relations = list_make1(
        makeRangeVar(get_namespace_name(get_rel_namespace(matrel)), get_rel_name(matrel), -1));
    statement->behavior = DROP_RESTRICT;
    int const level = NewGUCNestLevel();
    (void) set_config_option("pipelinedb.matrels_writable", "on", PGC_USERSET, PGC_S_SESSION,
                             GUC_ACTION_SAVE, true, 0, false);
    ExecuteTruncate(statement);
    AtEOXact_GUC(true, level);
    CommandCounterIncrement();
}

void insert_row(Relation rel, const Decomposition &parts)
{
    EState *const estate = CreateExecutorState();
    ResultRelInfo *const target = makeNode(ResultRelInfo);
    InitResultRelInfo(target, rel, 0, nullptr, 0);
    ExecOpenIndices(target, false);
    TupleTableSlot *const slot =
        MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
    ExecClearTuple(slot);
    fill_total_row(parts, slot->tts_values, slot->tts_isnull);
    ExecStoreVirtualTuple(slot);
    table_tuple_insert(rel, slot, GetCurrentCommandId(true), 0, nullptr);
    if (target->ri_NumIndices > 0)
        pg::insert_index_entries(target, slot, estate, false, false);
    ExecDropSingleTupleTableSlot(slot);
    ExecCloseIndices(target);
    FreeExecutorState(estate);
}

/// Without GROUP BY, and for a grouping set without columns, there is one row always, so that
/// SELECT count(*) shows 0. Expressions of a user's own index are computed as the table's owner, as
/// TRUNCATE does (index.c, index_build).
void insert_initial_row(const ContinuousQuery *query)
{
    bool const is_window = option_value(stored_options(query->view), kWindowOption) != nullptr;
    Decomposition const parts = columns_of_definition(stored_query(query->definition), is_window);
    if (!parts.total_row)
        return;
    pg::with_relation(query->matrel, RowExclusiveLock, [&](Relation rel) {
        pg::as_user(rel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION, [&] {
            int const level = NewGUCNestLevel();
            insert_row(rel, parts);
            AtEOXact_GUC(false, level);
        });
    });
    CommandCounterIncrement();
}

} // namespace

const ContinuousQuery *lock_own_view(text *name)
{
    RangeVar *const range = makeRangeVarFromNameList(textToQualifiedNameList(name));
    Oid const relid =
        RangeVarGetRelidExtended(range, ShareUpdateExclusiveLock, 0, check_owner, nullptr);
    ContinuousQuery *const query = find_query(relid);
    if (query == nullptr || query->view != relid || query->kind != QueryKind::kView)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a continuous view", range->relname)));
    return query;
}

Seam seam_of(Snapshot snapshot)
{
    return {spool::start_set_of(snapshot), spool::last_chunk_seq()};
}

void empty_view(const ContinuousQuery *query, const Seam &seam)
{
    empty_table(query->matrel);
    insert_initial_row(query);
    pg::stop_point("truncate_emptied");
    forget_rejected(query->view); // rows of before; a retry would bring them back
    store(query->view, seam);
    pg::stop_point("truncate_stored");
    spool::wake_worker_at_commit(query->worker);
}

static void truncate_continuous_view(text *name)
{
    spool::require_preload();
    const ContinuousQuery *const query = lock_own_view(name);
    LockRelationOid(query->matrel, AccessExclusiveLock);
    pg::stop_point("truncate_locked");
    (void) GetTopFullTransactionId();
    empty_view(query, seam_of(GetLatestSnapshot()));
}

List *list_truncations(Snapshot snapshot)
{
    List *result = NIL;
    pg::with_relation(catalog_relation("truncation"), AccessShareLock, [&](Relation rel) {
        SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, nullptr);
        HeapTuple tuple;
        while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
            Datum values[kNumColumns];
            bool nulls[kNumColumns];
            heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
            auto *truncation = static_cast<Truncation *>(palloc(sizeof(Truncation)));
            *truncation = {DatumGetObjectId(values[kView - 1]), DatumGetUInt64(values[kXid - 1]),
                           DatumGetInt64(values[kSeq - 1]),
                           spool::parse_snapshot(values[kSeen - 1])};
            result = lappend(result, truncation);
        }
        systable_endscan(scan);
    });
    return result;
}

uint64 last_truncation_of(Oid view)
{
    uint64 xid = 0;
    pg::with_relation(catalog_relation("truncation"), AccessShareLock, [&](Relation rel) {
        with_row(rel, kKey, kView, view, [&](HeapTuple tuple) {
            bool isnull;
            xid = DatumGetUInt64(heap_getattr(tuple, kXid, RelationGetDescr(rel), &isnull));
        });
    });
    return xid;
}

void delete_truncation(Oid view)
{
    Oid const catalog = catalog_relation("truncation");
    if (!OidIsValid(catalog))
        return;
    pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        with_row(rel, kKey, kView, view,
                 [&](HeapTuple tuple) { CatalogTupleDelete(rel, &tuple->t_self); });
    });
}

/// Of the table behind a view the guard trigger says so (functions.cpp).
void handle_truncate(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<TruncateStmt *>(call.statement->utilityStmt);
    for (auto *name : pg::each<RangeVar>(statement->relations)) {
        Oid const relid = RangeVarGetRelid(name, NoLock, true);
        const ContinuousQuery *const query = OidIsValid(relid) ? find_query(relid) : nullptr;
        if (query != nullptr && query->view == relid)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("\"%s\" is a continuous view", name->relname),
                            errhint("Use pipelinedb.truncate_continuous_view() to empty it.")));
    }
    next(call);
}

} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_truncate_continuous_view);

Datum pipeline_truncate_continuous_view(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.truncate_continuous_view()");
    pipeline::view::truncate_continuous_view(PG_GETARG_TEXT_PP(0));
    PG_RETURN_VOID();
}
}
