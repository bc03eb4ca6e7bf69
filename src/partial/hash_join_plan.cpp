#include "partial/hash_join_plan.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "spool/feed.hpp"

extern "C" {
#include "parser/parsetree.h"
#include "utils/typcache.h"
}

namespace pipeline::partial {
namespace {

struct Builder {
    HashJoinPlan *plan;
    const HashJoin *join;
    const ForeignScan *scan;
    const Hash *hash;
};

/// A binary-coercible cast (varchar to text) changes no bits.
Expr *without_relabel(Expr *expr)
{
    while (IsA(expr, RelabelType))
        expr = reinterpret_cast<RelabelType *>(expr)->arg;
    return expr;
}

bool is_integer(Oid type)
{
    return type == INT2OID || type == INT4OID || type == INT8OID;
}

/// Can values of these types be compared by their lanes? Then `form` says by which.
bool bits_are_equal(Oid left, Oid right, Oid collation, LaneForm *form)
{
    if (left == TEXTOID || left == VARCHAROID) {
        *form = LaneForm::kText;
        return (right == TEXTOID || right == VARCHAROID) && OidIsValid(collation) &&
               get_collation_isdeterministic(collation);
    }
    *form = left == UUIDOID ? LaneForm::kBlock : LaneForm::kWord;
    if (is_integer(left))
        return is_integer(right);
    return left == right && (left == UUIDOID || left == DATEOID || left == TIMESTAMPOID ||
                             left == TIMESTAMPTZOID || left == BOOLOID);
}

/// Operators of the default operator class are the types' own equality.
bool is_default_equality(Oid op, Oid type)
{
    const TypeCacheEntry *const cache = lookup_type_cache(type, TYPECACHE_HASH_OPFAMILY);
    return OidIsValid(cache->hash_opf) && op_in_opfamily(op, cache->hash_opf);
}

void set_input(VectorInput *input, Expr *expr, LaneForm form)
{
    input->expr = expr;
    input->form = form;
    get_typlenbyval(exprType(reinterpret_cast<Node *>(expr)), &input->length, &input->byval);
}

/// An input over a row of the stream; -1 if it cannot be one.
int add_stream_input(Builder *builder, Expr *expr, LaneForm form)
{
    VectorPlan *const stream = builder->plan->stream;
    auto *const node = reinterpret_cast<Node *>(expr);
    if (contain_volatile_functions(node)) // two columns may be one value of it
        return -1;
    for (int i = 0; i < stream->ninputs; i++)
        if (stream->inputs[i].form == form && equal(stream->inputs[i].expr, expr))
            return i;
    VectorInput *const input = &stream->inputs[stream->ninputs];
    set_input(input, expr, form);
    if (IsA(expr, Var)) {
        input->attnum = reinterpret_cast<Var *>(expr)->varattno;
        if (input->attnum <= 0)
            return -1;
    }
    return stream->ninputs++;
}

/// What a column of the join's outer side is over the stream.
Expr *stream_expression(const Builder *builder, const Var *var)
{
    const List *const targets = builder->scan->scan.plan.targetlist;
    return static_cast<TargetEntry *>(list_nth(targets, var->varattno - 1))->expr;
}

agg::KeyKind kind_of(LaneForm form)
{
    return form == LaneForm::kText || form == LaneForm::kBlock ? agg::KeyKind::kBytes
                                                               : agg::KeyKind::kWord;
}

/// The Hash node passes its input's columns on as they are (setrefs.c, set_hash_references and
/// set_dummy_tlist_references), so both count the same.
void add_table_input(HashJoinPlan *plan, int at, Expr *expr, LaneForm form, AttrNumber column)
{
    set_input(&plan->table_inputs[at], expr, form);
    plan->table_columns[at] = column;
}

bool add_key(Builder *builder, int k)
{
    HashJoinPlan *const plan = builder->plan;
    auto *left = without_relabel(static_cast<Expr *>(list_nth(builder->join->hashkeys, k)));
    auto *right = without_relabel(static_cast<Expr *>(list_nth(builder->hash->hashkeys, k)));
    if (!IsA(left, Var) || !IsA(right, Var))
        return false;
    Oid const left_type = getBaseType(exprType(reinterpret_cast<Node *>(left)));
    Oid const right_type = getBaseType(exprType(reinterpret_cast<Node *>(right)));
    LaneForm form;
    if (!bits_are_equal(left_type, right_type, list_nth_oid(builder->join->hashcollations, k),
                        &form) ||
        !is_default_equality(list_nth_oid(builder->join->hashoperators, k), left_type))
        return false;
    Expr *const expr = without_relabel(stream_expression(builder, reinterpret_cast<Var *>(left)));
    plan->stream_keys[k] = add_stream_input(builder, expr, form);
    plan->key_kinds[k] = kind_of(form);
    add_table_input(plan, k, right, form, reinterpret_cast<Var *>(right)->varattno);
    return plan->stream_keys[k] >= 0;
}

/// Only plain columns: what the join would compute is computed for joined rows alone.
bool add_source(Builder *builder, int i)
{
    HashJoinPlan *const plan = builder->plan;
    const VectorInput &input = plan->inputs->inputs[i];
    if (!IsA(input.expr, Var))
        return false;
    auto *const var = reinterpret_cast<Var *>(input.expr);
    if (var->varno == OUTER_VAR) {
        int const number = add_stream_input(builder, stream_expression(builder, var), input.form);
        plan->sources[i] = {false, number};
        return number >= 0;
    }
    if (var->varno != INNER_VAR)
        return false;
    add_table_input(plan, plan->nkeys + plan->ncolumns, input.expr, input.form, var->varattno);
    plan->column_kinds[plan->ncolumns] = kind_of(input.form);
    plan->sources[i] = {true, plan->ncolumns++};
    return true;
}

bool is_stream_scan(const PlannedStmt *statement, const Plan *plan)
{
    if (plan == nullptr || !IsA(plan, ForeignScan))
        return false;
    const auto *scan = reinterpret_cast<const ForeignScan *>(plan);
    return scan->scan.scanrelid > 0 && scan->fdw_scan_tlist == NIL &&
           rt_fetch(scan->scan.scanrelid, statement->rtable)->relid ==
               spool::only_stream(*spool::current_feed());
}

HashJoinPlan *allocate_plan(const PlannedStmt *statement, const Builder &builder,
                            const VectorPlan *inputs)
{
    auto *plan = static_cast<HashJoinPlan *>(palloc0(sizeof(HashJoinPlan)));
    plan->inputs = inputs;
    plan->nkeys = list_length(builder.join->hashclauses);
    plan->keep = builder.join->join.jointype == JOIN_LEFT;
    auto const nkeys = static_cast<Size>(plan->nkeys);
    auto const ninputs = static_cast<Size>(inputs->ninputs);
    plan->key_kinds = static_cast<agg::KeyKind *>(palloc0(sizeof(agg::KeyKind) * nkeys));
    plan->column_kinds = static_cast<agg::KeyKind *>(palloc0(sizeof(agg::KeyKind) * ninputs));
    plan->table_inputs =
        static_cast<VectorInput *>(palloc0(sizeof(VectorInput) * (nkeys + ninputs)));
    plan->table_columns =
        static_cast<AttrNumber *>(palloc0(sizeof(AttrNumber) * (nkeys + ninputs)));
    plan->stream_keys = static_cast<int *>(palloc0(sizeof(int) * nkeys));
    plan->sources = static_cast<JoinSource *>(palloc0(sizeof(JoinSource) * ninputs));
    plan->stream = static_cast<VectorPlan *>(palloc0(sizeof(VectorPlan)));
    plan->stream->statement = statement;
    plan->stream->scan = builder.scan;
    plan->stream->inputs =
        static_cast<VectorInput *>(palloc0(sizeof(VectorInput) * (nkeys + ninputs)));
    PlannedStmt *const table = makeNode(PlannedStmt);
    *table = *statement;
    table->planTree = outerPlan(builder.hash);
    plan->table = table;
    return plan;
}

} // namespace

HashJoinPlan *make_hash_join(const PlannedStmt *statement, const Plan *join,
                             const VectorPlan *inputs)
{
    // Without subplans and above all nested loops, nothing in it has parameters.
    if (!IsA(join, HashJoin) || statement->subplans != NIL)
        return nullptr;
    Builder builder{};
    builder.join = reinterpret_cast<const HashJoin *>(join);
    JoinType const type = builder.join->join.jointype;
    if ((type != JOIN_INNER && type != JOIN_LEFT) || builder.join->join.joinqual != NIL ||
        join->qual != NIL || !is_stream_scan(statement, outerPlan(join)))
        return nullptr;
    builder.scan = reinterpret_cast<const ForeignScan *>(outerPlan(join));
    builder.hash = reinterpret_cast<const Hash *>(innerPlan(join));
    builder.plan = allocate_plan(statement, builder, inputs);
    for (int k = 0; k < builder.plan->nkeys; k++)
        if (!add_key(&builder, k))
            return nullptr;
    for (int i = 0; i < inputs->ninputs; i++)
        if (!add_source(&builder, i))
            return nullptr;
    return builder.plan;
}

} // namespace pipeline::partial
