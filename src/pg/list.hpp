// A typed, read-only view of the server's List for range-based for loops.
//
// Owns: nothing; the List must outlive the view and not change under it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::pg {

template <typename T> T *cell_pointer(const ListCell *cell)
{
    return static_cast<T *>(cell->ptr_value);
}

inline Oid cell_oid(const ListCell *cell)
{
    return cell->oid_value;
}

template <typename Value, Value (*get)(const ListCell *)> class ListView {
  public:
    explicit ListView(const ::List *list) : list_(list) {}

    class iterator {
      public:
        explicit iterator(const ListCell *cell) : cell_(cell) {}
        Value operator*() const { return get(cell_); }
        iterator &operator++()
        {
            ++cell_;
            return *this;
        }
        bool operator!=(const iterator &other) const { return cell_ != other.cell_; }

      private:
        const ListCell *cell_;
    };

    iterator begin() const { return iterator(list_ != NIL ? list_->elements : nullptr); }
    iterator end() const
    {
        return iterator(list_ != NIL ? list_->elements + list_->length : nullptr);
    }

  private:
    const ::List *list_;
};

/// Iterates over a List of pointers: `for (auto *entry : pg::each<TargetEntry>(tlist))`.
template <typename T> using each = ListView<T *, cell_pointer<T>>;

/// The same for a List of OIDs.
using each_oid = ListView<Oid, cell_oid>;

} // namespace pipeline::pg
