#include "view/same_source.hpp"

#include "pg/list.hpp"

namespace pipeline::view {
namespace {

bool is_same_subquery(const Query *before, const Query *after, Filters filters);

/// The rest of an entry says nothing but names, rights and locks.
bool is_same_entry(const RangeTblEntry *before, const RangeTblEntry *after, Filters filters)
{
    if (before->rtekind != after->rtekind || before->lateral != after->lateral)
        return false;
    switch (before->rtekind) {
    case RTE_RELATION:
        return before->relid == after->relid && before->inh == after->inh &&
               equal(before->tablesample, after->tablesample);
    case RTE_SUBQUERY:
        return is_same_subquery(before->subquery, after->subquery, filters);
    case RTE_JOIN:
        return before->jointype == after->jointype;
    case RTE_FUNCTION:
        return equal(before->functions, after->functions) &&
               before->funcordinality == after->funcordinality;
    case RTE_VALUES:
        return equal(before->values_lists, after->values_lists);
    default:
        return false;
    }
}

bool have_same_expressions(const List *before, const List *after)
{
    bool same = list_length(before) == list_length(after);
    for (int i = 0; same && i < list_length(before); i++)
        same = equal(static_cast<TargetEntry *>(list_nth(before, i))->expr,
                     static_cast<TargetEntry *>(list_nth(after, i))->expr);
    return same;
}

bool is_same_from(const Query *before, const Query *after, Filters filters)
{
    if (filters == Filters::kCompare)
        return equal(before->jointree, after->jointree);
    return true; // with equal range tables: the kinds of joins and their order
}

bool is_same_subquery(const Query *before, const Query *after, Filters filters)
{
    return list_length(before->rtable) == list_length(after->rtable) &&
           extends_source(before, after, filters) && is_same_from(before, after, filters) &&
           have_same_expressions(before->targetList, after->targetList) &&
           equal(before->setOperations, after->setOperations) &&
           equal(before->groupClause, after->groupClause) &&
           equal(before->groupingSets, after->groupingSets) &&
           equal(before->havingQual, after->havingQual) &&
           equal(before->distinctClause, after->distinctClause) &&
           equal(before->sortClause, after->sortClause) &&
           equal(before->limitOffset, after->limitOffset) &&
           equal(before->limitCount, after->limitCount) && equal(before->cteList, after->cteList);
}

} // namespace

bool extends_source(const Query *before, const Query *after, Filters filters)
{
    if (list_length(before->rtable) > list_length(after->rtable))
        return false;
    for (int i = 0; i < list_length(before->rtable); i++)
        if (!is_same_entry(static_cast<RangeTblEntry *>(list_nth(before->rtable, i)),
                           static_cast<RangeTblEntry *>(list_nth(after->rtable, i)), filters))
            return false;
    return true;
}

} // namespace pipeline::view
