#include "dialect/script.hpp"

extern "C" {
#include "common/keywords.h"
#include "mb/pg_wchar.h"
#include "parser/scanner.h"
#include "parser/scansup.h"
}

namespace pipeline::dialect {
namespace {

constexpr int kAbbreviation = 64;

/// All keywords get one code: their names are compared instead, since the numbers that the
/// grammar gives them differ between servers.
const uint16 *keyword_codes()
{
    int const count = ScanKeywords.num_keywords;
    auto *codes = static_cast<uint16 *>(palloc(sizeof(uint16) * static_cast<Size>(count)));
    for (int i = 0; i < count; i++)
        codes[i] = kKeyword;
    return codes;
}

const char *value_of(int code, const core_YYSTYPE &value)
{
    if (code == kKeyword)
        return value.keyword;
    return code >= kIdentifier && code <= kOperator ? value.str : nullptr;
}

void scan_tokens(Script &script)
{
    core_yy_extra_type extra{};
    core_yyscan_t const scanner = scanner_init(script.text, &extra, &ScanKeywords, keyword_codes());
    extra.escape_string_warning = false; // the parser will say it
    Token token;
    do {
        core_YYSTYPE value{};
        int location = 0;
        token.code = core_yylex(&value, &location, scanner);
        token.begin = location;
        // flex ends the token's text with a NUL until it goes on
        token.end = token.code == kEnd
                        ? location
                        : location + static_cast<int>(strlen(extra.scanbuf + location));
        token.value = value_of(token.code, value);
        script.tokens.add(token);
    } while (token.code != kEnd);
    scanner_finish(scanner);
}

/// The scanner tells of identifiers that are too long; the parser will tell it again, so here it
/// is not heard.
template <typename Fn> void without_notices(Fn &&fn)
{
    int const level = NewGUCNestLevel();
    (void) set_config_option("client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION,
                             GUC_ACTION_SAVE, true, 0, false);
    fn();
    AtEOXact_GUC(true, level);
}

/// CREATE [OR REPLACE] FUNCTION or PROCEDURE: the only statements with BEGIN ATOMIC ... END.
bool creates_routine(const Script &script, int number)
{
    if (!script.is_word(number, "create"))
        return false;
    number++;
    if (script.is_word(number, "or") && script.is_word(number + 1, "replace"))
        number += 2;
    return script.is_word(number, "function") || script.is_word(number, "procedure");
}

/// How deep a statement is in what semicolons do not end.
struct Nesting {
    bool routine;
    int parentheses;
    int blocks; ///< BEGIN ATOMIC, and CASE inside it

    bool ends_at(const Token &token) const
    {
        return token.code == kEnd || (token.code == ';' && parentheses == 0 && blocks == 0);
    }
};

/// A column or label may be called "end" or "case" behind a dot or AS.
bool is_name_here(const Script &script, int number)
{
    return script.token(number - 1).code == '.' || script.is_word(number - 1, "as");
}

void follow(const Script &script, int number, Nesting &nesting)
{
    int const code = script.token(number).code;
    if (code == '(' || code == '[')
        nesting.parentheses++;
    else if ((code == ')' || code == ']') && nesting.parentheses > 0)
        nesting.parentheses--;
    if (!nesting.routine || code != kKeyword)
        return;
    if (nesting.blocks == 0)
        nesting.blocks = script.is_word(number, "atomic") && script.is_word(number - 1, "begin");
    else if (script.is_word(number, "case") && !is_name_here(script, number))
        nesting.blocks++;
    else if (script.is_word(number, "end") && !is_name_here(script, number))
        nesting.blocks--;
}

int end_of_statement(const Script &script, int first)
{
    Nesting nesting{creates_routine(script, first), 0, 0};
    int number = first;
    while (!nesting.ends_at(script.token(number)))
        follow(script, number++, nesting);
    return number;
}

void split(Script &script)
{
    int line = 1;
    int counted = 0;
    for (int first = 0; script.token(first).code != kEnd;) {
        int const last = end_of_statement(script, first);
        for (; counted < script.token(first).begin; counted++)
            line += script.text[counted] == '\n';
        if (last > first)
            script.statements.add({first, last, line});
        first = script.token(last).code == kEnd ? last : last + 1;
    }
}

} // namespace

bool Script::is_word(int number, const char *word) const
{
    if (number < 0 || number >= tokens.count)
        return false;
    const Token &one = tokens.items[number];
    return (one.code == kKeyword || (one.code == kIdentifier && text[one.begin] != '"')) &&
           strcmp(one.value, word) == 0;
}

Script scan(const char *text)
{
    Script script{text, {}, {}};
    without_notices([&] { scan_tokens(script); });
    split(script);
    return script;
}

int character_position(const char *text, int offset)
{
    return pg_mbstrlen_with_len(text, offset) + 1;
}

char *abbreviated(const Script &script, const Statement &statement)
{
    int const end = script.token(statement.last - 1).end;
    StringInfoData line;
    initStringInfo(&line);
    for (int i = script.token(statement.first).begin; i < end && line.len <= kAbbreviation; i++) {
        char const c = script.text[i];
        if (!scanner_isspace(c))
            appendStringInfoChar(&line, c);
        else if (line.data[line.len - 1] != ' ')
            appendStringInfoChar(&line, ' ');
    }
    if (line.len <= kAbbreviation)
        return line.data;
    line.len = pg_mbcliplen(line.data, line.len, kAbbreviation - 3);
    line.data[line.len] = '\0';
    appendStringInfoString(&line, "...");
    return line.data;
}

} // namespace pipeline::dialect
