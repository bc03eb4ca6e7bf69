#include "fold/partition_writer.hpp"

#include "fold/append_writer.hpp"
#include "fold/group_writer.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/matrel.hpp"
#include "view/partition.hpp"

extern "C" {
#include "catalog/pg_am.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/partcache.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// Their batches share the memory that one has otherwise.
constexpr int kMostOpen = 8;

/// More are made in further turns: each takes several locks to the end of the transaction.
constexpr int kMostMissing = 64;

/// A partition that is open. Until its writer is closed its rows may be in memory.
struct OpenPartition {
    Oid relid;
    Relation rel;
    GroupWriter *groups;
    AppendWriter *rows;
    uint64 used; ///< when
};

} // namespace

struct PartitionWriter {
    FoldedView *view;
    Relation matrel;
    Emission *emission;
    bool write;
    MemoryContext context;
    view::Partitioning partitioning;
    PartitionKey key;
    PartitionDesc partitions;
    OpenPartition open[kMostOpen];
    int nopen;
    OpenPartition *last; ///< that a row went to ...
    int last_index;      ///< ... and its number
    uint64 uses;
};

namespace {

[[noreturn]] void refuse_null(const PartitionWriter *writer)
{
    Form_pg_attribute const column =
        TupleDescAttr(RelationGetDescr(writer->matrel), writer->partitioning.column - 1);
    ereport(ERROR,
            (errcode(ERRCODE_NOT_NULL_VIOLATION),
             errmsg("null value received for partition column \"%s\"", NameStr(column->attname)),
             errhint("Leave such rows out by WHERE, or use coalesce().")));
    pg_unreachable();
}

// ---- which partition ---------------------------------------------------------------------

/// Of the bound that is not above `value`; -1 = all are.
int bound_below(const PartitionWriter *writer, Datum value)
{
    bool equal;
    return partition_range_datum_bsearch(writer->key->partsupfunc, writer->key->partcollation,
                                         writer->partitions->boundinfo, 1, &value, &equal);
}

/// The number of the partition that takes `value`; -1 = there is none.
int partition_for(const PartitionWriter *writer, Datum value)
{
    PartitionBoundInfo const bounds = writer->partitions->boundinfo;
    if (writer->partitions->nparts == 0)
        return -1;
    int const index = bounds->indexes[bound_below(writer, value) + 1];
    return index >= 0 ? index : bounds->default_index;
}

bool bound_number(const PartitionWriter *writer, int bound, int64 *number)
{
    PartitionBoundInfo const bounds = writer->partitions->boundinfo;
    if (writer->partitions->nparts == 0 || bound < 0 || bound >= bounds->ndatums ||
        bounds->kind[bound][0] != PARTITION_RANGE_DATUM_VALUE)
        return false;
    return view::partition_number(writer->partitioning.type, bounds->datums[bound][0], number);
}

/// Partitions that the owner has attached may have other bounds: the new one goes between them.
view::PartitionRange free_range(const PartitionWriter *writer, Datum value, int64 number)
{
    view::PartitionRange range =
        view::partition_range(writer->partitioning.type, writer->partitioning.size, number);
    if (writer->partitions->nparts == 0)
        return range;
    int const below = bound_below(writer, value);
    int64 bound;
    if (bound_number(writer, below, &bound))
        range.from = std::max(range.from, bound);
    if (bound_number(writer, below + 1, &bound))
        range.to = std::min(range.to, bound);
    return range;
}

void note_missing(PartitionWriter *writer, Datum value)
{
    int64 number;
    if (!view::partition_number(writer->partitioning.type, value, &number))
        ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
                        errmsg("infinite time received for partition column \"%s\"",
                               NameStr(TupleDescAttr(RelationGetDescr(writer->matrel),
                                                     writer->partitioning.column - 1)
                                           ->attname)),
                        errhint("Leave such rows out by WHERE.")));
    FoldedView *const view = writer->view;
    for (auto *known : pg::each<view::PartitionRange>(view->missing))
        if (known->from <= number && number < known->to)
            return;
    if (list_length(view->missing) >= kMostMissing)
        return;
    view::PartitionRange const range = free_range(writer, value, number);
    pg::in_context(view->missing_context, [&] {
        auto *const missing =
            static_cast<view::PartitionRange *>(palloc(sizeof(view::PartitionRange)));
        *missing = range;
        view->missing = lappend(view->missing, missing);
    });
}

// ---- open partitions ------------------------------------------------------------------------

void close_one(OpenPartition *partition)
{
    if (partition->rows != nullptr)
        close_append(partition->rows);
    else
        close_groups(partition->groups);
    table_close(partition->rel, NoLock);
}

Relation open_table(Oid relid)
{
    if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("a partition is locked by another session")));
    Relation rel = table_open(relid, NoLock);
    if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("unsupported access method for relation \"%s\"",
                               RelationGetRelationName(rel)),
                        errhint("Rows can be written to partitions that are ordinary tables.")));
    return rel;
}

OpenPartition open_one(PartitionWriter *writer, Oid relid)
{
    OpenPartition partition{};
    ViewMachine *const machine = writer->view->machine;
    partition.relid = relid;
    partition.rel = open_table(relid);
    if (machine->append)
        partition.rows = open_append(partition.rel, machine, writer->emission, writer->write);
    else
        partition.groups =
            open_groups(partition.rel, machine, writer->emission, writer->write, kMostOpen);
    if (partition.rows == nullptr && partition.groups == nullptr)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("partition \"%s\" has no %s", RelationGetRelationName(partition.rel),
                               machine->append ? "guard trigger" : "index over the groups"),
                        errhint("Rows wait until it is back.")));
    return partition;
}

OpenPartition *opened(PartitionWriter *writer, Oid relid)
{
    OpenPartition *oldest = &writer->open[0];
    for (int i = 0; i < writer->nopen; i++) {
        if (writer->open[i].relid == relid)
            return &writer->open[i];
        if (writer->open[i].used < oldest->used)
            oldest = &writer->open[i];
    }
    OpenPartition *const place = writer->nopen < kMostOpen ? &writer->open[writer->nopen] : oldest;
    pg::in_context(writer->context, [&] {
        if (writer->nopen == kMostOpen)
            close_one(place);
        else
            writer->nopen++;
        *place = {};
        *place = open_one(writer, relid);
    });
    return place;
}

} // namespace

PartitionWriter *open_partitions(Relation matrel, FoldedView *view, Emission *emission, bool write)
{
    if (!view::has_guard(matrel))
        return nullptr;
    auto *writer = static_cast<PartitionWriter *>(palloc0(sizeof(PartitionWriter)));
    writer->view = view;
    writer->matrel = matrel;
    writer->emission = emission;
    writer->write = write;
    writer->context = CurrentMemoryContext;
    writer->partitioning = view::partitioning_of(view->query.view, matrel);
    writer->key = RelationGetPartitionKey(matrel);
    writer->partitions = RelationGetPartitionDesc(matrel, true);
    writer->last_index = -1;
    return writer;
}

void route_row(TupleTableSlot *row, void *arg)
{
    auto *const writer = static_cast<PartitionWriter *>(arg);
    bool isnull;
    Datum const value = slot_getattr(row, writer->partitioning.column, &isnull);
    if (isnull)
        refuse_null(writer);
    int const index = partition_for(writer, value);
    if (index < 0) {
        note_missing(writer, value);
        return;
    }
    if (index != writer->last_index) {
        writer->last = opened(writer, writer->partitions->oids[index]);
        writer->last_index = index;
    }
    writer->last->used = ++writer->uses;
    if (writer->last->rows != nullptr)
        append_row(row, writer->last->rows);
    else
        write_group(row, writer->last->groups);
}

void close_partitions(PartitionWriter *writer)
{
    if (writer->view->missing != NIL)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("partitions of table \"%s\" are missing",
                               RelationGetRelationName(writer->matrel))));
    for (int i = 0; i < writer->nopen; i++)
        close_one(&writer->open[i]);
}

/// Bounds do not depend on settings, names on nobody's search_path.
void create_missing_partitions(FoldedView *view)
{
    Oid const matrel = view->query.matrel;
    if (!ConditionalLockRelationOid(matrel, ShareUpdateExclusiveLock))
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("the table of the view is locked by another session")));
    view::Partitioning const partitioning = pg::with_relation(matrel, NoLock, [view](Relation rel) {
        return view::partitioning_of(view->query.view, rel);
    });
    pg::as_user(pg::relation_owner(matrel), SECURITY_RESTRICTED_OPERATION, [&] {
        int const level = NewGUCNestLevel();
        (void) set_config_option("lock_timeout", "100ms", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                                 true, 0, false);
        for (auto *range : pg::each<view::PartitionRange>(view->missing))
            view::create_partition(matrel, partitioning, *range);
        AtEOXact_GUC(false, level);
    });
}

} // namespace pipeline::fold
