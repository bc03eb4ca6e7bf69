// pipelinedb.insert_into_stream('stream', …): a trigger function that writes each row to streams.
//
// Owns: the prepared INSERT of a call site. May call: pg/, view/catalog, view/output_function.
// Invariants: rows are inserted by an ordinary INSERT, with the rights of the current user and all
// that the stream's own definition says; the streams have the columns of the trigger's relation, by
// type and order.
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"
#include "view/output_function.hpp"
#include "view/stream_rules.hpp"

extern "C" {
#include "commands/trigger.h"
#include "executor/spi.h"
}

namespace pipeline::view {
namespace {

struct Target {
    SPIPlanPtr insert;
    int ncolumns;
    int *source; ///< of each column, its attribute in the row
};

/// What one call site needs, made at its first call.
struct Site {
    MemoryContext context;
    MemoryContextCallback release;
    Oid relation; ///< of the trigger
    int ntargets;
    Target *targets;
};

void check_protocol(FunctionCallInfo fcinfo)
{
    const char *wrong = nullptr;
    const auto *data = reinterpret_cast<const TriggerData *>(fcinfo->context);
    if (!CALLED_AS_TRIGGER(fcinfo))
        wrong = "must be called as a trigger";
    else if (!TRIGGER_FIRED_AFTER(data->tg_event))
        wrong = "must be fired AFTER";
    else if (!TRIGGER_FIRED_FOR_ROW(data->tg_event))
        wrong = "must be fired FOR EACH ROW";
    else if (!TRIGGER_FIRED_BY_INSERT(data->tg_event) && !TRIGGER_FIRED_BY_UPDATE(data->tg_event))
        wrong = "must be fired by INSERT or UPDATE";
    else if (data->tg_trigger->tgnargs == 0)
        wrong = "needs the name of a stream";
    if (wrong != nullptr)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function insert_into_stream %s", wrong),
                        errhint("CREATE TRIGGER ... AFTER INSERT ON ... FOR EACH ROW EXECUTE "
                                "FUNCTION pipelinedb.insert_into_stream('stream').")));
}

bool is_arrival(const FormData_pg_attribute *attribute)
{
    return strcmp(NameStr(attribute->attname), kArrival) == 0 &&
           attribute->atttypid == TIMESTAMPTZOID;
}

/// Attributes that are columns, the arrival time put last.
List *columns_of(TupleDesc desc)
{
    List *columns = NIL;
    int arrival = -1;
    for (int i = 0; i < desc->natts; i++) {
        const FormData_pg_attribute *const attribute = TupleDescAttr(desc, i);
        if (attribute->attisdropped || attribute->attgenerated != '\0')
            continue;
        if (is_arrival(attribute))
            arrival = i;
        else
            columns = lappend_int(columns, i);
    }
    return arrival >= 0 ? lappend_int(columns, arrival) : columns;
}

bool ends_with_arrival(TupleDesc desc, const List *columns)
{
    return columns != NIL && is_arrival(TupleDescAttr(desc, llast_int(columns)));
}

[[noreturn]] void refuse_schema(Relation stream)
{
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("\"%s\" must have the same schema as the transform",
                           RelationGetRelationName(stream)),
                    errhint("The stream needs columns of the same types in the same order.")));
    pg_unreachable();
}

/// Both lists in the same length, so that their columns correspond. An arrival time that only one
/// of the two has is left out.
void match_columns(Relation stream, TupleDesc given, List **to, List **from)
{
    TupleDesc const wanted = RelationGetDescr(stream);
    *to = columns_of(wanted);
    *from = columns_of(given);
    if (list_length(*to) > list_length(*from) && ends_with_arrival(wanted, *to))
        *to = list_delete_last(*to);
    else if (list_length(*from) > list_length(*to) && ends_with_arrival(given, *from))
        *from = list_delete_last(*from);
    if (list_length(*to) != list_length(*from))
        refuse_schema(stream);
    for (int i = 0; i < list_length(*to); i++)
        if (TupleDescAttr(wanted, list_nth_int(*to, i))->atttypid !=
            TupleDescAttr(given, list_nth_int(*from, i))->atttypid)
            refuse_schema(stream);
}

char *insert_text(Relation stream, const List *columns)
{
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfo(&text, "INSERT INTO %s.%s (",
                     quote_identifier(get_namespace_name(RelationGetNamespace(stream))),
                     quote_identifier(RelationGetRelationName(stream)));
    for (int i = 0; i < list_length(columns); i++)
        appendStringInfo(
            &text, "%s%s", i > 0 ? ", " : "",
            quote_identifier(NameStr(
                TupleDescAttr(RelationGetDescr(stream), list_nth_int(columns, i))->attname)));
    appendStringInfoString(&text, ") VALUES (");
    for (int i = 0; i < list_length(columns); i++)
        appendStringInfo(&text, "%s$%d", i > 0 ? ", " : "", i + 1);
    appendStringInfoChar(&text, ')');
    return text.data;
}

void prepare_target(Target *target, Relation stream, TupleDesc given, MemoryContext context)
{
    List *to;
    List *from;
    match_columns(stream, given, &to, &from);
    target->ncolumns = list_length(to);
    auto const count = static_cast<Size>(target->ncolumns);
    target->source = static_cast<int *>(MemoryContextAlloc(context, sizeof(int) * (count + 1)));
    Oid *const types = static_cast<Oid *>(palloc(sizeof(Oid) * (count + 1)));
    for (int i = 0; i < target->ncolumns; i++) {
        target->source[i] = list_nth_int(from, i);
        types[i] = TupleDescAttr(given, target->source[i])->atttypid;
    }
    SPIPlanPtr const plan = SPI_prepare(insert_text(stream, to), target->ncolumns, types);
    if (plan == nullptr || SPI_keepplan(plan) != 0)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    target->insert = plan;
}

/// Plans that are kept lie in a context of their own (SPI_keepplan).
extern "C" void pipeline_release_site(void *arg)
{
    const auto *site = static_cast<const Site *>(arg);
    for (int i = 0; i < site->ntargets; i++)
        if (site->targets[i].insert != nullptr)
            (void) SPI_freeplan(site->targets[i].insert);
}

/// Lives as long as the trigger's call information: to the end of a statement, or of a turn.
Site *new_site(MemoryContext parent, const TriggerData *data)
{
    MemoryContext const context =
        AllocSetContextCreate(parent, "pipelinedb.insert_into_stream", ALLOCSET_SMALL_SIZES);
    auto *const site = static_cast<Site *>(MemoryContextAllocZero(context, sizeof(Site)));
    site->context = context;
    site->relation = RelationGetRelid(data->tg_relation);
    site->targets = static_cast<Target *>(MemoryContextAllocZero(
        context, sizeof(Target) * static_cast<Size>(data->tg_trigger->tgnargs)));
    site->release = {pipeline_release_site, site, nullptr};
    MemoryContextRegisterResetCallback(context, &site->release);
    return site;
}

/// Within SPI.
Site *site_of(FunctionCallInfo fcinfo, const TriggerData *data)
{
    auto *site = static_cast<Site *>(fcinfo->flinfo->fn_extra);
    if (site != nullptr && site->relation == RelationGetRelid(data->tg_relation))
        return site;
    if (site != nullptr)
        MemoryContextDelete(site->context);
    fcinfo->flinfo->fn_extra = nullptr;
    site = new_site(fcinfo->flinfo->fn_mcxt, data);
    for (int i = 0; i < data->tg_trigger->tgnargs; i++) {
        Oid const stream = named_stream(data->tg_trigger->tgargs[i]);
        check_trigger(stream, site->relation);
        pg::with_relation(stream, AccessShareLock, [&](Relation rel) {
            prepare_target(&site->targets[site->ntargets++], rel,
                           RelationGetDescr(data->tg_relation), site->context);
        });
    }
    fcinfo->flinfo->fn_extra = site;
    return site;
}

void insert(const Target &target, const Datum *row, const bool *isnull)
{
    auto const count = static_cast<Size>(target.ncolumns);
    auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * (count + 1)));
    auto *nulls = static_cast<char *>(palloc(count + 1));
    for (int i = 0; i < target.ncolumns; i++) {
        values[i] = row[target.source[i]];
        nulls[i] = isnull[target.source[i]] ? 'n' : ' ';
    }
    int const result = SPI_execute_plan(target.insert, values, nulls, false, 0);
    if (result < 0)
        elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
}

Datum insert_into_stream(FunctionCallInfo fcinfo)
{
    check_protocol(fcinfo);
    const auto *data = reinterpret_cast<const TriggerData *>(fcinfo->context);
    HeapTuple const tuple =
        TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
    if (SPI_connect() != SPI_OK_CONNECT)
        elog(ERROR, "SPI_connect failed");
    const Site *const site = site_of(fcinfo, data);
    TupleDesc const desc = RelationGetDescr(data->tg_relation);
    auto const natts = static_cast<Size>(desc->natts);
    auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * (natts + 1)));
    auto *nulls = static_cast<bool *>(palloc(natts + 1));
    heap_deform_tuple(tuple, desc, values, nulls);
    for (int i = 0; i < site->ntargets; i++)
        insert(site->targets[i], values, nulls);
    SPI_finish();
    return PointerGetDatum(nullptr);
}

} // namespace

void check_target(Oid stream, TupleDesc given)
{
    List *to;
    List *from;
    pg::with_relation(stream, AccessShareLock,
                      [&](Relation rel) { match_columns(rel, given, &to, &from); });
}

} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_insert_into_stream);
PG_FUNCTION_INFO_V1(pipeline_output_of);

Datum pipeline_insert_into_stream(PG_FUNCTION_ARGS)
{
    return pipeline::view::insert_into_stream(fcinfo);
}

/// Where it is understood, CREATE VIEW has replaced it (output_names.cpp).
Datum pipeline_output_of(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("an output stream can be read only by a continuous query"),
                    errhint("Use it in FROM of CREATE VIEW: ... FROM output_of('view').")));
    pg_unreachable();
}
}
