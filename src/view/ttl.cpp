#include "view/ttl.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "view/create_view.hpp"
#include "view/ddl.hpp"
#include "view/matrel.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "commands/view.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
}

#include <cmath>

namespace pipeline::view {
namespace {

/// The column of a view by which its rows expire.
struct TimeColumn {
    AttrNumber number; ///< of the view; 0 = there is none
    Var *stored;       ///< the column of the table
};

struct Ttl {
    const Interval *after; ///< in seconds alone; nullptr: rows stay
    TimeColumn column;
};

[[noreturn]] void refuse_column(const char *name, const char *detail)
{
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("ttl_column must refer to a timestamp or timestamptz column"),
                    errdetail(detail, name),
                    errhint("Use a column that the query groups by, or min or max of a time.")));
    pg_unreachable();
}

bool is_time(Oid type)
{
    type = getBaseType(type);
    return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/// The columns of the view may have been renamed since.
TimeColumn find_time(Relation view, const char *name)
{
    for (auto *entry : pg::each<TargetEntry>(get_view_query(view)->targetList)) {
        if (entry->resjunk || entry->resno > RelationGetNumberOfAttributes(view) ||
            strcmp(NameStr(TupleDescAttr(RelationGetDescr(view), entry->resno - 1)->attname),
                   name) != 0)
            continue;
        Node *expr = reinterpret_cast<Node *>(entry->expr);
        if (!is_time(exprType(expr)))
            refuse_column(name, "Column \"%s\" is of another type.");
        while (IsA(expr, RelabelType))
            expr = reinterpret_cast<Node *>(reinterpret_cast<RelabelType *>(expr)->arg);
        if (!IsA(expr, Var))
            refuse_column(name, "Column \"%s\" is computed when the view is read.");
        return {entry->resno, static_cast<Var *>(copyObjectImpl(expr))};
    }
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" does not exist", name),
                    errhint("ttl_column is a column of the view.")));
    pg_unreachable();
}

/// As in PipelineDB a day is 24 hours, and a month 30 days. So a time zone plays no part.
const Interval *in_seconds(const Interval *interval)
{
    double const seconds =
        (static_cast<double>(interval->month) * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY +
        static_cast<double>(interval->time) / USECS_PER_SEC;
    if (seconds < 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("ttl must be a minimum of 1 second"),
                        errhint("Use NULL to let rows stay.")));
    if (seconds > INT_MAX)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("ttl must be a maximum of %d seconds", INT_MAX),
                        errhint("Leave it out to let rows stay.")));
    auto *const result = static_cast<Interval *>(palloc0(sizeof(Interval)));
    result->time = static_cast<int64>(std::llround(seconds)) * USECS_PER_SEC;
    return result;
}

// ---- the condition of readers ------------------------------------------------------------

Oid clock_function()
{
    return LookupFuncName(
        list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("clock"))), 0, nullptr,
        false);
}

Expr *call(Oid function, Oid result, List *args)
{
    return reinterpret_cast<Expr *>(
        makeFuncExpr(function, result, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
}

/// A time without a zone is one of the zone in which the view was created, whoever reads.
Expr *as_timestamptz(Expr *time, const char *zone)
{
    Oid const type = getBaseType(exprType(reinterpret_cast<Node *>(time)));
    if (type == TIMESTAMPTZOID)
        return time;
    if (type == DATEOID)
        time =
            reinterpret_cast<Expr *>(makeFuncExpr(F_TIMESTAMP_DATE, TIMESTAMPOID, list_make1(time),
                                                  InvalidOid, InvalidOid, COERCE_EXPLICIT_CAST));
    Const *const name =
        makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(zone), false, false);
    return call(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, list_make2(name, time));
}

Expr *operation(const char *name, Oid result, Expr *left, Oid left_type, Expr *right,
                Oid right_type)
{
    List *const qualified =
        list_make2(makeString(pstrdup("pg_catalog")), makeString(pstrdup(name)));
    Expr *const expr = make_opclause(OpernameGetOprid(qualified, left_type, right_type), result,
                                     false, left, right, InvalidOid, InvalidOid);
    set_opfuncid(reinterpret_cast<OpExpr *>(expr));
    return expr;
}

/// (column > pipelinedb.clock() - interval) IS NOT FALSE
Node *not_expired(const Ttl &ttl, const char *zone)
{
    Expr *const edge =
        operation("-", TIMESTAMPTZOID, call(clock_function(), TIMESTAMPTZOID, NIL), TIMESTAMPTZOID,
                  reinterpret_cast<Expr *>(interval_constant(ttl.after)), INTERVALOID);
    BooleanTest *const test = makeNode(BooleanTest);
    test->booltesttype = IS_NOT_FALSE;
    test->arg =
        operation(">", BOOLOID, as_timestamptz(reinterpret_cast<Expr *>(ttl.column.stored), zone),
                  TIMESTAMPTZOID, edge, TIMESTAMPTZOID);
    test->location = -1;
    return reinterpret_cast<Node *>(test);
}

/// No other condition of a reading query is a test of this kind that asks for the clock.
bool is_ttl(const Node *node)
{
    if (!IsA(node, BooleanTest))
        return false;
    const auto *const test = reinterpret_cast<const BooleanTest *>(node);
    if (test->booltesttype != IS_NOT_FALSE || !IsA(test->arg, OpExpr))
        return false;
    const auto *const edge =
        static_cast<const OpExpr *>(llast(reinterpret_cast<const OpExpr *>(test->arg)->args));
    if (!IsA(edge, OpExpr))
        return false;
    const auto *const clock = static_cast<const FuncExpr *>(linitial(edge->args));
    return IsA(clock, FuncExpr) && clock->funcid == clock_function();
}

List *conjuncts_of(Node *quals)
{
    if (quals == nullptr)
        return NIL;
    return is_andclause(quals) ? reinterpret_cast<BoolExpr *>(quals)->args : list_make1(quals);
}

/// Replacing the query of a view asks for its names, which may have been changed since.
void name_columns(Query *query, Oid view)
{
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (!entry->resjunk)
            entry->resname = get_attname(view, entry->resno, false);
}

void change_query(const ContinuousQuery &view, const Ttl &ttl)
{
    Query *const query = stored_query(view.view);
    List *quals = NIL;
    for (auto *one : pg::each<Node>(conjuncts_of(query->jointree->quals)))
        if (!is_ttl(one))
            quals = lappend(quals, one);
    if (ttl.after != nullptr) {
        const char *const zone =
            pg::with_relation(view.definition, AccessShareLock,
                              [](Relation rel) { return creation_setting(rel, "TimeZone"); });
        quals = lappend(quals, not_expired(ttl, zone != nullptr ? zone : "UTC"));
    }
    name_columns(query, view.view);
    query->jointree->quals =
        quals == NIL ? nullptr : reinterpret_cast<Node *>(make_ands_explicit(quals));
    StoreViewQuery(view.view, query, true);
    CommandCounterIncrement();
}

// ---- the change ----------------------------------------------------------------------------

List *without_ttl(List *options)
{
    List *rest = NIL;
    for (auto *option : pg::each<DefElem>(options))
        if (strcmp(option->defname, kTtlOption) != 0 &&
            strcmp(option->defname, kTtlColumnOption) != 0)
            rest = lappend(rest, option);
    return rest;
}

void change_options(const ContinuousQuery &view, const Ttl &ttl)
{
    List *options = without_ttl(stored_options(view.view));
    if (ttl.after != nullptr)
        options = list_concat(
            options,
            list_make2(make_option(kTtlOption, interval_text(ttl.after)),
                       make_option(kTtlColumnOption,
                                   get_attname(view.matrel, ttl.column.stored->varattno, false))));
    store_options(view.view, options);
}

/// An index on the time, unless updates of groups would have to maintain it: then the worker scans
/// the table.
bool wants_index(const ContinuousQuery &view, const TimeColumn &column)
{
    Decomposition const parts = columns_of_definition(stored_query(view.definition));
    auto *const stored =
        static_cast<MatrelColumn *>(list_nth(parts.columns, column.stored->varattno - 1));
    return parts.append || stored->is_key;
}

/// Of a partitioned table whole partitions are dropped, no rows deleted.
void check_partitioned(const ContinuousQuery &view, const Ttl &ttl)
{
    if (ttl.after == nullptr || get_rel_relkind(view.matrel) != RELKIND_PARTITIONED_TABLE)
        return;
    pg::with_relation(view.matrel, AccessShareLock, [&](Relation rel) {
        if (RelationGetPartitionKey(rel)->partattrs[0] != ttl.column.stored->varattno)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("ttl_column must be the column of partition_by"),
                            errdetail("Partitions are dropped when all of their rows have "
                                      "expired."),
                            errhint("Use one column for both.")));
    });
}

void change_ttl(const ContinuousQuery &view, const Ttl &ttl)
{
    if (ttl.after != nullptr)
        prepare_for_expiry(view.matrel, ttl.column.stored->varattno, wants_index(view, ttl.column));
    check_partitioned(view, ttl);
    change_query(view, ttl);
    change_options(view, ttl);
    set_expiry(view.view, ttl.after != nullptr ? ttl.column.stored->varattno : InvalidAttrNumber,
               ttl.after != nullptr ? *ttl.after : Interval{});
    CommandCounterIncrement();
}

Ttl make_ttl(Oid view, const Interval *after, const char *column)
{
    TimeColumn const found = pg::with_relation(
        view, AccessShareLock, [column](Relation rel) { return find_time(rel, column); });
    return {in_seconds(after), found};
}

// ---- set_ttl() ------------------------------------------------------------------------------

/// From RangeVarGetRelidExtended, before the lock: who may not do it does not wait in line.
void check_owner(const RangeVar *name, Oid relid, Oid, void *)
{
    if (OidIsValid(relid) && !pg::owns_relation(relid, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
                       name->relname);
}

} // namespace

Node *ttl_condition(const Query *reading)
{
    for (auto *one : pg::each<Node>(conjuncts_of(reading->jointree->quals)))
        if (is_ttl(one))
            return one;
    return nullptr;
}

const ContinuousQuery *lock_expiring_view(text *name, LOCKMODE table_lock)
{
    RangeVar *const range = makeRangeVarFromNameList(textToQualifiedNameList(name));
    Oid const relid = RangeVarGetRelidExtended(range, ShareUpdateExclusiveLock, RVR_MISSING_OK,
                                               check_owner, nullptr);
    const ContinuousQuery *query = OidIsValid(relid) ? find_query(relid) : nullptr;
    if (query == nullptr || query->view != relid || query->kind != QueryKind::kView)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("continuous view \"%s\" does not exist", text_to_cstring(name))));
    // Whoever folds into the table or removes rows from it has ended then, and whoever comes after
    // us sees what we have changed.
    LockRelationOid(query->matrel, table_lock);
    return find_query(relid);
}

namespace {

bool has_window(const ContinuousQuery &view)
{
    return option_value(stored_options(view.view), kWindowOption) != nullptr;
}

Datum set_ttl(FunctionCallInfo fcinfo)
{
    PreventCommandIfReadOnly("pipelinedb.set_ttl()");
    spool::require_preload();
    if (PG_ARGISNULL(0))
        ereport(ERROR,
                (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("continuous view name is null")));
    if (PG_ARGISNULL(1) != PG_ARGISNULL(2))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("ttl and ttl_column must both be given, or both be null"),
                        errhint("With NULL for both of them rows do not expire.")));
    const ContinuousQuery *const view = lock_expiring_view(PG_GETARG_TEXT_PP(0), ShareLock);
    if (has_window(*view))
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the ttl of a sliding-window continuous view cannot be changed"),
                        errhint("Its rows are removed when the window has passed.")));
    Ttl ttl{};
    if (!PG_ARGISNULL(1))
        ttl = make_ttl(view->view, PG_GETARG_INTERVAL_P(1), text_to_cstring(PG_GETARG_TEXT_PP(2)));
    change_ttl(*view, ttl);
    spool::wake_worker_at_commit(view->worker);

    TupleDesc desc;
    if (get_call_result_type(fcinfo, nullptr, &desc) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    Datum values[] = {Int32GetDatum(ttl.after != nullptr
                                        ? static_cast<int32>(ttl.after->time / USECS_PER_SEC)
                                        : -1),
                      Int16GetDatum(ttl.column.number)};
    bool nulls[] = {false, false};
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

} // namespace

void add_ttl(Oid view, const ViewOptions &options)
{
    if (options.ttl == nullptr)
        return;
    const ContinuousQuery *const query = find_query(view);
    if (has_window(*query))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("TTLs cannot be specified in conjunction with sliding windows"),
                        errhint("What has left the window is removed by itself.")));
    change_ttl(*query, make_ttl(view, options.ttl, options.ttl_column));
}

void restore_ttl(Oid view, Oid matrel, List *options)
{
    const char *const after = option_value(options, kTtlOption);
    const char *const name = option_value(options, kTtlColumnOption);
    if (after == nullptr && name == nullptr)
        return;
    AttrNumber const column = name != nullptr ? get_attnum(matrel, name) : InvalidAttrNumber;
    if (after == nullptr || column <= 0 || !is_time(get_atttype(matrel, column)))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                 errmsg("continuous view \"%s\" has no column for its ttl", get_rel_name(view)),
                 errhint("Restore the table, the definition and the view from one dump.")));
    DefElem *const option = make_option(kTtlOption, after);
    set_expiry(view, column, *in_seconds(parse_interval_option(option)));
}

List *ttl_options(List *options)
{
    List *result = NIL;
    constexpr const char *kNames[] = {kTtlOption, kTtlColumnOption};
    for (const char *name : kNames)
        if (const char *const value = option_value(options, name); value != nullptr)
            result = lappend(result, make_option(name, value));
    return result;
}

} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_set_ttl);

Datum pipeline_set_ttl(PG_FUNCTION_ARGS)
{
    return pipeline::view::set_ttl(fcinfo);
}
}
