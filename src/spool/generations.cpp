#include "spool/generations.hpp"

#include "view/catalog.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/indexing.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
}

namespace pipeline::spool {
namespace {

enum GenerationColumn { kId = 1, kOrdinal = 2, kNumColumns = 2 };

/// The current generation as this backend last read it.
struct Cache {
    bool valid;
    Oid catalog; ///< pipelinedb.generation
    Oid current;
};

constinit Cache cache{};

/// The generation of the running transaction. A writer that is open for long (another stream
/// partition, an outer statement) and one that begins after a rotation must use the same.
struct Chosen {
    FullTransactionId top_xid;
    Oid relid;
    int level; ///< subtransaction that holds the lock
};

constinit Chosen chosen{};

/// The lock goes with the subtransaction that took it, and so do all chunks that were written
/// under it.
void note_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *)
{
    int const level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_ABORT_SUB && chosen.level >= level)
        chosen = {};
    else if (event == SUBXACT_EVENT_COMMIT_SUB && chosen.level >= level)
        chosen.level = level - 1;
}

void forget_on_message(Datum, Oid relid)
{
    // A message of the table itself: it was dropped with the extension.
    if (relid == InvalidOid || relid == cache.catalog || relid == cache.current)
        cache.valid = false;
}

Oid spool_table(int32 id)
{
    char name[NAMEDATALEN];
    snprintf(name, sizeof(name), "spool_%d", id);
    return view::catalog_relation(name);
}

void read_current()
{
    cache.catalog = generation_catalog();
    // Set first: a message that arrives while we read must leave the cache invalid.
    cache.valid = true;
    List *const generations = list_generations();
    cache.current = static_cast<const Generation *>(llast(generations))->relid;
    list_free_deep(generations);
}

int compare_ordinal(const ListCell *a, const ListCell *b)
{
    int64 const left = static_cast<const Generation *>(lfirst(a))->ordinal;
    int64 const right = static_cast<const Generation *>(lfirst(b))->ordinal;
    return left < right ? -1 : left > right ? 1 : 0;
}

} // namespace

Oid generation_catalog()
{
    Oid const relid = view::catalog_relation("generation");
    if (!OidIsValid(relid))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("extension \"pipeline_ext\" is not installed in this database"),
                        errhint("Run CREATE EXTENSION pipeline_ext.")));
    return relid;
}

List *list_generations()
{
    List *result = NIL;
    Relation rel = table_open(generation_catalog(), AccessShareLock);
    SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, nullptr, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        bool isnull;
        auto *generation = static_cast<Generation *>(palloc0(sizeof(Generation)));
        generation->id = DatumGetInt32(heap_getattr(tuple, kId, RelationGetDescr(rel), &isnull));
        generation->ordinal =
            DatumGetInt64(heap_getattr(tuple, kOrdinal, RelationGetDescr(rel), &isnull));
        generation->relid = spool_table(generation->id);
        if (OidIsValid(generation->relid))
            result = lappend(result, generation);
    }
    systable_endscan(scan);
    table_close(rel, AccessShareLock);
    if (result == NIL)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("pipelinedb.generation is empty")));
    list_sort(result, compare_ordinal);
    return result;
}

static Relation open_current_generation()
{
    for (;;) {
        if (!cache.valid)
            read_current();
        Oid const relid = cache.current;
        // Taking the lock reads the pending messages. A rotation sends its message before it
        // releases its locks, so a cache that is still valid now names the generation that
        // the fold worker expects to be written, and cannot be emptied before we commit.
        Relation rel = table_open(relid, RowExclusiveLock);
        if (cache.valid && cache.current == relid)
            return rel;
        table_close(rel, RowExclusiveLock);
    }
}

Relation open_generation_to_write(bool *is_first)
{
    FullTransactionId const top = GetTopFullTransactionId();
    *is_first = !OidIsValid(chosen.relid) || !FullTransactionIdEquals(chosen.top_xid, top);
    if (!*is_first)
        return table_open(chosen.relid, NoLock); // held already: it cannot be emptied
    Relation rel = open_current_generation();
    chosen = {top, RelationGetRelid(rel), GetCurrentTransactionNestLevel()};
    return rel;
}

/// CREATE TABLE as the extension's own script does it; a member of the extension, so that
/// pg_dump leaves it out and DROP EXTENSION takes it along.
static void create_generation(int32 id)
{
    char command[256];
    // spi.c: _SPI_execute_plan refuses a statement that writes without one.
    PushActiveSnapshot(GetTransactionSnapshot());
    if (SPI_connect() != SPI_OK_CONNECT)
        elog(ERROR, "SPI_connect failed");
    snprintf(command, sizeof(command), "SELECT pipelinedb.create_generation(%d)", id);
    if (SPI_execute(command, false, 0) != SPI_OK_SELECT)
        elog(ERROR, "could not create spool generation %d", id);
    SPI_finish();
    PopActiveSnapshot();
}

void rotate_to(int32 id)
{
    List *const generations = list_generations();
    int32 highest_id = -1;
    int64 ordinal = 0;
    ListCell *cell;
    foreach (cell, generations) {
        const auto *generation = static_cast<const Generation *>(lfirst(cell));
        highest_id = Max(highest_id, generation->id);
        ordinal = Max(ordinal, generation->ordinal);
    }

    Relation rel = table_open(generation_catalog(), RowExclusiveLock);
    Datum values[kNumColumns];
    bool nulls[kNumColumns] = {};
    bool replace[kNumColumns] = {false, true};
    values[kOrdinal - 1] = Int64GetDatum(ordinal + 1);
    if (id < 0) {
        id = highest_id + 1;
        create_generation(id);
        values[kId - 1] = Int32GetDatum(id);
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    } else {
        SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, nullptr, 0, nullptr);
        while (HeapTuple tuple = systable_getnext(scan)) {
            bool isnull;
            if (DatumGetInt32(heap_getattr(tuple, kId, RelationGetDescr(rel), &isnull)) != id)
                continue;
            HeapTuple changed =
                heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
            CatalogTupleUpdate(rel, &tuple->t_self, changed);
            break;
        }
        systable_endscan(scan);
    }
    CacheInvalidateRelcache(rel);
    table_close(rel, NoLock);
}

void install_generations()
{
    CacheRegisterRelcacheCallback(forget_on_message, static_cast<Datum>(0));
    RegisterSubXactCallback(note_subtransaction, nullptr);
}

} // namespace pipeline::spool
