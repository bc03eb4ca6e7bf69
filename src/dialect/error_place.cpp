#include "dialect/error_place.hpp"

extern "C" {
#include "catalog/pg_proc.h"
#include "mb/pg_wchar.h"
#include "tcop/pquery.h"
}

namespace pipeline::dialect {
namespace {

/// An error's position is one of the text that runs; this makes it one of the script.
void move_to_script(const Place &place)
{
    if (place.running == nullptr)
        return;
    const char *const text = place.running->sql.text();
    int const bytes = pg_mbcharcliplen(text, static_cast<int>(strlen(text)), geterrposition() - 1);
    errposition(character_position(place.script, place.running->sql.script_offset(bytes)));
}

/// Then one of the client's statement, so that psql's LINE and caret point there; where the
/// script is not literally in that (DO inside a function), the script is shown. The server looks
/// for it in the active portal, which is ours while a statement runs.
void move_to_caller(const Place &place)
{
    Portal const active = ActivePortal;
    ActivePortal = place.caller;
    function_parse_error_transpose(place.script);
    ActivePortal = active;
}

bool begins_with(const Place &place, const char *word)
{
    return place.scanned->is_word(place.statement->first, word);
}

/// PipelineDB 0.9 had its views and functions in pg_catalog, with this prefix.
bool names_old_object(const Place &place)
{
    constexpr char kPrefix[] = "pipeline_";
    for (int i = place.statement->first; i < place.statement->last; i++) {
        const Token &token = place.scanned->token(i);
        if (token.code == kIdentifier && strncmp(token.value, kPrefix, sizeof(kPrefix) - 1) == 0)
            return true;
    }
    return false;
}

/// For errors at a position of the statement only: others may come from anywhere.
void hint_at_difference(const Place &place, int sqlstate)
{
    bool const missing =
        sqlstate == ERRCODE_UNDEFINED_TABLE || sqlstate == ERRCODE_UNDEFINED_FUNCTION;
    if (missing && names_old_object(place))
        errhint("What PipelineDB 0.9 called pipeline_views, for example, is pipelinedb.views now.");
    else if (sqlstate == ERRCODE_UNDEFINED_TABLE &&
             (begins_with(place, "create") || begins_with(place, "insert")))
        errhint("If it is meant to be a stream, create it first with CREATE STREAM: streams "
                "are not inferred from queries.");
}

} // namespace

Place begin_script(const char *script)
{
    return Place{script, ActivePortal, nullptr, nullptr, nullptr};
}

void describe_place(void *arg)
{
    const Place &place = *static_cast<Place *>(arg);
    int const sqlstate = geterrcode();
    if (geterrposition() > 0) {
        if (place.statement != nullptr)
            hint_at_difference(place, sqlstate);
        move_to_script(place);
        move_to_caller(place);
    }
    if (sqlstate == ERRCODE_ACTIVE_SQL_TRANSACTION)
        errhint("A script is a part of one transaction; run this statement on its own.");
    if (place.statement != nullptr)
        errcontext("statement at line %d of the script: %s", place.statement->line,
                   abbreviated(*place.scanned, *place.statement));
}

} // namespace pipeline::dialect
