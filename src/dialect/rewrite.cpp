#include "dialect/rewrite.hpp"

#include "dialect/continuous_query.hpp"
#include "dialect/edit.hpp"

namespace pipeline::dialect {
namespace {

/// A statement of 0.9 by its first words. They are replaced by `words`, if there are any; then
/// `rewrite` does the rest, the cursor behind them.
struct Form {
    const char *names[5];
    const char *words;
    void (*rewrite)(Edit &edit);
    Target target;
};

void rewrite_stream(Edit &edit)
{
    int const number = edit.next;
    if (edit.is_word("if") && edit.script.is_word(number + 1, "not") &&
        edit.script.is_word(number + 2, "exists"))
        edit.next += 3;
    if (!edit.pass_name())
        return;
    if (!edit.is('('))
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("a stream must declare its columns"),
                        errhint("Write CREATE STREAM name (column type, ...)."),
                        position_of(edit, edit.next)));
    if (edit.pass_parentheses())
        edit.sql.insert(edit.end_of_previous(), " SERVER pipelinedb");
}

/// A list of names becomes SELECT f('name'), f('other').
void rewrite_calls(Edit &edit, const char *function)
{
    int begin = edit.script.token(edit.statement.first).begin;
    const char *lead = "SELECT ";
    for (;;) {
        int const end = edit.at_end() ? edit.end_of_previous() : edit.token().begin;
        edit.sql.replace(begin, end, lead);
        int const first = edit.next;
        char *const name = read_name(edit);
        edit.sql.replace(edit.script.token(first).begin, edit.end_of_previous(),
                         psprintf("pipelinedb.%s(%s)", function, quote_literal_cstr(name)));
        if (edit.at_end())
            return;
        if (!edit.is(','))
            refuse_next(edit);
        begin = edit.token().begin;
        edit.next++;
        lead = ", ";
    }
}

void rewrite_activate(Edit &edit)
{
    rewrite_calls(edit, "activate");
}

void rewrite_deactivate(Edit &edit)
{
    rewrite_calls(edit, "deactivate");
}

void rewrite_truncate(Edit &edit)
{
    rewrite_calls(edit, "truncate_continuous_view");
}

void refuse_explain(Edit &edit)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("EXPLAIN is not supported for continuous queries"),
                    errhint("Column \"query\" of pipelinedb.views shows what one computes."),
                    position_of(edit, edit.statement.first)));
}

/// What was a setting of its own in 0.9.
constexpr const char *kSettings[][2] = {
    {"stream_targets", "pipelinedb.stream_targets"},
    {"stream_insert_level", "pipelinedb.stream_insert_level"},
    {"sliding_window_step_factor", "pipelinedb.sliding_window_step_factor"},
    {"continuous_view_fillfactor", "pipelinedb.fillfactor"},
    {"continuous_query_materialization_table_updatable", "pipelinedb.matrels_writable"},
};

void rewrite_setting(Edit &edit)
{
    if (edit.is_word("session") || edit.is_word("local"))
        edit.next++;
    for (auto &setting : kSettings)
        if (edit.is_word(setting[0]))
            edit.sql.replace(edit.token().begin, edit.token().end, setting[1]);
}

constexpr Form kForms[] = {
    {{"create", "stream"}, "CREATE FOREIGN TABLE", rewrite_stream, Target::kAny},
    {{"create", "continuous", "view"}, "CREATE VIEW", rewrite_continuous_view, Target::kAny},
    {{"create", "or", "replace", "continuous", "view"},
     "CREATE OR REPLACE VIEW",
     rewrite_continuous_view,
     Target::kAny},
    {{"create", "continuous", "transform"},
     "CREATE VIEW",
     rewrite_continuous_transform,
     Target::kAny},
    {{"drop", "stream"}, "DROP FOREIGN TABLE", nullptr, Target::kStream},
    {{"drop", "continuous", "view"}, "DROP VIEW", nullptr, Target::kContinuousView},
    {{"drop", "continuous", "transform"}, "DROP VIEW", nullptr, Target::kContinuousTransform},
    {{"alter", "stream"}, "ALTER FOREIGN TABLE", nullptr, Target::kStream},
    {{"alter", "continuous", "view"}, "ALTER VIEW", nullptr, Target::kContinuousView},
    {{"alter", "continuous", "transform"}, "ALTER VIEW", nullptr, Target::kContinuousTransform},
    {{"comment", "on", "stream"}, "COMMENT ON FOREIGN TABLE", nullptr, Target::kStream},
    {{"comment", "on", "continuous", "view"}, "COMMENT ON VIEW", nullptr, Target::kContinuousView},
    {{"comment", "on", "continuous", "transform"},
     "COMMENT ON VIEW",
     nullptr,
     Target::kContinuousTransform},
    {{"activate", "continuous", "view"}, nullptr, rewrite_activate, Target::kAny},
    {{"activate", "continuous", "transform"}, nullptr, rewrite_activate, Target::kAny},
    {{"activate"}, nullptr, rewrite_activate, Target::kAny},
    {{"deactivate", "continuous", "view"}, nullptr, rewrite_deactivate, Target::kAny},
    {{"deactivate", "continuous", "transform"}, nullptr, rewrite_deactivate, Target::kAny},
    {{"deactivate"}, nullptr, rewrite_deactivate, Target::kAny},
    {{"truncate", "continuous", "view"}, nullptr, rewrite_truncate, Target::kAny},
    {{"explain", "continuous"}, nullptr, refuse_explain, Target::kAny},
    {{"set"}, nullptr, rewrite_setting, Target::kAny},
    {{"reset"}, nullptr, rewrite_setting, Target::kAny},
    {{"show"}, nullptr, rewrite_setting, Target::kAny},
};

/// The number of words if the statement begins with those of the form, else 0.
int matched_words(const Edit &edit, const Form &form)
{
    int count = 0;
    for (const char *name : form.names) {
        if (name == nullptr)
            break;
        int const number = edit.statement.first + count;
        if (number >= edit.statement.last || !edit.script.is_word(number, name))
            return 0;
        count++;
    }
    return count;
}

void refuse_client_commands(const Edit &edit)
{
    if (edit.is('\\'))
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                        errmsg("a command of psql cannot be part of a script"),
                        errhint("What begins with a backslash belongs before or after DO."),
                        position_of(edit, edit.next)));
}

} // namespace

Rewritten rewrite(const Script &script, const Statement &statement)
{
    int const begin = script.token(statement.first).begin;
    Rewritten result{&statement, SqlText(script.text, begin), Target::kAny};
    Edit edit{script, statement, result.sql, statement.first};
    refuse_client_commands(edit);
    for (const Form &form : kForms) {
        int const count = matched_words(edit, form);
        if (count == 0)
            continue;
        edit.next += count;
        if (form.words != nullptr)
            result.sql.replace(begin, edit.end_of_previous(), form.words);
        if (form.rewrite != nullptr)
            form.rewrite(edit);
        result.target = form.target;
        break;
    }
    result.sql.finish(script.token(statement.last - 1).end);
    return result;
}

} // namespace pipeline::dialect
