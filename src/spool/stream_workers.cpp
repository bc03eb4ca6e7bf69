#include "spool/stream_workers.hpp"

#include "view/catalog.hpp"

extern "C" {
#include "utils/hsearch.h"
#include "utils/inval.h"
}

namespace pipeline::spool {
namespace {

struct StreamEntry {
    Oid stream; // the hash key
    WorkerSet workers;
};

struct RelationEntry {
    Oid relation; // the hash key
    bool is_of_view;
};

/// A session may name any number of relations.
constexpr long kMaxRelations = 1000;

struct Cache {
    HTAB *streams;   ///< of StreamEntry
    HTAB *relations; ///< of RelationEntry
    Oid catalog;     ///< pipelinedb.query
    uint64 changes;
    uint64 read_at; ///< `changes` when the table was begun
    bool callback_registered;
};

constinit Cache cache{};

void note_message(Datum, Oid relid)
{
    if (relid == InvalidOid || relid == cache.catalog)
        cache.changes++;
}

/// The extension may have been made anew since.
void watch_catalog()
{
    if (!cache.callback_registered) {
        CacheRegisterRelcacheCallback(note_message, static_cast<Datum>(0));
        cache.callback_registered = true;
    }
    cache.catalog = view::catalog_relation("query");
}

HTAB *make_table(const char *name, Size entry)
{
    HASHCTL control{};
    control.keysize = sizeof(Oid);
    control.entrysize = entry;
    control.hcxt = TopMemoryContext;
    return hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void drop_table(HTAB **table)
{
    if (*table != nullptr)
        hash_destroy(*table);
    *table = nullptr;
}

/// Empty tables, if something has changed.
void ready_cache()
{
    if (cache.relations != nullptr && cache.read_at == cache.changes)
        return;
    drop_table(&cache.streams);
    drop_table(&cache.relations);
    cache.read_at = cache.changes;
    watch_catalog();
    cache.streams = make_table("fold workers of streams", sizeof(StreamEntry));
    cache.relations = make_table("relations of continuous views", sizeof(RelationEntry));
}

} // namespace

Concerned workers_of_stream(Oid stream)
{
    // Whoever changes the catalog sends its message before it raises the epoch: after the
    // messages have been read, what is in the cache is right as of the epoch read before them.
    uint64 const epoch = assignment_epoch();
    AcceptInvalidationMessages();
    ready_cache();
    const void *const known = hash_search(cache.streams, &stream, HASH_FIND, nullptr);
    WorkerSet workers;
    if (known != nullptr) {
        workers = static_cast<const StreamEntry *>(known)->workers;
    } else {
        // A message that comes while we read makes the next call begin a new table.
        workers = view::workers_of_source(stream);
        void *const added = hash_search(cache.streams, &stream, HASH_ENTER, nullptr);
        static_cast<StreamEntry *>(added)->workers = workers;
    }
    return {workers != 0 ? workers : kFirstWorker, epoch};
}

bool is_of_view(Oid relation)
{
    AcceptInvalidationMessages();
    ready_cache();
    const void *const known = hash_search(cache.relations, &relation, HASH_FIND, nullptr);
    if (known != nullptr)
        return static_cast<const RelationEntry *>(known)->is_of_view;
    // A message that comes while we read makes the next call begin a new table.
    bool const is = view::find_query(relation) != nullptr;
    if (hash_get_num_entries(cache.relations) < kMaxRelations) {
        void *const added = hash_search(cache.relations, &relation, HASH_ENTER, nullptr);
        static_cast<RelationEntry *>(added)->is_of_view = is;
    }
    return is;
}

Concerned all_folding_workers()
{
    uint64 const epoch = assignment_epoch();
    AcceptInvalidationMessages();
    return {view::workers_of_source(InvalidOid) | kFirstWorker, epoch};
}

uint64 count_catalog_changes()
{
    watch_catalog();
    AcceptInvalidationMessages();
    return cache.changes;
}

} // namespace pipeline::spool
