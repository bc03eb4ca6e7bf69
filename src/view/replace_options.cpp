#include "view/replace_options.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/create_view.hpp"
#include "view/output_function.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
}

namespace pipeline::view {
namespace {

void require(bool same, const char *name, const ContinuousQuery *query)
{
    if (!same)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot change option \"%s\" of %s \"%s\"", name, kind_of(query),
                               get_rel_name(query->view)),
                        errhint("Leave it out: what it was stays.")));
}

/// The column of the table that a column of the view shows; 0 if it shows none.
AttrNumber stored_column(const ContinuousQuery *query, const char *name)
{
    AttrNumber const shown = get_attnum(query->view, name);
    for (auto *entry : pg::each<TargetEntry>(stored_query(query->view)->targetList)) {
        Node *expr = reinterpret_cast<Node *>(entry->expr);
        while (IsA(expr, RelabelType))
            expr = reinterpret_cast<Node *>(reinterpret_cast<RelabelType *>(expr)->arg);
        if (!entry->resjunk && entry->resno == shown && IsA(expr, Var))
            return reinterpret_cast<Var *>(expr)->varattno;
    }
    return InvalidAttrNumber;
}

/// Do two stored options name this column and this size?
bool is_stored(const ContinuousQuery *query, const char *column, const char *column_option,
               const Interval *size, const char *size_option)
{
    List *const options = stored_options(query->view);
    const char *const stored_name = option_value(options, column_option);
    const char *const stored_size = option_value(options, size_option);
    if (stored_name == nullptr || stored_size == nullptr)
        return false;
    const Interval *const stored = parse_interval_option(make_option(size_option, stored_size));
    return interval_length(stored) == interval_length(size) &&
           get_attnum(query->matrel, stored_name) == stored_column(query, column);
}

int fillfactor_of(const ContinuousQuery *query, Relation matrel)
{
    const char *const stored =
        option_value(stored_options(query->view), kPartitionFillfactorOption);
    return stored != nullptr ? atoi(stored)
                             : RelationGetFillFactor(matrel, HEAP_DEFAULT_FILLFACTOR);
}

Oid tablespace_of(Relation matrel)
{
    Oid const space = matrel->rd_rel->reltablespace;
    return OidIsValid(space) ? space : MyDatabaseTableSpace;
}

bool is_primary_key(const ContinuousQuery *query, const char *name)
{
    AttrNumber const column = stored_column(query, name);
    return pg::with_relation(query->matrel, AccessShareLock, [column](Relation rel) {
        const Bitmapset *const key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
        return column > 0 && bms_is_member(column - FirstLowInvalidHeapAttributeNumber, key);
    });
}

void check_table(const ViewOptions &options, const ContinuousQuery *query)
{
    pg::with_relation(query->matrel, AccessShareLock, [&](Relation rel) {
        require(options.fillfactor < 0 || options.fillfactor == fillfactor_of(query, rel),
                "fillfactor", query);
        require(options.tablespace == nullptr ||
                    get_tablespace_oid(options.tablespace, false) == tablespace_of(rel),
                "tablespace", query);
    });
    require(options.primary_key == nullptr || is_primary_key(query, options.primary_key), "pk",
            query);
    require(options.ttl == nullptr ||
                is_stored(query, options.ttl_column, kTtlColumnOption, options.ttl, kTtlOption),
            "ttl", query);
    require(options.partition_column == nullptr ||
                is_stored(query, options.partition_column, kPartitionColumnOption,
                          options.partition_size, kPartitionSizeOption),
            "partition_by", query);
}

void check_function(const ViewOptions &options, const ContinuousQuery *query)
{
    OutputFunction const function = parse_output_function(options.output_function);
    require(!OidIsValid(function.function) ||
                (OidIsValid(query->output) && is_called_for_output(function, query->output)),
            "outputfunc", query);
}

} // namespace

void check_same_options(const ViewOptions &options, const ContinuousQuery *query)
{
    if (query->kind == QueryKind::kTransform) {
        check_function(options, query);
        return;
    }
    require(options.output_function == nullptr, "outputfunc", query);
    check_table(options, query);
}

const char *kind_of(const ContinuousQuery *query)
{
    return query->kind == QueryKind::kTransform ? "continuous transform" : "continuous view";
}

} // namespace pipeline::view
