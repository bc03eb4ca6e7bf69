// Runs a script: each statement through the server's ordinary way, in the calling transaction.
//
// Owns: the order of reading and running. May call: pg/, view/catalog. Invariants:
// nothing is run before the whole script has been read, so a syntax error changes nothing;
// statements run with the rights of the caller, and never end his transaction.
#pragma once

#include "dialect/error_place.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::dialect {

/// A statement of a script, ready to run.
struct Parsed {
    Rewritten rewritten;
    List *raw; ///< RawStmt; one, unless the grammar sees it otherwise
};

/// Scans, rewrites and parses all statements. `place` is theirs; the script's is in it.
Growing<Parsed> read_script(Place &place);

void run_script(const char *text);

} // namespace pipeline::dialect
