// The options of a statement that replaces a continuous query.
//
// Owns: nothing. May call: pg/, the other files of view/. Invariant: an option is left out, or says
// what is so already: what it stands for is changed in the table or by a function of its own. The
// window is a part of the query (view/merge_parts).
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"
#include "view/view_options.hpp"

namespace pipeline::view {

/// Raises an error for an option that says something else than what is.
void check_same_options(const ViewOptions &options, const ContinuousQuery *query);

/// "continuous view" or "continuous transform"
const char *kind_of(const ContinuousQuery *query);

} // namespace pipeline::view
