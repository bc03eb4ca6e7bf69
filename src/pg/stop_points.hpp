// Stop points: named places where a test can wait, fail or crash.
//
// pipelinedb.stop_points (superuser) = 'name:action, name:action':
//   wait   takes and releases the shared advisory lock (kStopPointClass, hashtext(name)):
//          a test that holds it exclusively holds the process here, interruptibly
//   error  raises ERRCODE_INTERNAL_ERROR
//   crash  ends the process as kill -9 would, once: the file pipelinedb_stop_<name> in the
//          data directory marks that it happened; remove the file to arm it again
// Costs one pointer test when the setting is empty.
#pragma once

#include "pg/postgres.hpp"
#include "pg/settings.hpp"

namespace pipeline::pg {

inline constexpr uint32 kStopPointClass = 0x50495045; ///< "PIPE"

void stop_point_reached(const char *name);

/// The setting's check hook: refuses what is not a list of name:action.
bool check_stop_points(char **value, void **extra, GucSource source);

inline void stop_point(const char *name)
{
    if (unlikely(settings::stop_points != nullptr && settings::stop_points[0] != '\0'))
        stop_point_reached(name);
}

} // namespace pipeline::pg
