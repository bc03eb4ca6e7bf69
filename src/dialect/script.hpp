// A script as the server's own scanner sees it: its tokens, and the statements they form.
//
// Owns: tokens, and the rule where a statement ends. May call: pg/. Invariants: offsets are bytes
// of the script; a token's text is [begin, end); the last token has code 0 and stands at the end
// of the script; a statement has at least one token.
#pragma once

#include "pg/postgres.hpp"

#include "dialect/growing.hpp"

namespace pipeline::dialect {

/// Codes of tokens: scanner.h fixes the first ones for everybody who uses the core scanner. A
/// character that stands for itself is its own code.
enum TokenCode : int {
    kEnd = 0,
    kIdentifier = 258,
    kUnicodeIdentifier, ///< U&"..."; what it means is known after UESCAPE only
    kFloat,
    kString,
    kUnicodeString,
    kBits,
    kHexBits,
    kOperator,
    kInteger,
    kKeyword = 1000, ///< ours: every keyword
};

struct Token {
    int code;
    int begin;
    int end;
    const char *value; ///< of identifiers, keywords and strings what they mean; else nullptr
};

struct Statement {
    int first; ///< number of its first token
    int last;  ///< number of the token after it: a semicolon or the end of the script
    int line;  ///< of its first token; the first line of the script is 1
};

struct Script {
    const char *text;
    Growing<Token> tokens;
    Growing<Statement> statements;

    const Token &token(int number) const { return tokens.items[number]; }

    /// True for a keyword, or an identifier that is not quoted.
    bool is_word(int number, const char *word) const;
};

/// Scans the whole script. Lexical errors are the server's, with positions in the script.
Script scan(const char *text);

/// What the errors about a script call a position in it.
int character_position(const char *text, int offset);

/// The statement's text on one line, cut after some words.
char *abbreviated(const Script &script, const Statement &statement);

} // namespace pipeline::dialect
