// Settings of PipelineDB 1.0 that mean nothing here, so that its configuration files and scripts
// run unchanged.
//
// Owns: the list of them. May call: the server only. Invariants: any value is taken, with a
// WARNING to whoever set it; none has an effect; they are hidden from pg_settings.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::settings {

/// Registers all of them; before the prefix is reserved.
void define_unused();

} // namespace pipeline::settings
