// A statement's new text, made from parts of the script and words between them.
//
// Owns: the text, and where each part of it comes from. May call: pg/. Invariants: edits come in
// the order of the script; what no edit names is copied as it is, comments included.
#pragma once

#include "pg/postgres.hpp"

#include "dialect/growing.hpp"

extern "C" {
#include "lib/stringinfo.h"
}

namespace pipeline::dialect {

class SqlText {
  public:
    /// For the part of the script that begins at `begin`.
    SqlText(const char *script, int begin);

    /// Adds `words` after the script's first `at` bytes.
    void insert(int at, const char *words);

    /// Puts `words` in the place of a part of the script.
    void replace(int begin, int end, const char *words);

    /// Copies the rest, up to `end`.
    void finish(int end);

    const char *text() const { return text_.data; }

    /// Where in the script that is which stands at `offset`; for words that were added, where
    /// they were added.
    int script_offset(int offset) const;

  private:
    struct Piece {
        int begin;  ///< in the text
        int source; ///< in the script
        bool copied;
    };

    void add_words(int source, const char *words);

    const char *script_;
    int copied_; ///< the script is done up to here
    StringInfoData text_;
    Growing<Piece> pieces_;
};

} // namespace pipeline::dialect
