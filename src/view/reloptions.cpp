#include "view/reloptions.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/creation_settings.hpp"

extern "C" {
#include "access/reloptions.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
}

namespace pipeline::view {

namespace {
constexpr const char *kOwn[] = {
    kActionOption,          kDefinitionOption,    kWindowOption,
    kWindowColumnOption,    kTtlOption,           kTtlColumnOption,
    kPartitionColumnOption, kPartitionSizeOption, kPartitionFillfactorOption};
}

const char *option_value(List *options, const char *name)
{
    for (auto *option : pg::each<DefElem>(options))
        if (option->defnamespace == nullptr && strcmp(option->defname, name) == 0)
            return defGetString(option);
    return nullptr;
}

bool is_own_option(const DefElem *option)
{
    if (option->defnamespace != nullptr)
        return false;
    for (const char *name : kOwn)
        if (strcmp(option->defname, name) == 0)
            return true;
    return is_creation_setting(option->defname);
}

SplitOptions split_options(List *options)
{
    SplitOptions split{NIL, NIL};
    for (auto *option : pg::each<DefElem>(options)) {
        List *&part = is_own_option(option) ? split.own : split.others;
        part = lappend(part, option);
    }
    return split;
}

List *stored_options(Oid relid)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
    if (!HeapTupleIsValid(tuple))
        return NIL;
    bool isnull;
    Datum const stored = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
    List *const options = isnull ? NIL : untransformRelOptions(stored);
    ReleaseSysCache(tuple);
    return options;
}

void store_options(Oid relid, List *options)
{
    Datum const array = transformRelOptions(Datum(0), options, nullptr, nullptr, false, false);
    pg::with_relation(RelationRelationId, RowExclusiveLock, [&](Relation catalog) {
        HeapTuple const tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
        if (!HeapTupleIsValid(tuple))
            elog(ERROR, "cache lookup failed for relation %u", relid);
        Datum values[Natts_pg_class] = {};
        bool nulls[Natts_pg_class] = {};
        bool replace[Natts_pg_class] = {};
        values[Anum_pg_class_reloptions - 1] = array;
        nulls[Anum_pg_class_reloptions - 1] = array == Datum(0);
        replace[Anum_pg_class_reloptions - 1] = true;
        HeapTuple const changed =
            heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replace);
        CatalogTupleUpdate(catalog, &changed->t_self, changed);
    });
    CommandCounterIncrement();
}

DefElem *make_option(const char *name, const char *value)
{
    Node *const string = reinterpret_cast<Node *>(makeString(pstrdup(value)));
    return makeDefElem(pstrdup(name), string, -1);
}

} // namespace pipeline::view
