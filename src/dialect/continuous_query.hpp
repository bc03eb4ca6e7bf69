// CREATE CONTINUOUS VIEW and CREATE CONTINUOUS TRANSFORM become CREATE VIEW ... WITH (action=...).
//
// Owns: the options of 0.9, and THEN EXECUTE PROCEDURE. May call: pg/. Invariant: the cursor
// stands behind the words that name the statement.
#pragma once

#include "dialect/edit.hpp"

namespace pipeline::dialect {

void rewrite_continuous_view(Edit &edit);
void rewrite_continuous_transform(Edit &edit);

} // namespace pipeline::dialect
