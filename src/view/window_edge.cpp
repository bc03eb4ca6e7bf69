#include "view/window_edge.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"

#include "view/catalog_row.hpp"

extern "C" {
#include "catalog/indexing.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

enum Column : AttrNumber { kView = 1, kEdge, kNumColumns = kEdge };

/// Rows that leave one by one are looked at so often.
constexpr int64 kShortestMove = USECS_PER_SEC;

constexpr char kKey[] = "window_edge_pkey";

TimestampTz shifted(TimestampTz time, const Interval &size, PGFunction function)
{
    return DatumGetTimestampTz(
        DirectFunctionCall2(function, TimestampTzGetDatum(time), IntervalPGetDatum(&size)));
}

} // namespace

int64 step_of_definition(Query *definition)
{
    auto *const first = linitial_node(TargetEntry, definition->targetList);
    auto *const call = reinterpret_cast<FuncExpr *>(first->expr);
    if (!IsA(first->expr, FuncExpr) ||
        call->funcid != F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ ||
        !IsA(linitial(call->args), Const))
        return 0;
    return DatumGetIntervalP(linitial_node(Const, call->args)->constvalue)->time;
}

TimestampTz edge_at(TimestampTz now, const Interval &size, int64 step)
{
    TimestampTz const edge = shifted(now, size, timestamptz_mi_interval);
    if (step == 0)
        return edge;
    // As timestamptz_bin (timestamp.c): down, also before the origin.
    int64 const behind = (edge % step + step) % step;
    return edge - behind;
}

TimestampTz next_move(TimestampTz edge, const Interval &size, int64 step)
{
    return shifted(edge + std::max(step, kShortestMove), size, timestamptz_pl_interval);
}

TimestampTz read_edge(Oid view)
{
    return pg::with_relation(catalog_relation("window_edge"), AccessShareLock, [&](Relation rel) {
        TimestampTz edge = DT_NOBEGIN;
        with_row(rel, kKey, kView, view, [&](HeapTuple tuple) {
            bool isnull;
            edge = DatumGetTimestampTz(heap_getattr(tuple, kEdge, RelationGetDescr(rel), &isnull));
        });
        return edge;
    });
}

void store_edge(Oid view, TimestampTz edge)
{
    pg::with_relation(catalog_relation("window_edge"), RowExclusiveLock, [&](Relation rel) {
        Datum const values[kNumColumns] = {ObjectIdGetDatum(view), TimestampTzGetDatum(edge)};
        bool nulls[kNumColumns] = {};
        HeapTuple const tuple =
            heap_form_tuple(RelationGetDescr(rel), const_cast<Datum *>(values), nulls);
        bool const found = with_row(rel, kKey, kView, view, [&](HeapTuple old) {
            CatalogTupleUpdate(rel, &old->t_self, tuple);
        });
        if (!found)
            CatalogTupleInsert(rel, tuple);
    });
    CommandCounterIncrement();
}

void forget_edge(Oid view)
{
    Oid const catalog = catalog_relation("window_edge");
    if (!OidIsValid(catalog))
        return;
    pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        with_row(rel, kKey, kView, view,
                 [&](HeapTuple tuple) { CatalogTupleDelete(rel, &tuple->t_self); });
    });
}

} // namespace pipeline::view
