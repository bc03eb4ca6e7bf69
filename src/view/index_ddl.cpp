// CREATE INDEX, VACUUM and ANALYZE of a continuous view go to the table behind it; a unique
// index there must not be one that the view's groups could violate.
#include "view/ddl.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"
#include "view/create_view.hpp"
#include "view/decompose.hpp"
#include "view/reloptions.hpp"

extern "C" {
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
}

namespace pipeline::view {
namespace {

RangeVar *range_of(Oid relid)
{
    return makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid), -1);
}

/// One column of the view, as its stored query computes it from the table.
struct ReadColumn {
    const char *name;
    const char *stored; ///< column of the table; nullptr: computed when the view is read
};

/// The names of the view's columns may have been changed since.
List *columns_of_view(const ContinuousQuery *query)
{
    List *columns = NIL;
    pg::with_relation(query->view, AccessShareLock, [&](Relation rel) {
        for (auto *entry : pg::each<TargetEntry>(stored_query(query->view)->targetList)) {
            Node *expr = reinterpret_cast<Node *>(entry->expr);
            while (IsA(expr, RelabelType))
                expr = reinterpret_cast<Node *>(reinterpret_cast<RelabelType *>(expr)->arg);
            auto *column = static_cast<ReadColumn *>(palloc(sizeof(ReadColumn)));
            Form_pg_attribute const attr = TupleDescAttr(RelationGetDescr(rel), entry->resno - 1);
            column->name = pstrdup(NameStr(attr->attname));
            column->stored =
                IsA(expr, Var)
                    ? get_attname(query->matrel, reinterpret_cast<Var *>(expr)->varattno, false)
                    : nullptr;
            columns = lappend(columns, column);
        }
    });
    return columns;
}

struct Mapping {
    const char *view; ///< its name
    List *columns;    ///< ReadColumn *
    bool is_window;
};

[[noreturn]] void refuse_computed(const Mapping &mapping, const char *name)
{
    if (mapping.is_window)
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("sliding-window aggregate columns cannot be indexed"),
                 errdetail("Column \"%s\" of continuous view \"%s\" is computed from the steps "
                           "in the window when the view is read.",
                           name, mapping.view),
                 errhint("Index the columns by which the view groups.")));
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("column \"%s\" of continuous view \"%s\" is not stored", name, mapping.view),
             errdetail("It is computed when the view is read."),
             errhint("Keys are stored, and so is the result of many aggregates: count, min "
                     "and max always, sum of most types.")));
    pg_unreachable();
}

char *stored_name(const Mapping &mapping, const char *name)
{
    for (auto *column : pg::each<ReadColumn>(mapping.columns)) {
        if (strcmp(column->name, name) != 0)
            continue;
        if (column->stored == nullptr)
            refuse_computed(mapping, name);
        return pstrdup(column->stored);
    }
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_COLUMN),
             errmsg("column \"%s\" of continuous view \"%s\" does not exist", name, mapping.view)));
    pg_unreachable();
}

/// Names of columns, also qualified by the view's name, become those of the table.
extern "C" bool pipeline_map_column_refs(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    if (!IsA(node, ColumnRef))
        return pg::walk_raw_expression(node, pipeline_map_column_refs, context);
    auto *reference = reinterpret_cast<ColumnRef *>(node);
    const Mapping &mapping = *static_cast<const Mapping *>(context);
    Node *const last = static_cast<Node *>(llast(reference->fields));
    int const length = list_length(reference->fields);
    bool const is_ours =
        length == 1 || strcmp(strVal(list_nth(reference->fields, length - 2)), mapping.view) == 0;
    if (IsA(last, String) && is_ours)
        reference->fields = list_make1(makeString(stored_name(mapping, strVal(last))));
    return false;
}

void map_elements(List *elements, Mapping *mapping)
{
    for (auto *element : pg::each<IndexElem>(elements)) {
        if (element->name != nullptr)
            element->name = stored_name(*mapping, element->name);
        pipeline_map_column_refs(element->expr, mapping);
    }
}

bool is_window(const ContinuousQuery *query)
{
    return option_value(stored_options(query->view), kWindowOption) != nullptr;
}

Mapping mapping_of(const ContinuousQuery *query)
{
    return {get_rel_name(query->view), columns_of_view(query), is_window(query)};
}

void redirect_index(IndexStmt *statement, const ContinuousQuery *query)
{
    if (!pg::owns_relation(query->view, GetUserId()))
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(query->view));
    Mapping mapping = mapping_of(query);
    map_elements(statement->indexParams, &mapping);
    map_elements(statement->indexIncludingParams, &mapping);
    pipeline_map_column_refs(statement->whereClause, &mapping);
    statement->relation = range_of(query->matrel);
}

[[noreturn]] void refuse_unique(const ContinuousQuery *query)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot make other columns than the groups unique in \"%s\"",
                           get_rel_name(query->matrel)),
                    errdetail("A new group that violates it would stop continuous view \"%s\".",
                              get_rel_name(query->view)),
                    is_window(query) ? errhint("Leave out UNIQUE.")
                                     : errhint("Leave out UNIQUE, or name all grouping columns, "
                                               "each by its name alone.")));
    pg_unreachable();
}

List *element_names(List *elements)
{
    List *names = NIL;
    for (auto *element : pg::each<IndexElem>(elements))
        if (element->name != nullptr && element->collation == NIL && element->opclass == NIL)
            names = lappend(names, makeString(element->name));
    return names;
}

bool is_named(List *names, const char *name)
{
    for (auto *candidate : pg::each<Node>(names))
        if (strcmp(strVal(candidate), name) == 0)
            return true;
    return false;
}

const ContinuousQuery *query_named(RangeVar *name)
{
    Oid const relid = name != nullptr ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
    return OidIsValid(relid) ? find_query(relid) : nullptr;
}

bool is_view(const ContinuousQuery *query, RangeVar *name)
{
    return query != nullptr && query->view == RangeVarGetRelid(name, NoLock, true);
}

List *map_names(List *names, const Mapping &mapping)
{
    List *mapped = NIL;
    for (auto *name : pg::each<Node>(names))
        mapped = lappend(mapped, makeString(stored_name(mapping, strVal(name))));
    return mapped;
}

} // namespace

/// Groups are unique by their keys, so they are by any columns that contain the keys. Without
/// keys there is a single row, or of an append view any number.
void check_unique(const ContinuousQuery *query, List *names)
{
    Decomposition const parts = columns_of_definition(stored_query(query->definition));
    if (parts.append)
        refuse_unique(query);
    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        if (column->is_key && !is_named(names, column->name))
            refuse_unique(query);
}

void handle_create_index(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<IndexStmt *>(call.statement->utilityStmt);
    const ContinuousQuery *const query = query_named(statement->relation);
    if (is_view(query, statement->relation)) {
        statement = pg::own_tree<IndexStmt>(call);
        redirect_index(statement, query);
    }
    if (query != nullptr && statement->unique)
        check_unique(query, element_names(statement->indexParams));
    next(call);
}

/// The server skips views with a warning.
void handle_vacuum(pg::UtilityCall &call, pg::UtilityNext next)
{
    auto *statement = reinterpret_cast<VacuumStmt *>(call.statement->utilityStmt);
    for (int i = 0; i < list_length(statement->rels); i++) {
        auto *target = static_cast<VacuumRelation *>(list_nth(statement->rels, i));
        const ContinuousQuery *const query = query_named(target->relation);
        if (!is_view(query, target->relation))
            continue;
        statement = pg::own_tree<VacuumStmt>(call);
        target = static_cast<VacuumRelation *>(list_nth(statement->rels, i));
        target->relation = range_of(query->matrel);
        target->va_cols = map_names(target->va_cols, mapping_of(query));
    }
    next(call);
}

} // namespace pipeline::view
