// Groups in the order in which a table or its index has them, so that neighbours are visited one
// after the other.
//
// Owns: sorting. May call: group_batch. Invariant: the order is a matter of speed only.
#pragma once

#include "fold/group_batch.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace pipeline::fold {

/// A group and its place in the order.
struct OrderedRow {
    uint64 order;
    GroupRow *row;
};

/// By `order` alone.
void sort_rows(OrderedRow *rows, uint32 count);

inline uint64 order_of(const ItemPointerData &place)
{
    return static_cast<uint64>(ItemPointerGetBlockNumber(&place)) << 16 |
           ItemPointerGetOffsetNumber(&place);
}

inline ItemPointerData place_of(uint64 order)
{
    ItemPointerData place;
    ItemPointerSet(&place, static_cast<BlockNumber>(order >> 16),
                   static_cast<OffsetNumber>(order & 0xffff));
    return place;
}

struct KeyOrder;

/// That of a btree; nullptr if it compares something else than columns.
KeyOrder *order_of_index(Relation index);

/// By the keys of the index; changes `order`.
void sort_rows_by_key(KeyOrder *by, OrderedRow *rows, uint32 count);

} // namespace pipeline::fold
