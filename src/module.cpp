#include "pg/postgres.hpp"

#include "pg/settings.hpp"
#include "pg/utility_hook.hpp"
#include "spool/gauge.hpp"
#include "spool/generations.hpp"
#include "spool/own_writes.hpp"
#include "spool/rendezvous.hpp"
#include "spool/targets.hpp"
#include "supervise/database_ddl.hpp"
#include "supervise/launcher.hpp"
#include "view/view.hpp"

extern "C" {

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init();

/// Loaded too late, that is, by the first use of a function in a session, the library has no
/// shared memory and no launcher; then every feature says what to set (require_preload).
void _PG_init()
{
    using namespace pipeline;

    settings::define_all();
    if (process_shared_preload_libraries_in_progress) {
        spool::install_rendezvous();
        spool::install_gauges();
        spool::install_own_writes();
        spool::install_generations();
        spool::install_targets();
        supervise::install_database_ddl();
        supervise::register_launcher();
    }
    view::install_hooks();
    pg::install_utility_hook();
}
}
