#include "view/partition.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/matrel.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "partitioning/partdefs.h"
#include "storage/lmgr.h"
#include "utils/partcache.h"
}

namespace pipeline::view {
namespace {

RangeVar *range_of(Oid relid)
{
    return makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid), -1);
}

[[noreturn]] void refuse_column(const char *detail)
{
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("partition_by must refer to a timestamp or timestamptz column"),
                    errdetail("%s", detail), errhint("Use a column that the query groups by.")));
    pg_unreachable();
}

bool is_time(Oid type)
{
    return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

List *one_range(Oid type, int64 bound)
{
    A_Const *const text = makeNode(A_Const);
    text->val.sval.type = T_String;
    text->val.sval.sval = partition_bound(type, bound);
    text->location = -1;
    return list_make1(text);
}

// ---- a partition -----------------------------------------------------------------------

/// Columns, NOT NULL, CHECK, storage and compression as the partitioned table has them.
void create_table(RangeVar *name, Oid matrel, int fillfactor)
{
    TableLikeClause *const like = makeNode(TableLikeClause);
    like->relation = range_of(matrel);
    like->options =
        CREATE_TABLE_LIKE_CONSTRAINTS | CREATE_TABLE_LIKE_STORAGE | CREATE_TABLE_LIKE_COMPRESSION;
    CreateStmt *const statement = makeNode(CreateStmt);
    statement->relation = name;
    statement->tableElts = list_make1(like);
    statement->options = list_make1(
        makeDefElem(pstrdup("fillfactor"), reinterpret_cast<Node *>(makeInteger(fillfactor)), -1));
    statement->oncommit = ONCOMMIT_NOOP;
    statement->accessMethod = pstrdup("heap");
    if (Oid const tablespace = get_rel_tablespace(matrel); OidIsValid(tablespace))
        statement->tablespacename = get_tablespace_name(tablespace);
    run_subcommand(statement);
}

/// Takes a lock on the partitioned table that lets readers pass. Missing indexes are made with it.
void attach(RangeVar *name, Oid matrel, Oid type, const PartitionRange &range)
{
    PartitionBoundSpec *const bound = makeNode(PartitionBoundSpec);
    bound->strategy = PARTITION_STRATEGY_RANGE;
    bound->lowerdatums = one_range(type, range.from);
    bound->upperdatums = one_range(type, range.to);
    bound->location = -1;
    PartitionCmd *const partition = makeNode(PartitionCmd);
    partition->name = name;
    partition->bound = bound;
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_AttachPartition;
    command->def = reinterpret_cast<Node *>(partition);
    alter_table(range_of(matrel), command);
}

bool has_same_columns(Oid one, Oid other)
{
    return pg::with_relation(one, NoLock, [other](Relation left) {
        return pg::with_relation(other, NoLock, [left](Relation right) {
            TupleDesc const a = RelationGetDescr(left);
            TupleDesc const b = RelationGetDescr(right);
            bool same = a->natts == b->natts;
            for (int i = 0; same && i < a->natts; i++) {
                Form_pg_attribute const x = TupleDescAttr(a, i);
                Form_pg_attribute const y = TupleDescAttr(b, i);
                same = strcmp(NameStr(x->attname), NameStr(y->attname)) == 0 &&
                       x->attisdropped == y->attisdropped && x->attgenerated == y->attgenerated;
            }
            return same;
        });
    });
}

} // namespace

AttrNumber partition_column(const ViewOptions &options, const Decomposition &parts, Query *query)
{
    if (options.partition_column == nullptr)
        return InvalidAttrNumber;
    if (parts.window != nullptr)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("the table of a sliding window cannot be partitioned"),
                        errhint("Use ttl = ... instead of a window, or leave out partition_by.")));
    FoundColumn const found = find_output_column(parts, query, options.partition_column);
    if (found.attno == InvalidAttrNumber)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" does not exist", options.partition_column),
                        errhint("partition_by is a column of the view.")));
    if (found.column == nullptr)
        refuse_column("The column is computed when the view is read.");
    if (!is_time(found.column->type))
        refuse_column("The column is of another type.");
    if (!parts.append && !found.column->is_key)
        refuse_column("The column is an aggregate: a group would move between partitions.");
    if (parts.total_row)
        refuse_column("The query has a group without a time.");
    check_partition_size(found.column->type, options.partition_size);
    return found.attno;
}

List *partition_options(const ViewOptions &options, const Decomposition &parts, AttrNumber column,
                        int fillfactor)
{
    if (column == InvalidAttrNumber)
        return NIL;
    auto *const stored = static_cast<MatrelColumn *>(list_nth(parts.columns, column - 1));
    return list_make3(make_option(kPartitionColumnOption, stored->name),
                      make_option(kPartitionSizeOption, interval_text(options.partition_size)),
                      make_option(kPartitionFillfactorOption, psprintf("%d", fillfactor)));
}

List *kept_partition_options(List *options)
{
    List *result = NIL;
    constexpr const char *kNames[] = {kPartitionColumnOption, kPartitionSizeOption,
                                      kPartitionFillfactorOption};
    for (const char *name : kNames)
        if (const char *const value = option_value(options, name); value != nullptr)
            result = lappend(result, make_option(name, value));
    return result;
}

Partitioning partitioning_of(Oid view, Relation matrel)
{
    List *const options = stored_options(view);
    const char *const size = option_value(options, kPartitionSizeOption);
    const char *const fillfactor = option_value(options, kPartitionFillfactorOption);
    PartitionKey const key = RelationGetPartitionKey(matrel);
    Oid const type = key->partnatts == 1 ? key->parttypid[0] : InvalidOid;
    if (size == nullptr || key->strategy != PARTITION_STRATEGY_RANGE || !is_time(type) ||
        key->partattrs[0] == 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                        errmsg("table \"%s\" is not partitioned as its continuous view is",
                               RelationGetRelationName(matrel)),
                        errhint("Restore the table, the definition and the view from one dump.")));
    const Interval *const interval = parse_interval_option(make_option(kPartitionSizeOption, size));
    check_partition_size(type, interval);
    return {key->partattrs[0], type, interval,
            fillfactor != nullptr ? pg_strtoint32(fillfactor) : 100};
}

void create_partition(Oid matrel, const Partitioning &partitioning, const PartitionRange &range)
{
    Oid const schema = get_rel_namespace(matrel);
    char *const name =
        ChooseRelationName(get_rel_name(matrel), nullptr,
                           partition_label(partitioning.type, range.from), schema, false);
    RangeVar *const table = makeRangeVar(get_namespace_name(schema), name, -1);
    create_table(table, matrel, partitioning.fillfactor);
    attach(table, matrel, partitioning.type, range);
    finish_attached(matrel, get_relname_relid(name, schema));
}

/// Rows are written below the executor, which would convert them.
void check_attached(Oid matrel, Oid partition)
{
    LockRelationOid(partition, AccessExclusiveLock);
    pg::with_relation(partition, NoLock, [matrel](Relation rel) {
        Form_pg_class const form = rel->rd_rel;
        if (form->relkind != RELKIND_RELATION || form->relam != HEAP_TABLE_AM_OID ||
            form->relpersistence != RELPERSISTENCE_PERMANENT)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("\"%s\" is not an ordinary table", RelationGetRelationName(rel)),
                            errhint("Partitions of a continuous view are ordinary tables.")));
        if (form->relowner != pg::relation_owner(matrel))
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("table \"%s\" does not belong to the owner of the view",
                                   RelationGetRelationName(rel)),
                            errhint("Change its owner first.")));
        if (!has_same_columns(matrel, RelationGetRelid(rel)))
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                     errmsg("table \"%s\" does not have the columns of the view's table, in their "
                            "order",
                            RelationGetRelationName(rel)),
                     errhint("Create it by CREATE TABLE ... (LIKE %s).", get_rel_name(matrel))));
    });
}

/// While a dump is restored, guard and identity come with it.
void finish_attached(Oid matrel, Oid partition)
{
    auto const is_guarded = [](Oid relid) {
        return pg::with_relation(relid, AccessShareLock,
                                 [](Relation rel) { return has_guard(rel); });
    };
    if (!is_guarded(matrel) || is_guarded(partition))
        return;
    protect_table(range_of(partition));
}

List *tables_of(Oid matrel, LOCKMODE lockmode)
{
    if (get_rel_relkind(matrel) != RELKIND_PARTITIONED_TABLE)
        return list_make1_oid(matrel);
    return find_inheritance_children(matrel, lockmode);
}

} // namespace pipeline::view
