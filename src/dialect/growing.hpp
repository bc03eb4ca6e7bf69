// An array that grows, as plain data in the memory context that is current when it grows.
//
// Owns: nothing; the memory context frees it. May call: pg/. Invariant: trivially destructible,
// so an ERROR may cross it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::dialect {

template <typename T> struct Growing {
    T *items = nullptr;
    int count = 0;
    int room = 0;

    void add(const T &item)
    {
        if (count == room) {
            room = room == 0 ? 16 : 2 * room;
            Size const bytes = sizeof(T) * static_cast<Size>(room);
            items =
                static_cast<T *>(items == nullptr ? palloc(bytes) : repalloc_huge(items, bytes));
        }
        items[count++] = item;
    }
};

} // namespace pipeline::dialect
