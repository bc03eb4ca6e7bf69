#include "dialect/continuous_query.hpp"

namespace pipeline::dialect {
namespace {

/// What 0.9 called the trigger function that writes to streams; it was in pg_catalog.
constexpr const char *kStreamInsert = "pipeline_stream_insert";
constexpr const char *kStreamInsertNow = "pipelinedb.insert_into_stream";

/// THEN EXECUTE PROCEDURE f(...), the end of a transform.
struct Action {
    int first = -1; ///< number of THEN; -1 if there is none
    const char *option = "";
};

/// Inside CASE, THEN is never followed by these words.
bool is_action(const Edit &edit, int number)
{
    const Script &script = edit.script;
    return number + 2 < edit.statement.last && script.is_word(number, "then") &&
           script.is_word(number + 1, "execute") &&
           (script.is_word(number + 2, "procedure") || script.is_word(number + 2, "function"));
}

/// A word that the grammar would not take for the name of a type is quoted; option values are
/// read as types.
void append_function(StringInfo option, const Edit &edit, int first, int last)
{
    const Script &script = edit.script;
    if (last == first + 1 && script.is_word(first, kStreamInsert)) {
        appendStringInfoString(option, kStreamInsertNow);
        return;
    }
    for (int i = first; i < last; i++) {
        const Token &part = script.token(i);
        if (part.code == kKeyword)
            appendStringInfo(option, "\"%s\"", part.value);
        else
            appendBinaryStringInfo(option, script.text + part.begin, part.end - part.begin);
        if (part.code == kUnicodeIdentifier || script.is_word(i, "uescape"))
            appendStringInfoChar(option, ' ');
    }
}

/// As with CREATE TRIGGER, all arguments are strings to the function.
void append_argument(StringInfo option, const Edit &edit)
{
    const Token &token = edit.token();
    switch (token.code) {
    case kString:
    case kIdentifier:
    case kKeyword:
        appendStringInfoString(option, quote_literal_cstr(token.value));
        break;
    case kInteger:
    case kFloat:
        appendStringInfoString(
            option, quote_literal_cstr(pnstrdup(edit.script.text + token.begin,
                                                static_cast<Size>(token.end - token.begin))));
        break;
    default:
        refuse_next(edit);
    }
}

void read_arguments(StringInfo option, Edit &edit)
{
    if (!edit.is('('))
        refuse_next(edit);
    edit.next++;
    if (edit.is(')')) { // the grammar has no empty list here; the name alone means the same
        edit.next++;
        return;
    }
    appendStringInfoChar(option, '(');
    for (;;) {
        if (edit.at_end())
            refuse_next(edit);
        append_argument(option, edit);
        edit.next++;
        bool const more = edit.is(',');
        if (!more && !edit.is(')'))
            refuse_next(edit);
        edit.next++;
        if (!more)
            break;
        appendStringInfoString(option, ", ");
    }
    appendStringInfoChar(option, ')');
}

Action find_action(const Edit &edit)
{
    Action action;
    for (int i = edit.next; action.first < 0 && i < edit.statement.last; i++)
        if (is_action(edit, i))
            action.first = i;
    if (action.first < 0)
        return action;
    StringInfoData option;
    initStringInfo(&option);
    appendStringInfoString(&option, ", outputfunc=");
    Edit rest{edit.script, edit.statement, edit.sql, action.first + 3};
    int const name = rest.next;
    if (!rest.pass_name())
        refuse_next(rest);
    append_function(&option, edit, name, rest.next);
    read_arguments(&option, rest);
    if (!rest.at_end())
        refuse_next(rest);
    action.option = option.data;
    return action;
}

[[noreturn]] void refuse_option(const Edit &edit, const char *message, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("%s", message), errhint("%s", hint),
                    position_of(edit, edit.next)));
    pg_unreachable();
}

/// Reads WITH ( ... ): a word behind the first parenthesis or a comma of that level is a name.
void rewrite_options(Edit &edit, const Action &action)
{
    bool window = false;
    int depth = 0;
    bool name = false;
    for (; !edit.at_end(); edit.next++) {
        int const code = edit.token().code;
        depth += code == '(' ? 1 : code == ')' ? -1 : 0;
        if (depth == 0)
            break;
        bool const old_window = name && edit.is_name("max_age");
        if (name && edit.is_name("action"))
            refuse_option(edit, "option \"action\" is given by the statement itself",
                          "Leave it out, or write PipelineDB 1.0's CREATE VIEW.");
        if (name && edit.is_name("outputfunc") && action.first >= 0)
            refuse_option(edit, "an output function is given twice",
                          "Leave out the option or THEN EXECUTE PROCEDURE.");
        if (name && (old_window || edit.is_name("sw"))) {
            if (window)
                refuse_option(edit, "a sliding window is given twice",
                              "Options max_age and sw mean the same.");
            window = true;
        }
        if (old_window)
            edit.sql.replace(edit.token().begin, edit.token().end, "sw");
        name = depth == 1 && (code == '(' || code == ',');
    }
}

void refuse_if_not_exists(const Edit &edit)
{
    if (edit.is_word("if") && edit.script.is_word(edit.next + 1, "not"))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous queries do not support IF NOT EXISTS"),
                        errhint("Drop what may be there before, with DROP ... IF EXISTS."),
                        position_of(edit, edit.next)));
}

void rewrite_query(Edit &edit, const char *options, const Action &action)
{
    refuse_if_not_exists(edit);
    if (!edit.pass_name())
        return; // the server says what is wrong here
    if (edit.is('('))
        edit.pass_parentheses();
    if (edit.is_word("with") && edit.next + 1 < edit.statement.last &&
        edit.script.token(edit.next + 1).code == '(') {
        edit.next++;
        edit.sql.insert(edit.token().end, psprintf("%s%s, ", options, action.option));
        rewrite_options(edit, action);
    } else {
        edit.sql.insert(edit.end_of_previous(), psprintf(" WITH (%s%s)", options, action.option));
    }
}

} // namespace

void rewrite_continuous_view(Edit &edit)
{
    rewrite_query(edit, "action=materialize", Action{});
}

void rewrite_continuous_transform(Edit &edit)
{
    Action const action = find_action(edit);
    rewrite_query(edit, "action=transform", action);
    if (action.first < 0)
        return;
    int const end = edit.script.token(action.first - 1).end;
    edit.sql.replace(end, edit.script.token(edit.statement.last - 1).end, "");
}

} // namespace pipeline::dialect
