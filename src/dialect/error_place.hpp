// Errors of a script say where in it they arose.
//
// Owns: the error context while a script is scanned, rewritten and run. May call: pg/. Invariants:
// nothing here raises an error; whatever runs inside a scope has its text either in the script or
// in the statement that is named.
#pragma once

#include "dialect/rewrite.hpp"

extern "C" {
#include "utils/portal.h"
}

namespace pipeline::dialect {

/// What is being done, for the error context.
struct Place {
    const char *script;
    Portal caller;            ///< the client's statement, whose text contains the script
    const Script *scanned;    ///< nullptr while it is scanned
    const Rewritten *running; ///< nullptr unless the text that is parsed or run is its SQL
    const Statement *statement;
};

Place begin_script(const char *script);

/// For ErrorContextCallback.
void describe_place(void *place);

/// Runs `fn` with the place as error context.
template <typename Fn> void with_place(Place &place, Fn &&fn)
{
    ErrorContextCallback frame;
    frame.callback = describe_place;
    frame.arg = &place;
    frame.previous = error_context_stack;
    error_context_stack = &frame;
    fn();
    error_context_stack = frame.previous;
}

} // namespace pipeline::dialect
