#include "fold/hand_over.hpp"

#include "pg/list.hpp"
#include "pg/stop_points.hpp"

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

} // namespace

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
        if (view->emission == nullptr)
            continue;
        int count;
        const EmittedChunk *const chunks = emitted_chunks(view->emission, &count);
        any |= went_to_spool(view->emission);
        if (count == 0)
            continue;
        for (Oid const reader : pg::each_oid(view->readers)) {
            const FoldedView *const own = own_view(reader);
            if (list_member_oid(view->handed, reader) && own->folded)
                continue;
            any |= spool_changes(reader, view->query.output, chunks, count);
        }
    }
    if (any)
        pg::stop_point("fold_leftovers");
    return any;
}

} // namespace pipeline::fold
