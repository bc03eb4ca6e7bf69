// A typed, read-only view of the server's List for range-based for loops.
//
// Owns: nothing; the List must outlive the view and not change under it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::pg {

/// Iterates over a List of pointers: `for (auto *entry : pg::each<TargetEntry>(tlist))`.
template <typename T> class each {
  public:
    explicit each(const ::List *list) : list_(list) {}

    class iterator {
      public:
        explicit iterator(const ListCell *cell) : cell_(cell) {}
        T *operator*() const { return static_cast<T *>(cell_->ptr_value); }
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

/// The same for a List of OIDs.
class each_oid {
  public:
    explicit each_oid(const ::List *list) : list_(list) {}

    class iterator {
      public:
        explicit iterator(const ListCell *cell) : cell_(cell) {}
        Oid operator*() const { return cell_->oid_value; }
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

} // namespace pipeline::pg
