// Refusals that the server would put without a hint, or before any callback of a foreign-data
// wrapper runs.
//
// Owns: the hook behind parse analysis. May call: pg/, view/catalog. Invariant: a statement
// without ON CONFLICT costs two tests.
#include "pg/list.hpp"
#include "view/catalog.hpp"
#include "view/ddl.hpp"

extern "C" {
#include "parser/analyze.h"
}

namespace pipeline::view {
namespace {

constinit post_parse_analyze_hook_type previous_hook = nullptr;

/// Without a target, DO NOTHING is as harmless as on a table without a unique index.
void check_on_conflict(const Query *query)
{
    const OnConflictExpr *const clause = query->onConflict;
    if (clause == nullptr || (clause->action == ONCONFLICT_NOTHING && clause->arbiterElems == NIL))
        return;
    auto *target =
        static_cast<const RangeTblEntry *>(list_nth(query->rtable, query->resultRelation - 1));
    if (target->rtekind != RTE_RELATION || !is_stream(target->relid))
        return;
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("ON CONFLICT is not supported for stream \"%s\"", get_rel_name(target->relid)),
             errdetail("A stream stores no rows, so there are none to conflict with."),
             errhint("Leave out ON CONFLICT; every row counts.")));
}

/// Data-modifying WITH queries are allowed at the top level only (parse_cte.c).
extern "C" void pipeline_check_analysed(ParseState *pstate, Query *query, JumbleState *jumble)
{
    if (previous_hook != nullptr)
        previous_hook(pstate, query, jumble);
    if (query->onConflict != nullptr)
        check_on_conflict(query);
    if (!query->hasModifyingCTE)
        return;
    for (auto *with : pg::each<CommonTableExpr>(query->cteList))
        if (IsA(with->ctequery, Query))
            check_on_conflict(reinterpret_cast<const Query *>(with->ctequery));
}

} // namespace

void install_dml_checks()
{
    previous_hook = post_parse_analyze_hook;
    post_parse_analyze_hook = pipeline_check_analysed;
}

} // namespace pipeline::view
