// Splits a continuous query in two: what the fold worker computes (keys and bare aggregates),
// and what a reader computes from the stored columns (view/reading).
//
// Owns: the columns of a matrel. May call: pg/, view/state_form, view/grouping, view/window.
// Invariant: columns are keys in GROUP BY order, the masks of grouping sets, then one per distinct
// aggregate (where rows are stored: keys in DISTINCT ON order, the rest of the select list, and
// what ORDER BY needs); the definition's target list is the same in the same order.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_form.hpp"
#include "view/window.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

struct MatrelColumn {
    char *name;
    Expr *expr;       ///< over the stream: a key's expression, a GroupingFunc or an Aggref
    Node *flat;       ///< the same without columns of joins, to compare with
    Index key;        ///< the key's ressortgroupref, 0 for all others
    AttrNumber entry; ///< where rows are stored: the entry of the query's target list that it holds
    bool is_shown;    ///< the view has it as a column
    bool is_key;      ///< part of what tells groups apart: a key or a mask of grouping sets
    Oid type;
    int32 typmod;
    Oid collation;
    StateForm form; ///< of an aggregate
};

struct Decomposition {
    List *columns;          ///< of MatrelColumn *
    int num_keys;           ///< masks included
    bool append;            ///< one row per row of the stream
    bool first_row;         ///< one row of the stream per key
    bool total_row;         ///< there is a row before the first one of the stream
    const Interval *window; ///< readers combine what is not older; nullptr = no window
    AttrNumber time_column; ///< of a window: its step, or of an append view the time itself
};

/// `query` has passed check_query, its visible columns have the view's names.
Decomposition decompose(Query *query, const Window &window);

/// What a stored definition says its matrel must look like: the columns of its target list.
/// Raises an error if some entry is neither a key nor a bare aggregate. `by_step`: it is of a
/// window that groups, whose first key is the step.
Decomposition columns_of_definition(Query *definition, bool by_step = false);

/// The query of the hidden definition.
Query *definition_query(Query *query, const Decomposition &parts);

/// The column and its number, 0 if there is none.
struct FoundColumn {
    MatrelColumn *column;
    AttrNumber attno;
};

/// The column that holds `node`, an expression of `query` that may name columns of joins.
FoundColumn find_column(const Decomposition &parts, Query *query, Node *node);

/// The column that holds what the view shows as `name`; without a column and with number 0 if the
/// view has none of that name, with kComputed if it is computed when the view is read.
inline constexpr AttrNumber kComputed = -1;
FoundColumn find_output_column(const Decomposition &parts, Query *query, const char *name);

/// A node that belongs to the outermost query, as it looks there; nullptr for others. Inside a
/// subquery, `depth` levels down, only columns, aggregates and GROUPING() can be (parse_agg.c
/// matches nothing else across levels).
Node *outermost(Node *node, Index depth);

} // namespace pipeline::view
