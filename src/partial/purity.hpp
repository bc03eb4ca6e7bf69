// Which expressions a writing backend may evaluate for a view's owner.
//
// Owns: that choice. May call: pg/, partial/vector_plan. Invariant: what is allowed here gives the
// same values in every session, but for the time zone, has no side effects, and runs no code of
// users: the server's own functions only.
#pragma once

#include "partial/vector_plan.hpp"

namespace pipeline::partial {

enum class Purity : uint8 {
    kPure,         ///< depends on its arguments only
    kTimeZoneOnly, ///< and on the setting timezone
    kImpure
};

/// Of the query's WHERE, keys and arguments.
Purity purity_of(const VectorPlan *plan);

} // namespace pipeline::partial
