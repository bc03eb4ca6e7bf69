// Splits a continuous query in two: what the fold worker computes (keys and bare aggregates)
// and what a reader computes from the stored columns.
//
// Owns: the columns of a matrel. May call: pg/, view/state_form. Invariant: columns are keys in
// GROUP BY order, then one per distinct aggregate; the definition's target list is the same
// list in the same order.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_form.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

struct MatrelColumn {
    char *name;
    Expr *expr; ///< over the stream: a key's expression or an Aggref
    Node *flat; ///< the same without columns of joins, to compare with
    Index key;  ///< the key's ressortgroupref, 0 for an aggregate
    Oid type;
    int32 typmod;
    Oid collation;
    StateForm form; ///< of an aggregate
};

struct Decomposition {
    List *columns; ///< of MatrelColumn *
    int num_keys;
};

/// `query` has passed check_query, its visible columns have the view's names.
Decomposition decompose(Query *query);

/// What a stored definition says its matrel must look like: the columns of its target list.
/// Raises an error if some entry is neither a key nor a bare aggregate.
Decomposition columns_of_definition(Query *definition);

/// The query of the hidden definition.
Query *definition_query(Query *query, const Decomposition &parts);

/// The query of the view that users read: the same columns, types, typmods and collations,
/// over `matrel`.
Query *reading_query(Query *query, const Decomposition &parts, Oid matrel);

} // namespace pipeline::view
