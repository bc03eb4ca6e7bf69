#include "view/catalog.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog_row.hpp"
#include "view/creation_settings.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/reloptions.h"
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

constexpr char kSchemaName[] = "pipelinedb";
constexpr char kExtensionName[] = "pipeline_ext";
constexpr int kMaxMessage = 1000;

/// Columns of pipelinedb.query.
enum Column : AttrNumber {
    kView = 1,
    kDefinition,
    kMatrel,
    kStreams,
    kCreatedXid,
    kCreatedSeq,
    kWorker,
    kActive,
    kSqlstate,
    kMessage,
    kFailedAt,
    kLostSince,
    kLostUntil,
    kLostRows,
    kKind,
    kExpireColumn,
    kExpireAfter,
    kOutput,
    kDiscards,
    kNumColumns = kDiscards
};

struct Cache {
    Oid schema;
    bool callback_registered;
};

constinit Cache cache{};

void forget_schema(Datum, int, uint32)
{
    cache.schema = InvalidOid;
}

/// The schema is trusted only as a member of the extension: without the extension anybody who
/// may create schemas could put tables of another shape there. Only the answer "it is there"
/// is kept; DROP EXTENSION removes the schema, which resets it.
Oid catalog_schema()
{
    if (!cache.callback_registered) {
        CacheRegisterSyscacheCallback(NAMESPACEOID, forget_schema, Datum(0));
        cache.callback_registered = true;
    }
    if (OidIsValid(cache.schema))
        return cache.schema;
    Oid const schema = get_namespace_oid(kSchemaName, true);
    if (!OidIsValid(schema))
        return InvalidOid;
    Oid const extension = get_extension_oid(kExtensionName, true);
    if (!OidIsValid(extension) || getExtensionOfObject(NamespaceRelationId, schema) != extension)
        return InvalidOid;
    cache.schema = schema;
    return schema;
}

void read_streams(ContinuousQuery *query, Datum stored)
{
    ArrayType *const array = DatumGetArrayTypeP(stored);
    int const count = ARR_NDIM(array) == 1 ? ARR_DIMS(array)[0] : 0;
    if (count < 1 || count > kMaxStreams || ARR_ELEMTYPE(array) != OIDOID || ARR_HASNULL(array))
        elog(ERROR, "pipelinedb.query.streams is no list of streams");
    query->nstreams = count;
    std::copy_n(reinterpret_cast<const Oid *>(ARR_DATA_PTR(array)), count, query->streams);
}

Datum stored_streams(const ContinuousQuery &query)
{
    Datum items[kMaxStreams];
    for (int i = 0; i < query.nstreams; i++)
        items[i] = ObjectIdGetDatum(query.streams[i]);
    return PointerGetDatum(
        construct_array(items, query.nstreams, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

ContinuousQuery *query_of(HeapTuple tuple, TupleDesc desc)
{
    Datum values[kNumColumns];
    bool nulls[kNumColumns];
    heap_deform_tuple(tuple, desc, values, nulls);
    auto *query = static_cast<ContinuousQuery *>(palloc0(sizeof(ContinuousQuery)));
    query->view = DatumGetObjectId(values[kView - 1]);
    query->definition = DatumGetObjectId(values[kDefinition - 1]);
    query->matrel = DatumGetObjectId(values[kMatrel - 1]);
    read_streams(query, values[kStreams - 1]);
    query->created_xid = FullTransactionIdFromU64(DatumGetUInt64(values[kCreatedXid - 1]));
    query->created_seq = DatumGetInt64(values[kCreatedSeq - 1]);
    query->worker = DatumGetInt32(values[kWorker - 1]);
    query->active = DatumGetBool(values[kActive - 1]);
    query->failed = !nulls[kSqlstate - 1];
    query->discards = DatumGetBool(values[kDiscards - 1]);
    query->lost = query->discards || (!nulls[kLostSince - 1] && nulls[kLostUntil - 1]);
    query->kind = static_cast<QueryKind>(DatumGetChar(values[kKind - 1]));
    if (!nulls[kExpireColumn - 1]) {
        query->expire_column = DatumGetInt16(values[kExpireColumn - 1]);
        query->expire_after = *DatumGetIntervalP(values[kExpireAfter - 1]);
    }
    query->output = nulls[kOutput - 1] ? InvalidOid : DatumGetObjectId(values[kOutput - 1]);
    return query;
}

int by_age(const ListCell *left, const ListCell *right)
{
    auto *a = static_cast<const ContinuousQuery *>(lfirst(left));
    auto *b = static_cast<const ContinuousQuery *>(lfirst(right));
    uint64 const a_xid = U64FromFullTransactionId(a->created_xid);
    uint64 const b_xid = U64FromFullTransactionId(b->created_xid);
    if (a_xid != b_xid)
        return a_xid < b_xid ? -1 : 1;
    if (a->created_seq != b->created_seq)
        return a->created_seq < b->created_seq ? -1 : 1;
    return a->view < b->view ? -1 : (a->view > b->view ? 1 : 0);
}

/// Replaces the columns marked in `replace` in the row of `view`; false if there is no row.
bool update_row(Oid view, Datum *values, bool *nulls, bool *replace)
{
    Oid const catalog = catalog_relation("query");
    if (!OidIsValid(catalog))
        return false;
    return pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        bool const found = with_row(rel, "query_pkey", kView, view, [&](HeapTuple tuple) {
            HeapTuple const changed =
                heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
            CatalogTupleUpdate(rel, &tuple->t_self, changed);
        });
        if (found) {
            announce_change();
            CommandCounterIncrement(); // one query may change the row twice
        }
        return found;
    });
}

/// False if the row is gone or, with LockWaitSkip, if another transaction has changed it and
/// not ended: simple_heap_update would wait for that one and then raise "tuple concurrently
/// updated".
bool lock_row(Oid view, LockWaitPolicy policy)
{
    return pg::with_relation(catalog_relation("query"), RowExclusiveLock, [&](Relation rel) {
        TM_Result result = TM_Updated;
        while (result == TM_Updated) {
            result = TM_Deleted;
            with_row(rel, "query_pkey", kView, view, [&](HeapTuple tuple) {
                HeapTupleData locked = *tuple;
                Buffer buffer;
                TM_FailureData failure;
                result = heap_lock_tuple(rel, &locked, GetCurrentCommandId(true),
                                         LockTupleNoKeyExclusive, policy, false, &buffer, &failure);
                ReleaseBuffer(buffer);
            });
            CHECK_FOR_INTERRUPTS();
        }
        return result == TM_Ok;
    });
}

} // namespace

Oid catalog_relation(const char *name)
{
    Oid const schema = catalog_schema();
    return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

bool extension_installed()
{
    return OidIsValid(catalog_schema());
}

List *list_queries(Snapshot snapshot)
{
    Oid const catalog = catalog_relation("query");
    if (!OidIsValid(catalog))
        return NIL;
    List *queries = NIL;
    pg::with_relation(catalog, AccessShareLock, [&](Relation rel) {
        SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, nullptr);
        HeapTuple tuple;
        while (HeapTupleIsValid(tuple = systable_getnext(scan)))
            queries = lappend(queries, query_of(tuple, RelationGetDescr(rel)));
        systable_endscan(scan);
    });
    list_sort(queries, by_age);
    return queries;
}

ContinuousQuery *find_query(Oid relid)
{
    Oid const catalog = catalog_relation("query");
    if (!OidIsValid(catalog))
        return nullptr;
    return pg::with_relation(catalog, AccessShareLock, [&](Relation rel) {
        ContinuousQuery *query = nullptr;
        auto const keep = [&](HeapTuple tuple) { query = query_of(tuple, RelationGetDescr(rel)); };
        if (!with_row(rel, "query_pkey", kView, relid, keep) &&
            !with_row(rel, "query_matrel_key", kMatrel, relid, keep))
            with_row(rel, "query_definition_key", kDefinition, relid, keep);
        return query;
    });
}

ContinuousQuery *find_query_of_output(Oid stream)
{
    Oid const catalog = catalog_relation("query");
    if (!OidIsValid(catalog))
        return nullptr;
    return pg::with_relation(catalog, AccessShareLock, [&](Relation rel) {
        ContinuousQuery *query = nullptr;
        with_row(rel, "query_output_key", kOutput, stream,
                 [&](HeapTuple tuple) { query = query_of(tuple, RelationGetDescr(rel)); });
        return query;
    });
}

Oid matrel_of_table(Oid relid)
{
    if (!get_rel_relispartition(relid))
        return relid;
    Oid const parent = get_partition_parent(relid, true);
    return OidIsValid(parent) ? parent : relid;
}

void insert_query(const ContinuousQuery &query)
{
    pg::with_relation(catalog_relation("query"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns] = {};
        bool nulls[kNumColumns] = {};
        values[kView - 1] = ObjectIdGetDatum(query.view);
        values[kDefinition - 1] = ObjectIdGetDatum(query.definition);
        values[kMatrel - 1] = ObjectIdGetDatum(query.matrel);
        values[kStreams - 1] = stored_streams(query);
        values[kCreatedXid - 1] = UInt64GetDatum(U64FromFullTransactionId(query.created_xid));
        values[kCreatedSeq - 1] = Int64GetDatum(query.created_seq);
        values[kWorker - 1] = Int32GetDatum(query.worker);
        values[kActive - 1] = BoolGetDatum(query.active);
        nulls[kSqlstate - 1] = nulls[kMessage - 1] = nulls[kFailedAt - 1] = true;
        nulls[kLostSince - 1] = nulls[kLostUntil - 1] = true;
        values[kLostRows - 1] = Int64GetDatum(0);
        values[kDiscards - 1] = BoolGetDatum(false);
        values[kKind - 1] = CharGetDatum(static_cast<char>(query.kind));
        values[kExpireColumn - 1] = Int16GetDatum(query.expire_column);
        values[kExpireAfter - 1] = IntervalPGetDatum(&query.expire_after);
        nulls[kExpireColumn - 1] = nulls[kExpireAfter - 1] = query.expire_column == 0;
        values[kOutput - 1] = ObjectIdGetDatum(query.output);
        nulls[kOutput - 1] = !OidIsValid(query.output);
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
        announce_change();
    });
}

void delete_query(Oid view)
{
    Oid const catalog = catalog_relation("query");
    if (!OidIsValid(catalog))
        return;
    pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        bool deleted = false;
        // The fold worker may be marking the view as failed: simple_heap_delete would raise
        // "tuple concurrently updated" then, so the row is looked up again.
        while (!deleted) {
            TM_Result result = TM_Ok;
            bool const found = with_row(rel, "query_pkey", kView, view, [&](HeapTuple tuple) {
                TM_FailureData failure;
                result = heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true),
                                     InvalidSnapshot, true, &failure, false);
            });
            deleted = !found || result != TM_Updated;
            CHECK_FOR_INTERRUPTS();
        }
        announce_change();
    });
}

void set_output(Oid view, Oid output)
{
    if (!lock_row(view, LockWaitBlock))
        return;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kOutput - 1] = ObjectIdGetDatum(output);
    nulls[kOutput - 1] = !OidIsValid(output);
    replace[kOutput - 1] = true;
    (void) update_row(view, values, nulls, replace);
}

void set_expiry(Oid view, AttrNumber column, const Interval &after)
{
    if (!lock_row(view, LockWaitBlock))
        return;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kExpireColumn - 1] = Int16GetDatum(column);
    values[kExpireAfter - 1] = IntervalPGetDatum(&after);
    nulls[kExpireColumn - 1] = nulls[kExpireAfter - 1] = column == 0;
    replace[kExpireColumn - 1] = replace[kExpireAfter - 1] = true;
    (void) update_row(view, values, nulls, replace);
}

bool set_active(Oid view, bool active)
{
    // The fold worker may be marking the view as failed, or another session be at it.
    if (!lock_row(view, LockWaitBlock))
        return false;
    ContinuousQuery *const query = find_query(view);
    if (query == nullptr || (query->active == active && !(active && query->failed)))
        return false;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kActive - 1] = BoolGetDatum(active);
    replace[kActive - 1] = true;
    if (active)
        for (int column = kSqlstate; column <= kFailedAt; column++)
            nulls[column - 1] = replace[column - 1] = true;
    return update_row(view, values, nulls, replace);
}

/// The fold worker does not wait for another session.
bool lock_query_at_once(Oid view)
{
    return lock_row(view, LockWaitSkip);
}

bool mark_failed(Oid view, int sqlstate, const char *message)
{
    if (!lock_query_at_once(view))
        return false;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    // A row of this table shall never need TOAST.
    int const length = pg_mbcliplen(message, int(strlen(message)), kMaxMessage);
    values[kSqlstate - 1] = CStringGetTextDatum(unpack_sql_state(sqlstate));
    values[kMessage - 1] = PointerGetDatum(cstring_to_text_with_len(message, length));
    values[kFailedAt - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    for (int column = kSqlstate; column <= kFailedAt; column++)
        replace[column - 1] = true;
    return update_row(view, values, nulls, replace);
}

static int64 lost_rows_of(Oid view)
{
    return pg::with_relation(catalog_relation("query"), RowExclusiveLock, [&](Relation rel) {
        int64 rows = 0;
        with_row(rel, "query_pkey", kView, view, [&](HeapTuple tuple) {
            bool isnull;
            rows = DatumGetInt64(heap_getattr(tuple, kLostRows, RelationGetDescr(rel), &isnull));
        });
        return rows;
    });
}

void mark_lost(Oid view, int64 rows)
{
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kLostSince - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    nulls[kLostUntil - 1] = true;
    values[kLostRows - 1] = Int64GetDatum(lost_rows_of(view) + rows);
    replace[kLostSince - 1] = replace[kLostUntil - 1] = replace[kLostRows - 1] = true;
    (void) update_row(view, values, nulls, replace);
}

bool mark_discarding(Oid view)
{
    if (!lock_row(view, LockWaitBlock))
        return false;
    const ContinuousQuery *const query = find_query(view);
    if (query == nullptr || query->discards)
        return false;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kActive - 1] = BoolGetDatum(false);
    values[kDiscards - 1] = BoolGetDatum(true);
    values[kLostUntil - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    for (int column = kSqlstate; column <= kFailedAt; column++)
        nulls[column - 1] = replace[column - 1] = true;
    replace[kActive - 1] = replace[kDiscards - 1] = true;
    replace[kLostUntil - 1] = query->lost;
    return update_row(view, values, nulls, replace);
}

void mark_found(Oid view, int64 created_seq)
{
    bool const had_chosen = find_query(view)->discards;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    FullTransactionId const own = GetTopFullTransactionId();
    values[kCreatedXid - 1] = UInt64GetDatum(U64FromFullTransactionId(own));
    values[kCreatedSeq - 1] = Int64GetDatum(created_seq);
    values[kActive - 1] = BoolGetDatum(true);
    values[kLostUntil - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
    for (int column = kSqlstate; column <= kFailedAt; column++)
        nulls[column - 1] = replace[column - 1] = true;
    replace[kCreatedXid - 1] = replace[kCreatedSeq - 1] = replace[kActive - 1] = true;
    values[kDiscards - 1] = BoolGetDatum(false);
    replace[kDiscards - 1] = true;
    replace[kLostUntil - 1] = !had_chosen;
    (void) update_row(view, values, nulls, replace);
}

uint32 workers_of_source(Oid source)
{
    uint32 workers = 0;
    for (auto *query : pg::each<ContinuousQuery>(list_queries()))
        if (source == InvalidOid || query->reads(source))
            workers |= 1u << query->worker;
    return workers;
}

bool set_worker(Oid view, int worker)
{
    if (!lock_query_at_once(view))
        return false;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {};
    values[kWorker - 1] = Int32GetDatum(worker);
    replace[kWorker - 1] = true;
    return update_row(view, values, nulls, replace);
}

void announce_change()
{
    CacheInvalidateRelcacheByRelid(catalog_relation("query"));
}

bool is_stream(Oid relid)
{
    if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
        return false;
    ForeignServer *const server = GetForeignServer(GetForeignTable(relid)->serverid);
    return is_stream_server(server);
}

bool is_stream_server(ForeignServer *server)
{
    Oid const schema = catalog_schema();
    if (!OidIsValid(schema))
        return false;
    Oid const handler = GetForeignDataWrapper(server->fdwid)->fdwhandler;
    if (!OidIsValid(handler) || get_func_namespace(handler) != schema)
        return false;
    return strcmp(get_func_name(handler), "stream_fdw_handler") == 0;
}

static List *kept_options(Relation definition)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(definition)));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(definition));
    bool isnull;
    Datum const stored = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
    List *const options = isnull ? NIL : untransformRelOptions(stored);
    ReleaseSysCache(tuple);
    return options;
}

void apply_creation_settings(Relation definition)
{
    for (auto *option : pg::each<DefElem>(kept_options(definition))) {
        // Reloptions can be written by hand in a CREATE VIEW; no other setting may be smuggled
        // into the fold worker that way.
        if (!is_creation_setting(option->defname))
            continue;
        // Most are as they are: to look costs a tenth of setting them and undoing it, and this is
        // done in each tick.
        const char *const now = GetConfigOption(option->defname, true, false);
        if (now == nullptr || strcmp(now, defGetString(option)) != 0)
            set_config_option(option->defname, defGetString(option), PGC_USERSET, PGC_S_SESSION,
                              GUC_ACTION_SAVE, true, 0, false);
    }
}

const char *creation_setting(Relation definition, const char *name)
{
    for (auto *option : pg::each<DefElem>(kept_options(definition)))
        if (pg_strcasecmp(option->defname, name) == 0)
            return defGetString(option);
    return nullptr;
}

} // namespace pipeline::view
