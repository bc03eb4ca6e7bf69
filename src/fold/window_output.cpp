#include "fold/window_output.hpp"

#include "fold/window_rows.hpp"
#include "pg/clock.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/create_view.hpp"
#include "view/group_hash.hpp"
#include "view/window_edge.hpp"

extern "C" {
#include "executor/spi.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {

struct WindowOutput {
    const FoldedView *view;
    MemoryContext context;
    AttrNumber time_column;
    int64 step;
    bool append;
    TimestampTz before; ///< the edge that readers know
    TimestampTz now;    ///< the edge of this turn
    CommandId first_command;
    int nkeys; ///< without the step
    int nhashed;
    int *hashed; ///< columns, from 0
    view::ColumnHash *hashes;
    NullableDatum *values;
    int32 *groups; ///< hashes of those that may have changed
    uint32 ngroups;
    uint32 capacity;
};

namespace {

/// Of the keys but the step, those that have a hash function; the others are compared only.
void prepare_hashes(WindowOutput *window, TupleDesc stored)
{
    const ViewMachine &machine = *window->view->machine;
    auto const count = static_cast<Size>(machine.nkeys) + 1;
    window->hashed = static_cast<int *>(palloc(sizeof(int) * count));
    window->hashes = static_cast<view::ColumnHash *>(palloc0(sizeof(view::ColumnHash) * count));
    window->values = static_cast<NullableDatum *>(palloc0(sizeof(NullableDatum) * count));
    for (int i = 0; i < machine.nkeys; i++) {
        if (i == window->time_column - 1)
            continue;
        window->nkeys++;
        Form_pg_attribute const attribute = TupleDescAttr(stored, i);
        if (!view::is_hashable(attribute->atttypid) || window->nhashed == view::kMaxHashedKeys)
            continue;
        window->hashes[window->nhashed].type = attribute->atttypid;
        window->hashes[window->nhashed].collation = attribute->attcollation;
        window->hashed[window->nhashed++] = i;
    }
}

void add_group(WindowOutput *window, int32 hash)
{
    if (window->ngroups == window->capacity) {
        window->capacity = std::max(uint32{64}, window->capacity * 2);
        Size const bytes = sizeof(int32) * window->capacity;
        window->groups = static_cast<int32 *>(window->groups == nullptr
                                                  ? MemoryContextAllocHuge(window->context, bytes)
                                                  : repalloc_huge(window->groups, bytes));
    }
    window->groups[window->ngroups++] = hash;
}

void remove_repeated(WindowOutput *window)
{
    std::sort(window->groups, window->groups + window->ngroups);
    window->ngroups = static_cast<uint32>(
        std::unique(window->groups, window->groups + window->ngroups) - window->groups);
}

const char *column_name(Relation matrel, int i)
{
    return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(matrel), i)->attname));
}

/// FROM ONLY table WHERE time > $1
void append_from(StringInfo text, const WindowOutput *window, Relation matrel)
{
    appendStringInfo(text, " FROM ONLY %s.%s WHERE %s OPERATOR(pg_catalog.>) $1",
                     quote_identifier(get_namespace_name(RelationGetNamespace(matrel))),
                     quote_identifier(RelationGetRelationName(matrel)),
                     column_name(matrel, window->time_column - 1));
}

/// `first` and `second` are the parameters of the query, both timestamptz.
uint64 run_query(const char *text, TimestampTz first, TimestampTz second, bool read_only,
                 long limit)
{
    Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
    Datum values[] = {TimestampTzGetDatum(first), TimestampTzGetDatum(second)};
    int const result = SPI_execute_with_args(text, 2, types, values, nullptr, read_only, limit);
    if (result != SPI_OK_SELECT)
        elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
    return SPI_processed;
}

/// Groups of which a step has left the window since the last turn.
void add_leaving(WindowOutput *window, Relation matrel)
{
    if (window->now <= window->before || window->nhashed == 0)
        return;
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfoString(&text, "SELECT DISTINCT pipelinedb.hash_group(");
    for (int i = 0; i < window->nhashed; i++)
        appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", column_name(matrel, window->hashed[i]));
    appendStringInfoChar(&text, ')');
    append_from(&text, window, matrel);
    appendStringInfo(&text, " AND %s OPERATOR(pg_catalog.<=) $2",
                     column_name(matrel, window->time_column - 1));
    SPI_connect();
    uint64 const count = run_query(text.data, window->before, window->now, true, 0);
    for (uint64 i = 0; i < count; i++) {
        bool isnull;
        Datum const hash = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
        add_group(window, DatumGetInt32(hash));
    }
    SPI_finish();
}

/// As of now, and with what this turn has written.
bool has_rows(const WindowOutput *window, Relation matrel)
{
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfoString(&text, "SELECT 1");
    append_from(&text, window, matrel);
    appendStringInfoString(&text, " AND $2 IS NOT NULL");
    SPI_connect();
    bool const any = run_query(text.data, window->now, window->now, false, 1) > 0;
    SPI_finish();
    return any;
}

WindowRows describe_rows(const WindowOutput *window)
{
    WindowRows rows{};
    rows.time_column = window->time_column;
    // Without a hash function, or without keys, all groups are compared.
    rows.hashed = window->hashed;
    rows.nhashed = window->nhashed;
    rows.groups = window->groups;
    rows.ngroups = window->ngroups;
    return rows;
}

/// Rows as they are leave one by one.
void end_rows(const WindowOutput *window, Relation view, ChangeReceiver receive, void *arg)
{
    if (window->now <= window->before)
        return;
    WindowRows rows = describe_rows(window);
    rows.after = window->before;
    rows.until = window->now;
    rows.command = window->first_command;
    read_leaving_rows(view, rows, receive, arg);
}

void end_groups(WindowOutput *window, Relation matrel, Relation view, ChangeReceiver receive,
                void *arg)
{
    add_leaving(window, matrel);
    if (window->ngroups == 0 && (window->nhashed > 0 || window->now <= window->before))
        return;
    remove_repeated(window);
    CommandCounterIncrement();
    WindowRows before = describe_rows(window);
    before.after = window->before;
    before.until = DT_NOEND;
    before.command = window->first_command;
    WindowRows now = before;
    now.after = window->now;
    now.command = GetCurrentCommandId(false);
    compare_windows(view, before, now, receive, arg);
}

} // namespace

WindowOutput *begin_window(const FoldedView *view, Relation matrel)
{
    auto *window = static_cast<WindowOutput *>(palloc0(sizeof(WindowOutput)));
    window->view = view;
    window->context = CurrentMemoryContext;
    window->append = view->machine->append;
    window->time_column = view->query.expire_column;
    window->step = view::step_of_definition(view::stored_query(view->query.definition));
    window->before = view::read_edge(view->query.view);
    // The clock may be put back.
    window->now = std::max(window->before, view::edge_at(pg::statement_time(),
                                                         view->query.expire_after, window->step));
    window->first_command = GetCurrentCommandId(false);
    prepare_hashes(window, RelationGetDescr(matrel));
    return window;
}

void note_group(WindowOutput *window, TupleTableSlot *row)
{
    slot_getallattrs(row);
    for (int i = 0; i < window->nhashed; i++)
        window->values[i] = {row->tts_values[window->hashed[i]],
                             row->tts_isnull[window->hashed[i]]};
    add_group(window,
              view::hash_group(window->hashes, window->values, window->nhashed, window->context));
}

bool is_in_window(const WindowOutput *window, TupleTableSlot *row)
{
    bool isnull;
    Datum const time = slot_getattr(row, window->time_column, &isnull);
    return !isnull && DatumGetTimestampTz(time) > window->now;
}

TimestampTz end_window(WindowOutput *window, Relation matrel, ChangeReceiver receive, void *arg)
{
    pg::with_relation(window->view->query.view, NoLock, [&](Relation view) {
        if (window->append)
            end_rows(window, view, receive, arg);
        else
            end_groups(window, matrel, view, receive, arg);
    });
    if (window->now != window->before)
        view::store_edge(window->view->query.view, window->now);
    return has_rows(window, matrel)
               ? view::next_move(window->now, window->view->query.expire_after, window->step)
               : 0;
}

} // namespace pipeline::fold
