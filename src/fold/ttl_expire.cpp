// pipelinedb.ttl_expire(): what the fold worker would remove in pieces, at once and in the caller's
// transaction.
#include "fold/expired_partitions.hpp"
#include "fold/expired_rows.hpp"
#include "pg/clock.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"
#include "view/ttl.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace pipeline::fold {
namespace {

int64 drop_partitions(Relation matrel, const view::ContinuousQuery &query)
{
    PartitionRemoval removal{};
    removal.matrel = matrel;
    removal.rule = make_rule(matrel, query.expire_column, query.expire_after);
    removal.cutoff = cutoff_at(removal.rule, pg::now());
    removal.limit = INT_MAX;
    removal.wait = removal.count = true;
    drop_expired_partitions(&removal);
    return removal.rows;
}

int64 remove_all(Relation matrel, const view::ContinuousQuery &query)
{
    if (matrel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
        return drop_partitions(matrel, query);
    Removal removal{};
    removal.matrel = matrel;
    removal.rule = make_rule(matrel, query.expire_column, query.expire_after);
    removal.cutoff = cutoff_at(removal.rule, pg::now());
    removal.snapshot = GetActiveSnapshot();
    removal.limit = PG_INT64_MAX;
    removal.wait = true;
    removal.first = kFirstKey;
    Oid const index = find_time_index(matrel, removal.rule);
    if (OidIsValid(index))
        remove_by_index(&removal, index);
    else
        remove_by_scan(&removal, InvalidBlockNumber);
    CommandCounterIncrement();
    return removal.deleted;
}

/// Nobody else writes the table meanwhile, so a new snapshot shows all there is.
int64 expire(text *name)
{
    spool::require_preload();
    const view::ContinuousQuery *const query =
        view::lock_expiring_view(name, ShareRowExclusiveLock);
    if (query->expire_column == 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("continuous view \"%s\" does not have a TTL", text_to_cstring(name)),
                        errhint("Give it one with pipelinedb.set_ttl().")));
    int64 removed = 0;
    Relation definition = table_open(query->definition, AccessShareLock);
    Relation matrel = table_open(query->matrel, NoLock);
    PushActiveSnapshot(GetLatestSnapshot());
    pg::as_user(matrel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION, [&] {
        int const level = NewGUCNestLevel();
        view::apply_creation_settings(definition);
        removed = remove_all(matrel, *query);
        AtEOXact_GUC(false, level);
    });
    PopActiveSnapshot();
    table_close(matrel, NoLock);
    table_close(definition, NoLock);
    return removed;
}

} // namespace
} // namespace pipeline::fold

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_ttl_expire);

Datum pipeline_ttl_expire(PG_FUNCTION_ARGS)
{
    PreventCommandIfReadOnly("pipelinedb.ttl_expire()");
    PG_RETURN_INT64(pipeline::fold::expire(PG_GETARG_TEXT_PP(0)));
}
}
