#include "fold/group_order.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/lsyscache.h"
#include "utils/sortsupport.h"
}

#include <algorithm>

namespace pipeline::fold {

struct KeyOrder {
    int ncolumns;
    int columns[INDEX_MAX_KEYS]; ///< of the row
    SortSupportData support[INDEX_MAX_KEYS];
};

namespace {

/// Can the first column be compared as an unsigned word?
bool has_words(const SortSupportData &support)
{
    return support.comparator == ssup_datum_signed_cmp ||
           support.comparator == ssup_datum_int32_cmp ||
           support.comparator == ssup_datum_unsigned_cmp;
}

/// NULL comes last, together with the largest value.
uint64 word_of(const SortSupportData &support, Datum value, bool isnull)
{
    if (isnull)
        return ~UINT64CONST(0);
    if (support.comparator == ssup_datum_int32_cmp)
        return static_cast<uint64>(static_cast<int64>(DatumGetInt32(value))) ^ UINT64CONST(1) << 63;
    if (support.comparator == ssup_datum_signed_cmp)
        return static_cast<uint64>(value) ^ UINT64CONST(1) << 63;
    return static_cast<uint64>(value);
}

extern "C" int pipeline_compare_rows(const void *left, const void *right, void *arg)
{
    auto *const by = static_cast<KeyOrder *>(arg);
    auto *const a = static_cast<const OrderedRow *>(left);
    auto *const b = static_cast<const OrderedRow *>(right);
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    for (int i = 0; i < by->ncolumns; i++) {
        int const column = by->columns[i];
        int const result =
            ApplySortComparator(a->row->values[column], a->row->isnull[column],
                                b->row->values[column], b->row->isnull[column], &by->support[i]);
        if (result != 0)
            return result;
    }
    return 0;
}

} // namespace

void sort_rows(OrderedRow *rows, uint32 count)
{
    std::sort(rows, rows + count,
              [](const OrderedRow &a, const OrderedRow &b) { return a.order < b.order; });
}

KeyOrder *order_of_index(Relation index)
{
    auto *by = static_cast<KeyOrder *>(palloc0(sizeof(KeyOrder)));
    by->ncolumns = index->rd_index->indnkeyatts;
    for (int i = 0; i < by->ncolumns; i++) {
        int const column = index->rd_index->indkey.values[i] - 1;
        if (column < 0)
            return nullptr;
        by->columns[i] = column;
        SortSupportData &support = by->support[i];
        support.ssup_cxt = CurrentMemoryContext;
        support.ssup_collation = index->rd_indcollation[i];
        support.ssup_attno = static_cast<AttrNumber>(column + 1);
        Oid const op = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
                                           index->rd_opcintype[i], BTLessStrategyNumber);
        if (!OidIsValid(op))
            return nullptr;
        PrepareSortSupportFromOrderingOp(op, &support);
    }
    return by;
}

/// The server's sort is used where the comparison is a type's: it stays within its array even if
/// the answers contradict each other.
void sort_rows_by_key(KeyOrder *by, OrderedRow *rows, uint32 count)
{
    bool const words = has_words(by->support[0]);
    for (uint32 i = 0; i < count; i++) {
        int const column = by->columns[0];
        rows[i].order = words ? word_of(by->support[0], rows[i].row->values[column],
                                        rows[i].row->isnull[column])
                              : 0;
    }
    if (words && by->ncolumns == 1)
        sort_rows(rows, count);
    else
        qsort_arg(rows, count, sizeof(OrderedRow), pipeline_compare_rows, by);
}

} // namespace pipeline::fold
