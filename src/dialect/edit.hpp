// One statement while it is rewritten: a cursor over its tokens, and the text that it becomes.
//
// Owns: how names, lists and parentheses are read. May call: pg/. Invariants: the cursor stays
// within the statement; syntax errors are worded as the server's.
#pragma once

#include "dialect/script.hpp"
#include "dialect/sql_text.hpp"

namespace pipeline::dialect {

struct Edit {
    const Script &script;
    const Statement &statement;
    SqlText &sql;
    int next; ///< number of the token that is read next

    bool at_end() const { return next >= statement.last; }
    const Token &token() const { return script.token(next); }
    bool is(int code) const { return !at_end() && token().code == code; }
    bool is_word(const char *word) const { return !at_end() && script.is_word(next, word); }

    /// The same for the name of an option, which may be quoted.
    bool is_name(const char *name) const
    {
        return (is(kIdentifier) || is(kKeyword)) && strcmp(token().value, name) == 0;
    }

    /// Where the token before the next one ends.
    int end_of_previous() const { return script.token(next - 1).end; }

    /// Passes over a name with its qualification; false if there is none.
    bool pass_name();

    /// Passes over what parentheses enclose, both included; false if the last one is missing.
    bool pass_parentheses();
};

/// Passes over a name, and returns it with quotes where it needs them; an error if none is there.
char *read_name(Edit &edit);

/// The position, in the script, of a token: for ereport().
int position_of(const Edit &edit, int number);

/// "syntax error at or near ...", at the next token.
[[noreturn]] void refuse_next(const Edit &edit);

} // namespace pipeline::dialect
