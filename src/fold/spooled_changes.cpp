#include "fold/spooled_changes.hpp"

#include "pg/scope.hpp"
#include "spool/writer.hpp"

extern "C" {
#include "storage/lmgr.h"
#include "utils/syscache.h"
}

namespace pipeline::fold {
namespace {

/// False if the reader was dropped since the views were listed. Whoever drops it waits for this
/// transaction; if somebody has the lock already, the chunk may name a view that is no more by
/// then: nobody reads it, as a later view begins after this transaction, even one that gets the
/// same OID.
bool is_there(Oid reader)
{
    (void) ConditionalLockRelationOid(reader, AccessShareLock);
    return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(reader));
}

} // namespace

bool spool_changes(Oid reader, Oid output, const EmittedChunk *chunks, int count)
{
    if (!is_there(reader))
        return false;
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "spooled changes", ALLOCSET_DEFAULT_SIZES);
    spool::StatementWriter *const writer = pg::in_context(
        context, [&] { return spool::begin_statement(reader, CurrentMemoryContext); });
    for (int i = 0; i < count; i++) {
        void *const buffer = spool::chunk_buffer(writer, chunks[i].size);
        memcpy(buffer, chunks[i].bytes, chunks[i].size);
        spool::write_chunk(writer, reader, chunks[i].nrows, buffer, chunks[i].size, output);
    }
    spool::end_statement(writer);
    MemoryContextDelete(context);
    return true;
}

} // namespace pipeline::fold
