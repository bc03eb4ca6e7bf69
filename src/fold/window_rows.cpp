#include "fold/window_rows.hpp"

#include "partial/block_receiver.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/group_hash.hpp"

extern "C" {
#include "catalog/pg_operator.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
}

namespace pipeline::fold {
namespace {

// ---- the query ---------------------------------------------------------------------------

struct Edge {
    Oid clock;
    TimestampTz time;
};

Node *time_constant(TimestampTz time)
{
    return reinterpret_cast<Node *>(makeConst(TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz),
                                              TimestampTzGetDatum(time), false, true));
}

extern "C" bool pipeline_find_clock_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    if (IsA(node, FuncExpr) &&
        reinterpret_cast<FuncExpr *>(node)->funcid == static_cast<Edge *>(context)->clock)
        return true;
    return pg::walk_expression(node, pipeline_find_clock_walker, context);
}

/// time > clock() - size becomes time > edge.
void set_edge(Node *condition, Edge *edge)
{
    if (condition != nullptr && is_andclause(condition)) {
        for (auto *one : pg::each<Node>(reinterpret_cast<BoolExpr *>(condition)->args))
            set_edge(one, edge);
    } else if (condition != nullptr && IsA(condition, OpExpr)) {
        List *const args = reinterpret_cast<OpExpr *>(condition)->args;
        if (pipeline_find_clock_walker(static_cast<Node *>(lsecond(args)), edge))
            lsecond(args) = time_constant(edge->time);
    }
}

/// The matrel in the range table: up to 15 a stored view has entries before it (view.c:
/// UpdateRangeTableOfViewParse).
struct Source {
    Relation matrel;
    int index;
};

Expr *column_of(const Source &source, AttrNumber attno)
{
    Form_pg_attribute const attribute = TupleDescAttr(RelationGetDescr(source.matrel), attno - 1);
    return reinterpret_cast<Expr *>(makeVar(source.index, attno, attribute->atttypid,
                                            attribute->atttypmod, attribute->attcollation, 0));
}

/// time <= until
Expr *not_later(const Source &source, const WindowRows &rows)
{
    List *const name = list_make2(makeString(pstrdup("pg_catalog")), makeString(pstrdup("<=")));
    Oid const op = OpernameGetOprid(name, TIMESTAMPTZOID, TIMESTAMPTZOID);
    Expr *const condition =
        make_opclause(op, BOOLOID, false, column_of(source, rows.time_column),
                      reinterpret_cast<Expr *>(time_constant(rows.until)), InvalidOid, InvalidOid);
    set_opfuncid(reinterpret_cast<OpExpr *>(condition));
    return condition;
}

/// hash_group(keys) = ANY (hashes)
Expr *of_groups(const Source &source, const WindowRows &rows)
{
    List *args = NIL;
    for (int i = 0; i < rows.nhashed; i++)
        args = lappend(args, column_of(source, static_cast<AttrNumber>(rows.hashed[i] + 1)));
    Datum *const hashes = static_cast<Datum *>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * (Size{rows.ngroups} + 1)));
    for (uint32 i = 0; i < rows.ngroups; i++)
        hashes[i] = Int32GetDatum(rows.groups[i]);
    ArrayType *const array = construct_array(hashes, static_cast<int>(rows.ngroups), INT4OID,
                                             sizeof(int32), true, TYPALIGN_INT);
    ScalarArrayOpExpr *const condition = makeNode(ScalarArrayOpExpr);
    condition->opno = Int4EqualOperator;
    condition->opfuncid = F_INT4EQ;
    condition->useOr = true;
    condition->args = list_make2(
        makeFuncExpr(view::hash_group_function(), INT4OID, args, InvalidOid, InvalidOid,
                     COERCE_EXPLICIT_CALL),
        makeConst(INT4ARRAYOID, -1, InvalidOid, -1, PointerGetDatum(array), false, false));
    condition->location = -1;
    return reinterpret_cast<Expr *>(condition);
}

Query *query_of(Relation view, const WindowRows &rows)
{
    auto *query = static_cast<Query *>(copyObjectImpl(get_view_query(view)));
    query->sortClause = NIL;
    query->limitCount = query->limitOffset = nullptr;
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        entry->resjunk = false; // keys that the view does not show are compared, too
        if (entry->resname == nullptr)
            entry->resname = pstrdup("key");
    }
    Edge edge{
        LookupFuncName(list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("clock"))),
                       0, nullptr, false),
        rows.after};
    set_edge(query->jointree->quals, &edge);
    Source source{};
    source.index = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
    source.matrel = table_open(rt_fetch(source.index, query->rtable)->relid, AccessShareLock);
    List *conditions = make_ands_implicit(reinterpret_cast<Expr *>(query->jointree->quals));
    if (!TIMESTAMP_IS_NOEND(rows.until))
        conditions = lappend(conditions, not_later(source, rows));
    if (rows.nhashed > 0)
        conditions = lappend(conditions, of_groups(source, rows));
    query->jointree->quals = reinterpret_cast<Node *>(make_ands_explicit(conditions));
    table_close(source.matrel, NoLock);
    return query;
}

// ---- running it --------------------------------------------------------------------------

struct Reader {
    DestReceiver receiver; // first: the executor knows this member only
    void (*take)(TupleTableSlot *slot, Reader *reader);
    void *arg;
};

extern "C" bool pipeline_take_window_row(TupleTableSlot *slot, DestReceiver *self)
{
    auto *reader = reinterpret_cast<Reader *>(self);
    slot_getallattrs(slot);
    reader->take(slot, reader);
    return true;
}

extern "C" void pipeline_start_window(DestReceiver *, int, TupleDesc) {}

extern "C" void pipeline_end_window(DestReceiver *) {}

/// With the tick's snapshot, but for what this transaction has written itself.
void run(Query *query, CommandId command, void (*take)(TupleTableSlot *, Reader *), void *arg)
{
    AcquireRewriteLocks(query, true, false);
    List *const rewritten = QueryRewrite(query);
    PlannedStmt *const statement = planner(linitial_node(Query, rewritten), "(window)", 0, nullptr);
    statement->jitFlags = 0;
    Reader reader{};
    reader.receiver.receiveSlot = pipeline_take_window_row;
    reader.receiver.rStartup = pipeline_start_window;
    reader.receiver.rShutdown = pipeline_end_window;
    reader.receiver.rDestroy = pipeline_end_window;
    reader.receiver.mydest = DestNone;
    reader.take = take;
    reader.arg = arg;
    PushCopiedSnapshot(GetActiveSnapshot());
    GetActiveSnapshot()->curcid = command;
    partial::execute_statement(statement, &reader.receiver);
    PopActiveSnapshot();
}

// ---- comparing ---------------------------------------------------------------------------

struct Key {
    int column; ///< of the query's result, from 0
    Oid collation;
    FmgrInfo equals;
};

struct FormerRow {
    FormerRow *next; ///< of the same hash
    MinimalTuple tuple;
    bool is_there; ///< now, too
};

struct Bucket {
    int32 hash; // the hash key
    FormerRow *first;
};

struct Comparison {
    MemoryContext context;
    MemoryContext scratch; ///< reset after each row
    Key *keys;
    int nkeys;
    view::ColumnHash *hashes;
    int *hashed; ///< columns of the result that have a hash function
    int nhashed;
    NullableDatum *values;
    HTAB *former;
    TupleTableSlot *other; ///< a former row
    TupleTableSlot *shown; ///< of the view's row type
    RowChangeReceiver receive;
    void *arg;
};

void describe_keys(Comparison *comparison, const Query *query)
{
    auto const count = static_cast<Size>(list_length(query->groupClause)) + 1;
    comparison->keys = static_cast<Key *>(palloc0(sizeof(Key) * count));
    comparison->hashes = static_cast<view::ColumnHash *>(palloc0(sizeof(view::ColumnHash) * count));
    comparison->hashed = static_cast<int *>(palloc(sizeof(int) * count));
    comparison->values = static_cast<NullableDatum *>(palloc0(sizeof(NullableDatum) * count));
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        TargetEntry *const entry = get_sortgroupclause_tle(clause, query->targetList);
        Node *const expr = reinterpret_cast<Node *>(entry->expr);
        Key &key = comparison->keys[comparison->nkeys++];
        key.column = entry->resno - 1;
        key.collation = exprCollation(expr);
        fmgr_info(get_opcode(clause->eqop), &key.equals);
        if (view::is_hashable(exprType(expr)) && comparison->nhashed < view::kMaxHashedKeys) {
            comparison->hashes[comparison->nhashed].type = exprType(expr);
            comparison->hashes[comparison->nhashed].collation = key.collation;
            comparison->hashed[comparison->nhashed++] = key.column;
        }
    }
}

int32 hash_of(Comparison *comparison, TupleTableSlot *slot)
{
    for (int i = 0; i < comparison->nhashed; i++)
        comparison->values[i] = {slot->tts_values[comparison->hashed[i]],
                                 slot->tts_isnull[comparison->hashed[i]]};
    return view::hash_group(comparison->hashes, comparison->values, comparison->nhashed,
                            comparison->context);
}

bool is_same_group(Comparison *comparison, TupleTableSlot *one, TupleTableSlot *other)
{
    for (int i = 0; i < comparison->nkeys; i++) {
        Key &key = comparison->keys[i];
        if (one->tts_isnull[key.column] || other->tts_isnull[key.column]) {
            if (one->tts_isnull[key.column] != other->tts_isnull[key.column])
                return false;
        } else if (!DatumGetBool(FunctionCall2Coll(&key.equals, key.collation,
                                                   one->tts_values[key.column],
                                                   other->tts_values[key.column]))) {
            return false;
        }
    }
    return true;
}

void keep_former(TupleTableSlot *slot, Reader *reader)
{
    auto *comparison = static_cast<Comparison *>(reader->arg);
    MemoryContext const old = MemoryContextSwitchTo(comparison->context);
    int32 const hash = hash_of(comparison, slot);
    bool found;
    auto *bucket =
        static_cast<Bucket *>(hash_search(comparison->former, &hash, HASH_ENTER, &found));
    if (!found)
        bucket->first = nullptr;
    auto *row = static_cast<FormerRow *>(palloc(sizeof(FormerRow)));
    *row = {bucket->first, ExecCopySlotMinimalTuple(slot), false};
    bucket->first = row;
    if (comparison->other == nullptr)
        comparison->other = MakeSingleTupleTableSlot(CreateTupleDescCopy(slot->tts_tupleDescriptor),
                                                     &TTSOpsMinimalTuple);
    MemoryContextSwitchTo(old);
}

/// The first columns of the query are those of the view.
NullableDatum row_datum(Comparison *comparison, TupleTableSlot *slot)
{
    TupleTableSlot *const shown = comparison->shown;
    ExecClearTuple(shown);
    for (int i = 0; i < shown->tts_tupleDescriptor->natts; i++) {
        shown->tts_values[i] = slot->tts_values[i];
        shown->tts_isnull[i] = slot->tts_isnull[i];
    }
    ExecStoreVirtualTuple(shown);
    return {ExecFetchSlotHeapTupleDatum(shown), false};
}

NullableDatum former_datum(Comparison *comparison, FormerRow *row)
{
    ExecStoreMinimalTuple(row->tuple, comparison->other, false);
    slot_getallattrs(comparison->other);
    return row_datum(comparison, comparison->other);
}

constexpr NullableDatum kNone{0, true};

void report(Comparison *comparison, NullableDatum before, NullableDatum now)
{
    comparison->receive(before, now, comparison->arg);
}

void compare_row(TupleTableSlot *slot, Reader *reader)
{
    auto *comparison = static_cast<Comparison *>(reader->arg);
    MemoryContext const old = MemoryContextSwitchTo(comparison->scratch);
    int32 const hash = hash_of(comparison, slot);
    auto *bucket =
        static_cast<Bucket *>(hash_search(comparison->former, &hash, HASH_FIND, nullptr));
    FormerRow *found = nullptr;
    for (FormerRow *row = bucket != nullptr ? bucket->first : nullptr;
         row != nullptr && found == nullptr; row = row->next) {
        ExecStoreMinimalTuple(row->tuple, comparison->other, false);
        slot_getallattrs(comparison->other);
        if (!row->is_there && is_same_group(comparison, comparison->other, slot))
            found = row;
    }
    NullableDatum const before = found != nullptr ? former_datum(comparison, found) : kNone;
    if (found != nullptr)
        found->is_there = true;
    report(comparison, before, row_datum(comparison, slot));
    MemoryContextSwitchTo(old);
    MemoryContextReset(comparison->scratch);
}

void report_gone(Comparison *comparison)
{
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, comparison->former);
    while (auto *bucket = static_cast<Bucket *>(hash_seq_search(&scan)))
        for (FormerRow *row = bucket->first; row != nullptr; row = row->next)
            if (!row->is_there) {
                MemoryContext const old = MemoryContextSwitchTo(comparison->scratch);
                report(comparison, former_datum(comparison, row), kNone);
                MemoryContextSwitchTo(old);
                MemoryContextReset(comparison->scratch);
            }
}

void report_left(TupleTableSlot *slot, Reader *reader)
{
    auto *comparison = static_cast<Comparison *>(reader->arg);
    MemoryContext const old = MemoryContextSwitchTo(comparison->scratch);
    report(comparison, row_datum(comparison, slot), kNone);
    MemoryContextSwitchTo(old);
    MemoryContextReset(comparison->scratch);
}

Comparison begin(Relation view, RowChangeReceiver receive, void *arg)
{
    Comparison comparison{};
    comparison.context = CurrentMemoryContext;
    comparison.scratch =
        AllocSetContextCreate(CurrentMemoryContext, "window row", ALLOCSET_DEFAULT_SIZES);
    comparison.shown =
        MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(view)), &TTSOpsVirtual);
    comparison.receive = receive;
    comparison.arg = arg;
    return comparison;
}

void end(Comparison *comparison)
{
    ExecDropSingleTupleTableSlot(comparison->shown);
    if (comparison->other != nullptr)
        ExecDropSingleTupleTableSlot(comparison->other);
    MemoryContextDelete(comparison->scratch);
}

} // namespace

void compare_windows(Relation view, const WindowRows &before, const WindowRows &now,
                     RowChangeReceiver receive, void *arg)
{
    Comparison comparison = begin(view, receive, arg);
    Query *const query = query_of(view, before);
    describe_keys(&comparison, query);
    HASHCTL control{};
    control.keysize = sizeof(int32);
    control.entrysize = sizeof(Bucket);
    control.hcxt = comparison.context;
    comparison.former =
        hash_create("rows of a window", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    run(query, before.command, keep_former, &comparison);
    run(query_of(view, now), now.command, compare_row, &comparison);
    report_gone(&comparison);
    hash_destroy(comparison.former);
    end(&comparison);
}

void read_leaving_rows(Relation view, const WindowRows &rows, RowChangeReceiver receive, void *arg)
{
    Comparison comparison = begin(view, receive, arg);
    WindowRows all = rows;
    all.nhashed = 0;
    run(query_of(view, all), rows.command, report_left, &comparison);
    end(&comparison);
}

} // namespace pipeline::fold
