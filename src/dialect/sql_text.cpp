#include "dialect/sql_text.hpp"

namespace pipeline::dialect {
namespace {

bool continues_a_word(char c)
{
    return IS_HIGHBIT_SET(c) || isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' ||
           c == '"';
}

} // namespace

SqlText::SqlText(const char *script, int begin) : script_(script), copied_(begin)
{
    initStringInfo(&text_);
}

void SqlText::add_words(int source, const char *words)
{
    if (*words == '\0')
        return;
    pieces_.add({text_.len, source, false});
    appendStringInfoString(&text_, words);
}

void SqlText::finish(int end)
{
    if (end <= copied_)
        return;
    if (text_.len > 0 && !pieces_.items[pieces_.count - 1].copied &&
        continues_a_word(text_.data[text_.len - 1]) && continues_a_word(script_[copied_]))
        appendStringInfoChar(&text_, ' ');
    pieces_.add({text_.len, copied_, true});
    appendBinaryStringInfo(&text_, script_ + copied_, end - copied_);
    copied_ = end;
}

void SqlText::insert(int at, const char *words)
{
    finish(at);
    add_words(at, words);
}

void SqlText::replace(int begin, int end, const char *words)
{
    finish(begin);
    add_words(begin, words);
    copied_ = end;
}

int SqlText::script_offset(int offset) const
{
    int i = pieces_.count - 1;
    while (i > 0 && pieces_.items[i].begin > offset)
        i--;
    const Piece &piece = pieces_.items[i];
    return piece.copied ? piece.source + offset - piece.begin : piece.source;
}

} // namespace pipeline::dialect
