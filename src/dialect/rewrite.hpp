// PipelineDB 0.9's statements become those of 1.0, token by token.
//
// Owns: which statements 0.9 had, and what they are now. May call: pg/. Invariants: nothing is
// looked up or run here, so the same script always becomes the same SQL; what is no statement of
// 0.9's own is copied as it is; errors have positions in the script.
#pragma once

#include "dialect/script.hpp"
#include "dialect/sql_text.hpp"

namespace pipeline::dialect {

/// What the relations must be that a statement changes. The server's own statement would take
/// any foreign table or view.
enum class Target : uint8 { kAny, kStream, kContinuousView, kContinuousTransform };

struct Rewritten {
    const Statement *statement;
    SqlText sql;
    Target target;
};

Rewritten rewrite(const Script &script, const Statement &statement);

} // namespace pipeline::dialect
