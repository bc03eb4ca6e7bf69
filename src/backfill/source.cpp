#include "backfill/source.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/varlena.h"
}

namespace pipeline::backfill {
namespace {

constexpr char kUseQuery[] = "To read anything else, name a query: CALL "
                             "pipelinedb.backfill(view, query => 'SELECT ...').";

const char *qualified_name(Oid relid)
{
    return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
                                      get_rel_name(relid));
}

/// Rows of other access methods say nothing of the transaction that wrote them.
void check_has_rows_of_heap(Relation rel)
{
    bool const is_table = rel->rd_rel->relkind == RELKIND_RELATION;
    if (!is_table || rel->rd_tableam != GetHeapamTableAmRoutine())
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" cannot be read in pieces", RelationGetRelationName(rel)),
                        errdetail(is_table ? "Its table access method is not heap."
                                           : "It is not a table."),
                        errhint("%s", kUseQuery)));
}

bool has_column(TupleDesc descriptor, const char *name)
{
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
            return true;
    }
    return false;
}

/// Columns that both have. Those that only the stream has get their defaults, as in any INSERT; the
/// time of arrival, too, unless the source has it.
const char *common_columns(Relation stream, TupleDesc source, const char *prefix)
{
    StringInfoData list;
    initStringInfo(&list);
    TupleDesc const descriptor = RelationGetDescr(stream);
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        const char *const name = NameStr(attribute->attname);
        if (attribute->attisdropped || attribute->attgenerated != '\0' || !has_column(source, name))
            continue;
        appendStringInfo(&list, "%s%s%s", list.len > 0 ? ", " : "", prefix, quote_identifier(name));
    }
    if (list.len == 0)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("source and stream \"%s\" have no column in common",
                               RelationGetRelationName(stream)),
                        errdetail("Columns go by their names.")));
    return list.data;
}

const char *make_statement(Oid stream, TupleDesc source, const char *from, const char *where)
{
    return pg::with_relation(stream, AccessShareLock, [&](Relation rel) -> const char * {
        return psprintf("INSERT INTO %s (%s) SELECT %s FROM %s%s", qualified_name(stream),
                        common_columns(rel, source, ""), common_columns(rel, source, "history."),
                        from, where);
    });
}

SPIPlanPtr prepare(const char *statement)
{
    SPIPlanPtr const plan = SPI_prepare(statement, 0, nullptr);
    if (plan == nullptr)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    return plan;
}

/// The text of a single SELECT, without what follows it.
const char *text_of_query(const char *query)
{
    SPI_freeplan(prepare(query)); // its errors show where they are in this text
    List *const statements = raw_parser(query, RAW_PARSE_DEFAULT);
    auto *const raw = list_length(statements) == 1 ? linitial_node(RawStmt, statements) : nullptr;
    if (raw == nullptr || !IsA(raw->stmt, SelectStmt) ||
        reinterpret_cast<SelectStmt *>(raw->stmt)->intoClause != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the query of a backfill must be a single SELECT")));
    const char *const start = query + raw->stmt_location;
    return raw->stmt_len > 0 ? pnstrdup(start, static_cast<Size>(raw->stmt_len)) : start;
}

} // namespace

List *parse_name(const char *name)
{
    List *parts = NIL;
    if (!SplitIdentifierString(pstrdup(name), '.', &parts) || parts == NIL)
        ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name syntax"),
                        errhint("%s", kUseQuery)));
    List *names = NIL;
    for (int i = 0; i < list_length(parts); i++)
        names = lappend(names, makeString(static_cast<char *>(list_nth(parts, i))));
    return names;
}

Oid find_source(const char *name)
{
    RangeVar *const range = makeRangeVarFromNameList(parse_name(name));
    Oid const relid = RangeVarGetRelid(range, AccessShareLock, false);
    Relation rel = relation_open(relid, NoLock);
    if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        check_has_rows_of_heap(rel);
    relation_close(rel, NoLock);
    return relid;
}

void list_tables(view::BackfillJob *job)
{
    List *const members = find_all_inheritors(job->source, AccessShareLock, nullptr);
    job->tables = static_cast<view::SourceTable *>(
        palloc(sizeof(view::SourceTable) * static_cast<Size>(list_length(members))));
    job->ntables = 0;
    for (Oid const relid : pg::each_oid(members)) {
        Relation rel = relation_open(relid, NoLock);
        if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
            check_has_rows_of_heap(rel);
            job->tables[job->ntables++] = {relid, rel->rd_rel->relfilenode,
                                           int64{RelationGetNumberOfBlocks(rel)}};
        }
        relation_close(rel, NoLock);
    }
}

void lock_tables(const view::BackfillJob *job)
{
    for (int i = 0; i < job->ntables; i++) {
        const view::SourceTable &table = job->tables[i];
        Relation rel = try_relation_open(table.relid, AccessShareLock);
        if (rel == nullptr)
            continue; // a partition that was dropped: its rows were deleted
        if (rel->rd_rel->relfilenode != table.file)
            ereport(ERROR,
                    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                     errmsg("table \"%s\" was truncated or rewritten since the backfill began",
                            RelationGetRelationName(rel)),
                     errdetail("It cannot be told any more which of its rows have been read."),
                     errhint("Forget this backfill with pipelinedb.cancel_backfill() and begin "
                             "anew.")));
        relation_close(rel, NoLock);
    }
}

const char *statement_over_table(Oid stream, Oid source, bool by_piece)
{
    constexpr char kPiece[] =
        " WHERE history.ctid OPERATOR(pg_catalog.>=) $1 AND history.ctid OPERATOR(pg_catalog.<) $2"
        " AND pipelinedb.backfill_takes(history.tableoid, history.ctid, history.xmin)";
    Relation rel = relation_open(source, AccessShareLock);
    const char *const from = psprintf("%s history", qualified_name(source));
    const char *const statement =
        make_statement(stream, RelationGetDescr(rel), from, by_piece ? kPiece : "");
    relation_close(rel, NoLock);
    return statement;
}

const char *statement_over_query(Oid stream, const char *query)
{
    const char *const text = text_of_query(query);
    SPIPlanPtr const plan = prepare(text);
    auto *const planned =
        static_cast<CachedPlanSource *>(linitial(SPI_plan_get_plan_sources(plan)));
    // On a line of its own: the text may end with a comment.
    const char *const from = psprintf("(%s\n) history", text);
    const char *const statement = make_statement(stream, planned->resultDesc, from, "");
    SPI_freeplan(plan);
    return statement;
}

} // namespace pipeline::backfill
