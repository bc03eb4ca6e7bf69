#include "fold/survey.hpp"

#include "fold/collect.hpp"
#include "pg/settings.hpp"
#include "spool/xid_sets.hpp"

extern "C" {
#include "utils/hsearch.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

struct SurveyScan {
    const Consumer *consumer;
    const spool::XidSet *target;
    HTAB *transactions;
    uint64 limit;
};

/// Too many: keep the lower half of the xids and look at the others in a later survey.
void halve(SurveyScan *scan)
{
    auto const count = static_cast<Size>(hash_get_num_entries(scan->transactions));
    auto *xids = static_cast<uint64 *>(palloc(sizeof(uint64) * count));
    HASH_SEQ_STATUS status;
    Size n = 0;
    hash_seq_init(&status, scan->transactions);
    while (void *entry = hash_seq_search(&status))
        xids[n++] = static_cast<SurveyedTransaction *>(entry)->xid;
    std::nth_element(xids, xids + n / 2, xids + n);
    scan->limit = xids[n / 2];
    for (Size i = 0; i < n; i++)
        if (xids[i] >= scan->limit)
            hash_search(scan->transactions, &xids[i], HASH_REMOVE, nullptr);
    pfree(xids);
}

spool::Visit visit(const spool::StoredChunk &stored, void *arg)
{
    auto *scan = static_cast<SurveyScan *>(arg);
    if (stored.xid >= scan->limit || !scan->target->contains(stored.xid) ||
        scan->consumer->progress.folded.contains(stored.xid))
        return spool::Visit::kNext;
    bool found;
    auto *entry = static_cast<SurveyedTransaction *>(
        hash_search(scan->transactions, &stored.xid, HASH_ENTER, &found));
    if (!found) {
        entry->bytes = 0;
        entry->first = stored.position;
    }
    entry->last = stored.position;
    // Chunks that no view wants count too: a view may be activated before the group's turn.
    entry->bytes += weight_of(stored);
    if (hash_get_num_entries(scan->transactions) > kMaxSurveyed)
        halve(scan);
    return spool::Visit::kNext;
}

bool is_before(spool::Position a, spool::Position b)
{
    return a.ordinal != b.ordinal ? a.ordinal < b.ordinal : a.block < b.block;
}

} // namespace

void make_survey(Consumer *consumer, const spool::XidSet &target, spool::Position from,
                 Snapshot snapshot)
{
    HASHCTL control{};
    control.keysize = sizeof(uint64);
    control.entrysize = sizeof(SurveyedTransaction);
    control.hcxt = CurrentMemoryContext;
    SurveyScan scan{
        consumer, &target,
        hash_create("surveyed transactions", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT),
        spool::kNoXid};
    spool::scan_spool(snapshot, from, spool::kSpoolEnd, visit, &scan);

    MemoryContext const context =
        AllocSetContextCreate(state().context, "fold survey", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    auto *survey = static_cast<Survey *>(palloc0(sizeof(Survey)));
    survey->context = context;
    survey->target = spool::copy_set(target);
    survey->limit = scan.limit;
    survey->transactions = static_cast<SurveyedTransaction *>(MemoryContextAllocHuge(
        context, sizeof(SurveyedTransaction) *
                     (static_cast<Size>(hash_get_num_entries(scan.transactions)) + 1)));
    HASH_SEQ_STATUS status;
    hash_seq_init(&status, scan.transactions);
    while (void *entry = hash_seq_search(&status))
        survey->transactions[survey->count++] = *static_cast<SurveyedTransaction *>(entry);
    MemoryContextSwitchTo(old);
    hash_destroy(scan.transactions);
    std::sort(survey->transactions, survey->transactions + survey->count,
              [](const auto &a, const auto &b) { return a.xid < b.xid; });
    consumer->survey = survey;
}

/// Skips what has been folded, or begun by piece, since the survey was made.
static void skip_done(Consumer *consumer)
{
    Survey *const survey = consumer->survey;
    const spool::Progress &progress = consumer->progress;
    for (; survey->next < survey->count; survey->next++) {
        uint64 const xid = survey->transactions[survey->next].xid;
        bool const begun = std::any_of(progress.big, progress.big + progress.nbig,
                                       [xid](const auto &big) { return big.xid == xid; });
        if (!begun && !progress.folded.contains(xid))
            break;
    }
}

bool is_finished(Consumer *consumer)
{
    skip_done(consumer);
    return consumer->survey->next >= consumer->survey->count;
}

SurveyedGroup next_group(Consumer *consumer, Size budget, int max_big)
{
    skip_done(consumer);
    Survey *const survey = consumer->survey;
    SurveyedGroup group{survey->limit, spool::kSpoolEnd, {}, nullptr, 0, false};
    group.big = static_cast<SurveyedTransaction *>(palloc(sizeof(SurveyedTransaction) * kMaxBig));
    Size bytes = 0;
    int i = survey->next;
    for (; i < survey->count; i++) {
        const SurveyedTransaction &transaction = survey->transactions[i];
        if (transaction.bytes > budget / 2) {
            if (group.nbig == max_big)
                break;
            group.big[group.nbig++] = transaction;
            continue;
        }
        if (bytes > 0 && bytes + transaction.bytes > budget)
            break;
        bytes += transaction.bytes;
        if (is_before(transaction.first, group.from))
            group.from = transaction.first;
        if (is_before(group.to, transaction.last))
            group.to = transaction.last;
    }
    if (i < survey->count)
        group.limit = survey->transactions[i].xid;
    group.last = i >= survey->count && survey->limit == spool::kNoXid;
    return group;
}

} // namespace pipeline::fold
