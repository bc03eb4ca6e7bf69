#include "pg/unused_settings.hpp"

extern "C" {
#include "access/parallel.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/guc.h"
}

#include <cstddef>
#include <iterator>
#include <utility>

namespace pipeline::settings {
namespace {

struct Unused {
    const char *name;
    const char *instead; ///< what to use; nullptr = nothing is needed
};

constexpr Unused kUnused[] = {
    {"pipelinedb.num_combiners", nullptr},
    {"pipelinedb.num_queues", nullptr},
    {"pipelinedb.num_reapers", nullptr},
    {"pipelinedb.batch_size", "pipelinedb.fold_batch"},
    {"pipelinedb.batch_mem", "pipelinedb.fold_batch"},
    {"pipelinedb.max_wait", "pipelinedb.fold_interval"},
    {"pipelinedb.commit_interval", "pipelinedb.fold_interval"},
    {"pipelinedb.combiner_work_mem", nullptr},
    {"pipelinedb.queue_mem", "pipelinedb.max_spool_size"},
    {"pipelinedb.ipc_hwm", nullptr},
    {"pipelinedb.index_fillfactor", nullptr},
    {"pipelinedb.log_partitions", nullptr},
    {"pipelinedb.anonymous_update_checks", nullptr},
    {"pipelinedb.continuous_queries_enabled", "pipelinedb.deactivate()"},
    {"pipelinedb.ttl_expiration_threshold", nullptr},
};

constexpr std::size_t kCount = std::size(kUnused);

constinit char *values[kCount] = {};

/// Each process evaluates the configuration files again at a reload (guc-file.l,
/// ProcessConfigFile), and settings of databases and roles at its start: one line, of the
/// postmaster, is enough. ALTER SYSTEM validates with the source of a file, too; only then a
/// statement is running.
bool is_worth_a_warning(GucSource source)
{
    if (InitializingParallelWorker) // takes over the leader's settings
        return false;
    if (source >= PGC_S_CLIENT && source != PGC_S_OVERRIDE)
        return true;
    return source > PGC_S_DYNAMIC_DEFAULT && source <= PGC_S_ARGV &&
           (!IsUnderPostmaster || ActivePortal != nullptr);
}

template <std::size_t I> bool check(char **, void **, GucSource source)
{
    if (is_worth_a_warning(source))
        ereport(WARNING, (errmsg("setting \"%s\" has no effect in pipeline_ext", kUnused[I].name),
                          kUnused[I].instead != nullptr
                              ? errhint("Use %s, or leave it out.", kUnused[I].instead)
                              : errhint("Leave it out.")));
    return true;
}

template <std::size_t I> void define()
{
    DefineCustomStringVariable(kUnused[I].name, "Is accepted for PipelineDB, without an effect.",
                               nullptr, &values[I], "", PGC_USERSET,
                               GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, check<I>, nullptr, nullptr);
}

template <std::size_t... I> void define_each(std::index_sequence<I...>)
{
    (define<I>(), ...);
}

} // namespace

void define_unused()
{
    define_each(std::make_index_sequence<kCount>());
}

} // namespace pipeline::settings
