#include "fold/first_row.hpp"

#include "pg/list.hpp"

extern "C" {
#include "optimizer/optimizer.h"
#include "utils/sortsupport.h"
}

namespace pipeline::fold {

struct FirstRowOrder {
    int ncolumns;
    SortSupportData *columns; ///< ssup_attno is the column, from 1
};

namespace {

bool is_key(const Query *definition, const SortGroupClause *order)
{
    for (auto *key : pg::each<SortGroupClause>(definition->distinctClause))
        if (key->tleSortGroupRef == order->tleSortGroupRef)
            return true;
    return false;
}

/// As nodeSort.c by way of tuplesort_begin_heap. Abbreviated keys are for many rows.
void prepare(SortSupport support, const SortGroupClause *clause, const TargetEntry *entry)
{
    support->ssup_cxt = CurrentMemoryContext;
    support->ssup_collation = exprCollation(reinterpret_cast<Node *>(entry->expr));
    support->ssup_nulls_first = clause->nulls_first;
    support->ssup_attno = entry->resno;
    support->abbreviate = false;
    PrepareSortSupportFromOrderingOp(clause->sortop, support);
}

} // namespace

FirstRowOrder *make_first_row_order(Query *definition)
{
    auto *order = static_cast<FirstRowOrder *>(palloc0(sizeof(FirstRowOrder)));
    order->columns = static_cast<SortSupportData *>(palloc0(
        sizeof(SortSupportData) * (1 + static_cast<Size>(list_length(definition->sortClause)))));
    for (auto *clause : pg::each<SortGroupClause>(definition->sortClause))
        if (!is_key(definition, clause))
            prepare(&order->columns[order->ncolumns++], clause,
                    get_sortgroupclause_tle(clause, definition->targetList));
    return order;
}

bool comes_before(FirstRowOrder *order, const Datum *values, const bool *isnull,
                  const Datum *other_values, const bool *other_isnull)
{
    for (int i = 0; i < order->ncolumns; i++) {
        SortSupport const support = &order->columns[i];
        int const c = support->ssup_attno - 1;
        int const result =
            ApplySortComparator(values[c], isnull[c], other_values[c], other_isnull[c], support);
        if (result != 0)
            return result < 0;
    }
    return false;
}

} // namespace pipeline::fold
