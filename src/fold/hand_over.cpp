#include "fold/hand_over.hpp"

#include "pg/list.hpp"
#include "pg/stop_points.hpp"
#include "spool/writer.hpp"

extern "C" {
#include "storage/lmgr.h"
#include "utils/syscache.h"
}

namespace pipeline::fold {
namespace {

FoldedView *own_view(Oid view)
{
    for (auto *candidate : pg::each<FoldedView>(state().views))
        if (candidate->query.view == view)
            return candidate;
    return nullptr;
}

/// The number of the tick's consumer that `view` has, -1 if it has no turn in this tick, or had it
/// already.
int consumer_in(const Collection &collection, const FoldedView *view)
{
    if (view == nullptr || view->folded || !view->runs())
        return -1;
    for (int i = 0; i < collection.nconsumers; i++)
        if (collection.consumers[i] == view->consumer)
            return i;
    return -1;
}

/// False if the reader was dropped since the views were listed. Whoever drops it waits for this
/// tick; if somebody has the lock already, the chunk may name a view that is no more by then:
/// nobody reads it, as a later view begins after this transaction, even one that gets the same OID.
bool is_there(Oid reader)
{
    (void) ConditionalLockRelationOid(reader, AccessShareLock);
    return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(reader));
}

} // namespace

/// The spool's rules hold: rolled back with the tick, folded by the reader's next tick, since its
/// set does not contain this transaction, which began after the tick's snapshot.
void spool_emitted(Oid reader, Oid output, const EmittedChunk *chunks, int count)
{
    spool::StatementWriter *const writer = spool::begin_statement(reader, CurrentMemoryContext);
    for (int i = 0; i < count; i++) {
        void *const buffer = spool::chunk_buffer(writer, chunks[i].size);
        memcpy(buffer, chunks[i].bytes, chunks[i].size);
        spool::write_chunk(writer, reader, chunks[i].nrows, buffer, chunks[i].size, output);
    }
    spool::end_statement(writer);
}

void begin_hand_over()
{
    for (auto *view : pg::each<FoldedView>(state().views)) {
        view->emission = nullptr;
        view->folded = false;
        view->handed = NIL;
    }
}

void hand_over(FoldedView *view, Collection *collection)
{
    int count = 0;
    const EmittedChunk *const chunks =
        view->emission != nullptr ? emitted_chunks(view->emission, &count) : nullptr;
    if (count == 0)
        return;
    uint32 consumers = 0;
    for (Oid const reader : pg::each_oid(view->readers)) {
        int const consumer = consumer_in(*collection, own_view(reader));
        if (consumer < 0)
            continue;
        consumers |= 1u << consumer;
        view->handed = lappend_oid(view->handed, reader);
    }
    if (consumers != 0)
        for (int i = 0; i < count; i++)
            append_emitted(collection, view->query.output, consumers, chunks[i]);
}

bool spool_leftovers()
{
    bool any = false;
    for (auto *view : pg::each<FoldedView>(state().views)) {
        int count = 0;
        const EmittedChunk *const chunks =
            view->emission != nullptr ? emitted_chunks(view->emission, &count) : nullptr;
        if (count == 0)
            continue;
        for (Oid const reader : pg::each_oid(view->readers)) {
            const FoldedView *const own = own_view(reader);
            if (list_member_oid(view->handed, reader) && own->folded)
                continue;
            if (!is_there(reader))
                continue;
            spool_emitted(reader, view->query.output, chunks, count);
            any = true;
        }
    }
    if (any)
        pg::stop_point("fold_leftovers");
    return any;
}

} // namespace pipeline::fold
