// One row of a table of the extension, by the OID that it is about.
//
// Owns: nothing. May call: pg/, view/catalog. Invariant: the row is looked up with a new snapshot.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"

extern "C" {
#include "utils/fmgroids.h"
}

namespace pipeline::view {

/// Calls `fn(tuple)` for the row whose column `column` is `relid`; false if there is none. A NULL
/// snapshot makes systable_beginscan take a new one for a table that is no system catalog
/// (snapmgr.c, GetNonHistoricCatalogSnapshot).
template <typename Fn>
bool with_row(Relation rel, const char *index, AttrNumber column, Oid relid, Fn &&fn)
{
    ScanKeyData key;
    ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
    SysScanDesc scan = systable_beginscan(rel, catalog_relation(index), true, nullptr, 1, &key);
    HeapTuple const tuple = systable_getnext(scan);
    bool const found = HeapTupleIsValid(tuple);
    if (found)
        fn(tuple);
    systable_endscan(scan);
    return found;
}

} // namespace pipeline::view
