#include "fold/group_places.hpp"

#include "pg/settings.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pipeline::fold {
namespace {

/// A cache line. The lower bits of a hash choose the bucket, so that a larger table is made from
/// the entries alone.
constexpr uint32 kEntries = 6;

struct Bucket {
    uint32 hashes[kEntries];
    BlockNumber blocks[kEntries];
    OffsetNumber offsets[kEntries]; ///< InvalidOffsetNumber = free
    uint16 next;                    ///< to be replaced
    uint16 unused;
};

static_assert(sizeof(Bucket) == 64);

constexpr uint32 kFirstBuckets = 256;

struct Places {
    Bucket *buckets;
    uint32 mask;  ///< number of buckets - 1
    uint32 count; ///< used entries
};

constinit Places places{};

Size limit()
{
    return static_cast<Size>(settings::fold_memory) * 1024 / 4;
}

Bucket *allocate(uint32 nbuckets)
{
    return static_cast<Bucket *>(
        MemoryContextAllocExtended(TopMemoryContext, sizeof(Bucket) * nbuckets,
                                   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO));
}

/// The bucket's entry of that hash, else a free one, else the oldest.
uint32 slot_for(Bucket *bucket, uint32 hash)
{
    uint32 free = kEntries;
    for (uint32 i = 0; i < kEntries; i++) {
        if (bucket->offsets[i] == InvalidOffsetNumber)
            free = i;
        else if (bucket->hashes[i] == hash)
            return i;
    }
    if (free < kEntries) {
        places.count++;
        return free;
    }
    uint32 const oldest = bucket->next;
    bucket->next = static_cast<uint16>((oldest + 1) % kEntries);
    return oldest;
}

void put(uint32 hash, BlockNumber block, OffsetNumber offset)
{
    Bucket *const bucket = &places.buckets[hash & places.mask];
    uint32 const i = slot_for(bucket, hash);
    bucket->hashes[i] = hash;
    bucket->blocks[i] = block;
    bucket->offsets[i] = offset;
}

void resize(uint32 nbuckets)
{
    Bucket *const fresh = allocate(nbuckets);
    if (fresh == nullptr)
        return;
    Places const old = places;
    places = {fresh, nbuckets - 1, 0};
    if (old.buckets == nullptr)
        return;
    for (uint32 b = 0; b <= old.mask; b++)
        for (uint32 i = 0; i < kEntries; i++)
            if (old.buckets[b].offsets[i] != InvalidOffsetNumber)
                put(old.buckets[b].hashes[i], old.buckets[b].blocks[i], old.buckets[b].offsets[i]);
    pfree(old.buckets);
}

/// Twice as large when two thirds are used. The old table is there meanwhile: so that both fit,
/// the larger one takes two thirds of the limit at most.
void adapt()
{
    if (places.buckets == nullptr) {
        resize(kFirstBuckets);
        return;
    }
    Size const bytes = sizeof(Bucket) * (static_cast<Size>(places.mask) + 1);
    if (bytes > limit()) {
        pfree(places.buckets); // the limit was lowered
        places = {};
        resize(kFirstBuckets);
    } else if (places.count / 4 > places.mask && bytes * 3 <= limit()) {
        resize((places.mask + 1) * 2);
    }
}

} // namespace

bool find_place(uint32 hash, ItemPointer place)
{
    if (places.buckets == nullptr)
        return false;
    const Bucket &bucket = places.buckets[hash & places.mask];
    for (uint32 i = 0; i < kEntries; i++)
        if (bucket.hashes[i] == hash && bucket.offsets[i] != InvalidOffsetNumber) {
            ItemPointerSet(place, bucket.blocks[i], bucket.offsets[i]);
            return true;
        }
    return false;
}

void expect_place(uint32 hash)
{
    if (places.buckets != nullptr)
        __builtin_prefetch(&places.buckets[hash & places.mask], 1);
}

void remember_place(uint32 hash, const ItemPointerData &place)
{
    adapt();
    if (places.buckets != nullptr)
        put(hash, ItemPointerGetBlockNumber(&place), ItemPointerGetOffsetNumber(&place));
}

void forget_places()
{
    if (places.buckets != nullptr)
        pfree(places.buckets);
    places = {};
}

} // namespace pipeline::fold
