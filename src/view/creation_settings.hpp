// The settings that give a query's text its meaning, as they were at CREATE VIEW.
//
// Owns: the list of their names. May call: pg/. Invariant: a definition's reloptions can be
// written by its owner, so only names on this list are ever applied.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

/// True for a name on the list.
bool is_creation_setting(const char *name);

/// Their present values, as a List of DefElem with string values.
List *current_creation_settings();

} // namespace pipeline::view
