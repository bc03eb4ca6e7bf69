#include "dialect/edit.hpp"

namespace pipeline::dialect {
namespace {

bool can_be_name(const Token &token)
{
    return token.code == kIdentifier || token.code == kUnicodeIdentifier || token.code == kKeyword;
}

} // namespace

bool Edit::pass_name()
{
    if (at_end() || !can_be_name(token()))
        return false;
    for (;;) {
        bool const unicode = token().code == kUnicodeIdentifier;
        next++;
        if (unicode && is_word("uescape"))
            next += 2;
        if (!is('.') || next + 1 >= statement.last || !can_be_name(script.token(next + 1)))
            return true;
        next++;
    }
}

bool Edit::pass_parentheses()
{
    int depth = 0;
    do {
        if (at_end())
            return false;
        depth += is('(') ? 1 : is(')') ? -1 : 0;
        next++;
    } while (depth > 0);
    return true;
}

char *read_name(Edit &edit)
{
    StringInfoData name;
    initStringInfo(&name);
    int const first = edit.next;
    if (!edit.pass_name())
        refuse_next(edit);
    for (int i = first; i < edit.next; i++) {
        const Token &part = edit.script.token(i);
        if (part.code == kUnicodeIdentifier)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("names with Unicode escapes are not supported here"),
                            errhint("Write the characters themselves, in double quotes."),
                            position_of(edit, i)));
        appendStringInfoString(&name, part.code == '.' ? "." : quote_identifier(part.value));
    }
    return name.data;
}

int position_of(const Edit &edit, int number)
{
    bool const inside = number < edit.statement.last;
    int const offset =
        inside ? edit.script.token(number).begin : edit.script.token(edit.statement.last - 1).end;
    return errposition(character_position(edit.script.text, offset));
}

void refuse_next(const Edit &edit)
{
    if (edit.at_end())
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("syntax error at end of statement"),
                        position_of(edit, edit.next)));
    const Token &token = edit.token();
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                    errmsg("syntax error at or near \"%s\"",
                           pnstrdup(edit.script.text + token.begin,
                                    static_cast<Size>(token.end - token.begin))),
                    position_of(edit, edit.next)));
    pg_unreachable();
}

} // namespace pipeline::dialect
