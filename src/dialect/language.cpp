// The SQL functions behind LANGUAGE pipelinedb, and the one that shows what a script becomes.
//
// Owns: nothing. May call: pg/, dialect/. Invariant: the language has no functions, so its
// validator refuses each of them.
#include "dialect/run.hpp"

extern "C" {
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "utils/tuplestore.h"
}

namespace pipeline::dialect {
namespace {

[[noreturn]] void refuse_functions()
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("language \"pipelinedb\" has no functions"),
                    errhint("It runs scripts: DO LANGUAGE pipelinedb. Functions are written in sql "
                            "or plpgsql, with the SQL that pipelinedb.dialect_sql() shows.")));
    pg_unreachable();
}

void show_statements(const char *text, ReturnSetInfo *result)
{
    Place place = begin_script(text);
    Growing<Parsed> statements;
    with_place(place, [&] { statements = read_script(place); });
    for (int i = 0; i < statements.count; i++) {
        const Rewritten &statement = statements.items[i].rewritten;
        Datum values[] = {Int32GetDatum(statement.statement->line),
                          CStringGetTextDatum(statement.sql.text())};
        bool nulls[] = {false, false};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
}

} // namespace
} // namespace pipeline::dialect

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_dialect_handler);
PG_FUNCTION_INFO_V1(pipeline_dialect_inline);
PG_FUNCTION_INFO_V1(pipeline_dialect_validator);
PG_FUNCTION_INFO_V1(pipeline_dialect_sql);

Datum pipeline_dialect_handler(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    pipeline::dialect::refuse_functions();
}

Datum pipeline_dialect_validator(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    pipeline::dialect::refuse_functions();
}

Datum pipeline_dialect_inline(PG_FUNCTION_ARGS)
{
    auto *block = reinterpret_cast<InlineCodeBlock *>(PG_GETARG_POINTER(0));
    pipeline::dialect::run_script(block->source_text);
    PG_RETURN_VOID();
}

Datum pipeline_dialect_sql(PG_FUNCTION_ARGS)
{
    InitMaterializedSRF(fcinfo, 0);
    pipeline::dialect::show_statements(text_to_cstring(PG_GETARG_TEXT_PP(0)),
                                       reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo));
    return static_cast<Datum>(0);
}
}
