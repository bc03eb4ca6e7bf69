// combine_table(): rows of a table that looks like the one behind a continuous view are merged
// into it, as if their rows had come through the stream.
//
// Owns: nothing. May call: matrel_writer, view_machine, emission, view. Invariants: the
// table is read as the caller, and written as the view's owner, as a tick does; the fold worker
// sets the view aside while the lock is held; readers of the view's output get the changes from
// the spool.
#include "fold/emission.hpp"
#include "fold/group_places.hpp"
#include "fold/matrel_writer.hpp"
#include "fold/view_machine.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"
#include "view/create_view.hpp"
#include "view/ddl.hpp"
#include "view/output_checks.hpp"

extern "C" {
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/varlena.h"
}

namespace pipeline::fold {
namespace {

/// Rows are fetched in portions of so many.
constexpr long kRowsAtOnce = 1000;

/// One call.
struct Merge {
    FoldedView view;
    Relation definition;
    Relation matrel;
    MatrelWriter writer;
    TupleTableSlot *row;
    MemoryContext context; ///< of the call
    MemoryContext portion; ///< reset after each portion
};

[[noreturn]] void refuse_shape(Oid given, Oid matrel, const char *column)
{
    ereport(ERROR,
            (errcode(ERRCODE_DATATYPE_MISMATCH),
             errmsg("schema of \"%s\" does not match the schema of \"%s\"", get_rel_name(given),
                    get_rel_name(matrel)),
             column != nullptr ? errdetail("They differ in column \"%s\".", column)
                               : errdetail("They have different numbers of columns."),
             errhint("Make it with CREATE TABLE ... (LIKE %s).",
                     quote_qualified_identifier(get_namespace_name(get_rel_namespace(matrel)),
                                                get_rel_name(matrel)))));
    pg_unreachable();
}

int count_columns(TupleDesc descriptor)
{
    int count = 0;
    for (int i = 0; i < descriptor->natts; i++)
        count += !TupleDescAttr(descriptor, i)->attisdropped;
    return count;
}

bool has_column(TupleDesc descriptor, Form_pg_attribute wanted)
{
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const column = TupleDescAttr(descriptor, i);
        if (!column->attisdropped &&
            strcmp(NameStr(column->attname), NameStr(wanted->attname)) == 0)
            return column->atttypid == wanted->atttypid;
    }
    return false;
}

/// Columns may be in another order.
void check_shape(Oid given, Relation matrel)
{
    TupleDesc const stored = RelationGetDescr(matrel);
    pg::with_relation(given, NoLock, [&](Relation rel) {
        TupleDesc const columns = RelationGetDescr(rel);
        for (int i = 0; i < stored->natts; i++)
            if (!TupleDescAttr(stored, i)->attisdropped &&
                !has_column(columns, TupleDescAttr(stored, i)))
                refuse_shape(given, RelationGetRelid(matrel),
                             NameStr(TupleDescAttr(stored, i)->attname));
        if (count_columns(columns) != count_columns(stored))
            refuse_shape(given, RelationGetRelid(matrel), nullptr);
    });
}

char *query_text(Oid given, TupleDesc stored)
{
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfoString(&text, "SELECT ");
    bool first = true;
    for (int i = 0; i < stored->natts; i++) {
        if (TupleDescAttr(stored, i)->attisdropped)
            continue;
        appendStringInfo(&text, "%s%s", first ? "" : ", ",
                         quote_identifier(NameStr(TupleDescAttr(stored, i)->attname)));
        first = false;
    }
    appendStringInfo(&text, " FROM %s",
                     quote_qualified_identifier(get_namespace_name(get_rel_namespace(given)),
                                                get_rel_name(given)));
    return text.data;
}

/// As a turn of the view in a tick (view_fold.cpp).
template <typename Fn> void in_turn(const Merge &merge, Fn &&fn)
{
    pg::as_user(merge.definition->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION, [&] {
        int const level = NewGUCNestLevel();
        view::apply_creation_settings(merge.definition);
        fn();
        AtEOXact_GUC(false, level);
    });
}

/// A value as the view's own query would give it: flat, and of a serialized state what the serial
/// function returned.
Datum partial_value(const Merge &merge, int i, Datum value)
{
    const ViewMachine &machine = *merge.writer.machine;
    Form_pg_attribute const column = TupleDescAttr(RelationGetDescr(merge.matrel), i);
    bool const is_state = !machine.append && i >= machine.nkeys && i < machine.ncolumns;
    if (is_state && machine.columns[i].is_serialized())
        return PointerGetDatum(view::unwrap_state(machine.columns[i].form, value));
    return column->attlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM(value)) : value;
}

void write_row(Merge *merge, HeapTuple tuple, TupleDesc descriptor)
{
    TupleTableSlot *const row = merge->row;
    ExecClearTuple(row);
    int next = 0;
    for (int i = 0; i < row->tts_tupleDescriptor->natts; i++) {
        row->tts_isnull[i] = true;
        if (TupleDescAttr(row->tts_tupleDescriptor, i)->attisdropped)
            continue;
        Datum const value = SPI_getbinval(tuple, descriptor, ++next, &row->tts_isnull[i]);
        if (!row->tts_isnull[i])
            row->tts_values[i] = partial_value(*merge, i, value);
    }
    ExecStoreVirtualTuple(row);
    merge->writer.receiver(row, merge->writer.arg);
}

void write_rows(Merge *merge, Oid given)
{
    SPI_connect();
    char *const text = query_text(given, RelationGetDescr(merge->matrel));
    SPIPlanPtr const plan = SPI_prepare(text, 0, nullptr);
    if (plan == nullptr)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    Portal const portal = SPI_cursor_open(nullptr, plan, nullptr, nullptr, false);
    for (;;) {
        SPI_cursor_fetch(portal, true, kRowsAtOnce);
        if (SPI_processed == 0)
            break;
        SPITupleTable *const rows = SPI_tuptable;
        uint64 const count = SPI_processed;
        in_turn(*merge, [&] {
            pg::in_context(merge->portion, [&] {
                for (uint64 i = 0; i < count; i++)
                    write_row(merge, rows->vals[i], rows->tupdesc);
            });
        });
        MemoryContextReset(merge->portion);
        SPI_freetuptable(rows);
        CHECK_FOR_INTERRUPTS();
    }
    SPI_cursor_close(portal);
    SPI_finish();
}

List *readers_of(const view::ContinuousQuery &query)
{
    List *readers = NIL;
    if (OidIsValid(query.output))
        for (auto *reader : pg::each<view::ContinuousQuery>(view::list_queries()))
            if (reader->reads_stream(query.output) && !reader->lost)
                readers = lappend_oid(readers, reader->view);
    return readers;
}

/// Who creates a reader holds the table's lock to his commit (output.hpp: hold_outputs): the list
/// is complete.
void begin_output(Merge *merge)
{
    view::ContinuousQuery const &query = merge->view.query;
    if (!OidIsValid(query.output))
        return;
    LockRelationOid(query.output, AccessShareLock);
    merge->view.windowed = view::has_window(&query);
    merge->view.readers = readers_of(query);
    if (merge->view.readers != NIL || has_triggers(query.output))
        merge->view.emission = begin_emission(&merge->view, merge->context);
}

void end_output(Merge *merge)
{
    if (merge->view.emission == nullptr)
        return;
    int count;
    const EmittedChunk *const chunks = emitted_chunks(merge->view.emission, &count);
    if (count == 0 && !went_to_spool(merge->view.emission))
        return;
    for (Oid const reader : pg::each_oid(merge->view.readers)) {
        if (count > 0)
            (void) spool_changes(reader, merge->view.query.output, chunks, count);
        if (const view::ContinuousQuery *const query = view::find_query(reader); query != nullptr)
            spool::wake_worker_at_commit(query->worker);
    }
}

/// The view of that name, which the caller owns, with its table locked against the fold worker.
view::ContinuousQuery lock_view(text *name)
{
    Oid const view = view::own_continuous_view(name);
    LockRelationOid(view, AccessShareLock);
    const view::ContinuousQuery *query = view::find_query(view);
    if (query != nullptr && query->kind == view::QueryKind::kTransform)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a continuous view", get_rel_name(view)),
                        errdetail("A continuous transform stores nothing.")));
    if (query != nullptr)
        LockRelationOid(query->matrel, ExclusiveLock);
    query = view::find_query(view);
    if (query == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("continuous view \"%s\" was dropped", text_to_cstring(name))));
    return *query;
}

/// From RangeVarGetRelidExtended, before the lock: who may not read it does not wait in line.
void check_may_read(const RangeVar *name, Oid relid, Oid, void *)
{
    if (OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
        pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK)
        aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)),
                       name->relname);
}

/// Reads the table once. Without `write` nothing is written, but it is noted which partitions are
/// missing.
void merge_rows(Merge *merge, Oid given, bool write)
{
    merge->matrel = table_open(merge->view.query.matrel, NoLock);
    // That of the caller's statement may be older than the last tick, which had the lock before.
    PushCopiedSnapshot(GetLatestSnapshot());
    UpdateActiveSnapshotCommandId();
    pg::in_context(merge->context, [&] {
        merge->row = MakeSingleTupleTableSlot(RelationGetDescr(merge->matrel), &TTSOpsVirtual);
        in_turn(*merge, [&] {
            merge->view.machine = make_writing_machine(merge->definition);
            merge->writer = open_matrel(merge->matrel, &merge->view, write);
        });
    });
    write_rows(merge, given);
    List *const missing = merge->view.missing;
    if (!write)
        merge->view.missing = NIL; // no error
    pg::in_context(merge->context, [&] { in_turn(*merge, [&] { close_matrel(merge->writer); }); });
    merge->view.missing = missing;
    PopActiveSnapshot();
    ExecDropSingleTupleTableSlot(merge->row);
    table_close(merge->matrel, NoLock);
}

/// Nothing can be attached to a table that is open, so the rows are looked at before.
void make_partitions(Merge *merge, Oid given)
{
    if (get_rel_relkind(merge->view.query.matrel) != RELKIND_PARTITIONED_TABLE)
        return;
    for (;;) {
        merge_rows(merge, given, false);
        if (merge->view.missing == NIL)
            return;
        create_missing_partitions(&merge->view);
        merge->view.missing = NIL;
    }
}

void combine_table(text *view_name, text *table_name)
{
    spool::require_preload();
    Merge merge{};
    merge.context = AllocSetContextCreate(CurrentMemoryContext, "pipelinedb combine_table",
                                          ALLOCSET_DEFAULT_SIZES);
    merge.portion = AllocSetContextCreate(merge.context, "rows to combine", ALLOCSET_DEFAULT_SIZES);
    RangeVar *const range = makeRangeVarFromNameList(textToQualifiedNameList(table_name));
    merge.view.query = lock_view(view_name);
    merge.view.missing_context = merge.context;
    Oid const matrel = merge.view.query.matrel;
    Oid const given = RangeVarGetRelidExtended(range, AccessShareLock, 0, check_may_read, nullptr);
    merge.definition = table_open(merge.view.query.definition, AccessShareLock);
    pg::with_relation(matrel, NoLock, [&](Relation rel) { check_shape(given, rel); });
    pg::stop_point("combine_table_locked");
    make_partitions(&merge, given);
    pg::in_context(merge.context, [&] { begin_output(&merge); });
    merge_rows(&merge, given, true);
    pg::in_context(merge.context, [&] { end_output(&merge); });
    // Fold workers look when rows expire, and when the window moves.
    CacheInvalidateRelcacheByRelid(matrel);
    spool::wake_worker_at_commit(merge.view.query.worker);
    table_close(merge.definition, NoLock);
    MemoryContextDelete(merge.context);
    forget_places();
}

} // namespace
} // namespace pipeline::fold

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_combine_table);

Datum pipeline_combine_table(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.combine_table()");
    PreventCommandDuringRecovery("pipelinedb.combine_table()");
    pipeline::fold::combine_table(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1));
    PG_RETURN_BOOL(true);
}
}
