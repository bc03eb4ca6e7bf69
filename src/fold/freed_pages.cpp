#include "fold/freed_pages.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/transam.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/freespace.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/rel.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

constexpr int kMostPages = 65536;
constexpr int kPagesAtOnce = 512;

struct Batch {
    TransactionId xid;
    int count;
    int next;
    BlockNumber pages[FLEXIBLE_ARRAY_MEMBER];
};

/// heap_page_prune() has another form in each major, and not even the same in all releases of
/// one. heap_page_prune_opt() does it where an update found no room, which is what this says.
void ask_for_pruning(Buffer buffer)
{
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    Page const page = BufferGetPage(buffer);
    if (!PageIsNew(page))
        PageSetFull(page);
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

Size free_space(Buffer buffer)
{
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    Page const page = BufferGetPage(buffer);
    Size const space = PageIsNew(page) ? 0 : PageGetHeapFreeSpace(page);
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    return space;
}

void reuse_page(Relation matrel, BlockNumber block)
{
    Buffer const buffer = ReadBuffer(matrel, block);
    ask_for_pruning(buffer);
    heap_page_prune_opt(matrel, buffer);
    RecordPageWithFreeSpace(matrel, block, free_space(buffer));
    ReleaseBuffer(buffer);
}

/// Returns how many pages.
int reuse_batch(Batch *batch, Relation matrel, int most)
{
    BlockNumber const nblocks = RelationGetNumberOfBlocks(matrel);
    int const begin = batch->next;
    int const end = std::min(batch->count, begin + most);
    for (; batch->next < end; batch->next++) {
        CHECK_FOR_INTERRUPTS();
        if (batch->pages[batch->next] < nblocks)
            reuse_page(matrel, batch->pages[batch->next]);
    }
    // The upper levels of the map are what searches begin with. Pages are in ascending order.
    BlockNumber const last = std::min(batch->pages[end - 1] + 1, nblocks);
    if (batch->pages[begin] < last)
        FreeSpaceMapVacuumRange(matrel, batch->pages[begin], last);
    return end - begin;
}

} // namespace

void add_freed(FreedPages *freed, TransactionId xid, BlockNumber *pages, int npages,
               MemoryContext context)
{
    std::sort(pages, pages + npages);
    npages = static_cast<int>(std::unique(pages, pages + npages) - pages);
    if (npages == 0 || freed->npages + npages > kMostPages)
        return;
    pg::in_context(context, [&] {
        auto *batch = static_cast<Batch *>(
            palloc(offsetof(Batch, pages) + sizeof(BlockNumber) * static_cast<Size>(npages)));
        batch->xid = xid;
        batch->count = npages;
        batch->next = 0;
        std::copy_n(pages, npages, batch->pages);
        freed->batches = lappend(freed->batches, batch);
        freed->npages += npages;
    });
}

bool reuse_freed(FreedPages *freed, Relation matrel)
{
    // It also tells pruning what is removable now (procarray.c, GlobalVisUpdateApply).
    TransactionId const horizon = GetOldestNonRemovableTransactionId(matrel);
    int room = kPagesAtOnce;
    while (freed->batches != NIL) {
        auto *const batch = static_cast<Batch *>(linitial(freed->batches));
        if (room <= 0 || !TransactionIdPrecedes(batch->xid, horizon))
            return false;
        int const done = reuse_batch(batch, matrel, room);
        room -= done;
        freed->npages -= done;
        if (batch->next < batch->count)
            continue;
        freed->batches = list_delete_first(freed->batches);
        pfree(batch);
    }
    return true;
}

void forget_freed(FreedPages *freed)
{
    list_free_deep(freed->batches);
    freed->batches = NIL;
    freed->npages = 0;
}

} // namespace pipeline::fold
