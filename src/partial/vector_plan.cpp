#include "partial/vector_plan.hpp"

#include "partial/vector_merge.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteHandler.h"
}

namespace pipeline::partial {
namespace {

/// Most inputs of a query; more take the general path.
constexpr int kMaxInputs = 256;

struct KnownAggregate {
    Oid function;
    agg::StateKind kind;
    EmittedAs emitted;
    bool needs_float4;
};

using agg::StateKind;

/// The server's own aggregates whose transition functions agg/states.cpp repeats.
constexpr KnownAggregate kKnown[] = {
    {F_COUNT_, StateKind::kCount, EmittedAs::kInt8, false},
    {F_COUNT_ANY, StateKind::kCount, EmittedAs::kInt8, false},
    {F_SUM_INT2, StateKind::kSum, EmittedAs::kInt8, false},
    {F_SUM_INT4, StateKind::kSum, EmittedAs::kInt8, false},
    {F_SUM_INT8, StateKind::kWideSum, EmittedAs::kInt8Avg, false},
    {F_SUM_FLOAT4, StateKind::kSumFloat4, EmittedAs::kFloat4, true},
    {F_SUM_FLOAT8, StateKind::kSumFloat8, EmittedAs::kFloat8, false},
    {F_AVG_INT2, StateKind::kPairSum, EmittedAs::kInt8Pair, false},
    {F_AVG_INT4, StateKind::kPairSum, EmittedAs::kInt8Pair, false},
    {F_AVG_INT8, StateKind::kWideSum, EmittedAs::kInt8Avg, false},
    {F_AVG_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_AVG_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_STDDEV_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_POP_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_POP_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_SAMP_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_SAMP_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VARIANCE_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VARIANCE_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VAR_POP_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VAR_POP_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VAR_SAMP_INT2, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_VAR_SAMP_INT4, StateKind::kMoments, EmittedAs::kNumericPoly, false},
    {F_STDDEV_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_STDDEV_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_STDDEV_POP_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_STDDEV_POP_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_STDDEV_SAMP_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_STDDEV_SAMP_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_VARIANCE_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_VARIANCE_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_VAR_POP_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_VAR_POP_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_VAR_SAMP_FLOAT4, StateKind::kDeviations, EmittedAs::kFloat8Triple, true},
    {F_VAR_SAMP_FLOAT8, StateKind::kDeviations, EmittedAs::kFloat8Triple, false},
    {F_MIN_FLOAT4, StateKind::kMinFloat, EmittedAs::kFloat4, true},
    {F_MIN_FLOAT8, StateKind::kMinFloat, EmittedAs::kFloat8, false},
    {F_MAX_FLOAT4, StateKind::kMaxFloat, EmittedAs::kFloat4, true},
    {F_MAX_FLOAT8, StateKind::kMaxFloat, EmittedAs::kFloat8, false},
    {F_MIN_INT2, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_INT4, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_INT8, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_DATE, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_TIME, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_TIMESTAMP, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_TIMESTAMPTZ, StateKind::kMin, EmittedAs::kWord, false},
    {F_MIN_MONEY, StateKind::kMin, EmittedAs::kWord, false},
    {F_MAX_INT2, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_INT4, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_INT8, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_DATE, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_TIME, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_TIMESTAMP, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_TIMESTAMPTZ, StateKind::kMax, EmittedAs::kWord, false},
    {F_MAX_MONEY, StateKind::kMax, EmittedAs::kWord, false},
};

const KnownAggregate *known_aggregate(Oid function)
{
    for (const KnownAggregate &known : kKnown)
        if (known.function == function)
            return &known;
    return nullptr;
}

/// Types whose equality is that of their bits. Floating point numbers are not: 0 = -0.
bool has_word_equality(Oid type)
{
    switch (type) {
    case BOOLOID:
    case CHAROID:
    case INT2OID:
    case INT4OID:
    case INT8OID:
    case OIDOID:
    case DATEOID:
    case TIMEOID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
    case CASHOID:
        return true;
    default:
        return type_is_enum(type);
    }
}

struct Builder {
    VectorPlan *plan;
    List *scan_targets; ///< what OUTER_VAR of the top node means
    bool served;
};

/// Columns of the node below the top one are replaced by their expressions over the stream.
extern "C" Node *pipeline_flatten_mutator(Node *node, void *context)
{
    if (node == nullptr)
        return nullptr;
    auto *builder = static_cast<Builder *>(context);
    if (IsA(node, Var)) {
        auto *var = reinterpret_cast<Var *>(node);
        if (var->varno != OUTER_VAR)
            return node;
        auto *entry =
            static_cast<TargetEntry *>(list_nth(builder->scan_targets, var->varattno - 1));
        return reinterpret_cast<Node *>(entry->expr);
    }
    if (IsA(node, Param) || IsA(node, SubPlan) || IsA(node, AlternativeSubPlan))
        builder->served = false;
    return pg::mutate_expression(node, pipeline_flatten_mutator, context);
}

Expr *flatten(Builder *builder, Expr *expr)
{
    return reinterpret_cast<Expr *>(
        pipeline_flatten_mutator(reinterpret_cast<Node *>(expr), builder));
}

int add_input(Builder *builder, Expr *expr, LaneForm form)
{
    VectorPlan *const plan = builder->plan;
    bool const is_volatile = contain_volatile_functions(reinterpret_cast<Node *>(expr));
    for (int i = 0; i < plan->ninputs && !is_volatile; i++)
        if (plan->inputs[i].form == form && equal(plan->inputs[i].expr, expr))
            return i;
    if (plan->ninputs == kMaxInputs) {
        builder->served = false;
        return 0;
    }
    VectorInput &input = plan->inputs[plan->ninputs];
    input.expr = expr;
    input.form = form;
    get_typlenbyval(exprType(reinterpret_cast<Node *>(expr)), &input.length, &input.byval);
    if (IsA(expr, Var)) {
        input.attnum = reinterpret_cast<Var *>(expr)->varattno;
        if (input.attnum <= 0)
            builder->served = false;
    }
    return plan->ninputs++;
}

void add_key(Builder *builder, Expr *flat, Oid collation)
{
    VectorPlan *const plan = builder->plan;
    Oid const type = getBaseType(exprType(reinterpret_cast<Node *>(flat)));
    LaneForm form = LaneForm::kWord;
    if (type == TEXTOID || type == VARCHAROID || type == BYTEAOID) {
        form = LaneForm::kText;
        if (type != BYTEAOID &&
            (!OidIsValid(collation) || !get_collation_isdeterministic(collation)))
            builder->served = false;
    } else if (type == UUIDOID) {
        form = LaneForm::kBlock;
    } else if (!has_word_equality(type)) {
        builder->served = false;
        return;
    }
    plan->keys[plan->nkeys] = add_input(builder, flat, form);
    plan->key_kinds[plan->nkeys++] =
        form == LaneForm::kWord ? agg::KeyKind::kWord : agg::KeyKind::kBytes;
}

/// The argument is not evaluated for rows that the filter leaves out: sum(1 / x) FILTER (WHERE
/// x <> 0). All functions that are served skip NULLs.
Expr *only_where(Expr *filter, Expr *argument)
{
    CaseWhen *const when = makeNode(CaseWhen);
    when->expr = filter;
    when->result = argument;
    when->location = -1;
    CaseExpr *const result = makeNode(CaseExpr);
    Node *const node = reinterpret_cast<Node *>(argument);
    result->casetype = exprType(node);
    result->casecollid = exprCollation(node);
    result->args = list_make1(when);
    result->defresult = reinterpret_cast<Expr *>(
        makeNullConst(exprType(node), exprTypmod(node), exprCollation(node)));
    result->location = -1;
    return reinterpret_cast<Expr *>(result);
}

void add_aggregate(Builder *builder, const Aggref *aggref)
{
    VectorPlan *const plan = builder->plan;
    const KnownAggregate *const known = known_aggregate(aggref->aggfnoid);
    if (known == nullptr || aggref->aggdistinct != NIL || aggref->aggorder != NIL ||
        aggref->aggdirectargs != NIL || list_length(aggref->args) > 1) {
        builder->served = false;
        return;
    }
    VectorAggregate &aggregate = plan->aggregates[plan->naggregates++];
    aggregate = {aggref->aggfnoid, known->kind, known->emitted, -1, -1};
    Expr *filter = nullptr;
    if (aggref->aggfilter != nullptr) {
        filter = flatten(builder, aggref->aggfilter);
        if (contain_volatile_functions(reinterpret_cast<Node *>(filter)))
            builder->served = false;
        aggregate.filter = add_input(builder, filter, LaneForm::kWord);
    }
    for (auto *entry : pg::each<TargetEntry>(aggref->args)) {
        LaneForm const form = known->kind == StateKind::kCount ? LaneForm::kNulls
                              : known->needs_float4            ? LaneForm::kFloat4
                                                               : LaneForm::kWord;
        Expr *argument = flatten(builder, entry->expr);
        if (filter != nullptr && !IsA(argument, Var))
            argument = only_where(filter, argument);
        aggregate.input = add_input(builder, argument, form);
    }
}

/// Agg over the scan, possibly with a Sort between. Nothing else: no join, no subquery.
const ForeignScan *scan_below(const Agg *top)
{
    const Plan *below = outerPlan(top);
    if (below != nullptr && IsA(below, Sort))
        below = outerPlan(below);
    return below != nullptr && IsA(below, ForeignScan)
               ? reinterpret_cast<const ForeignScan *>(below)
               : nullptr;
}

/// Raised when the columns of a chunk of states change their meaning.
constexpr uint64 kFormat = 1;

/// What is stored of the query is the same text for everybody, but for the owner: relcache.c
/// (RelationBuildRuleLock) writes who that is now into the query.
uint64 version_of(Relation definition)
{
    auto *const query = static_cast<Query *>(copyObjectImpl(get_view_query(definition)));
    setRuleCheckAsUser(reinterpret_cast<Node *>(query), InvalidOid);
    char *const text = nodeToString(query);
    uint64 const version = hash_bytes_extended(reinterpret_cast<const unsigned char *>(text),
                                               static_cast<int>(strlen(text)),
                                               kFormat << 32 | RelationGetRelid(definition));
    pfree(text);
    return version;
}

} // namespace

VectorPlan *make_vector_plan(const PlannedStmt *statement, Relation definition)
{
    const auto *top = reinterpret_cast<const Agg *>(statement->planTree);
    if (!IsA(top, Agg) || top->groupingSets != NIL || top->chain != NIL || top->plan.qual != NIL ||
        statement->subplans != NIL)
        return nullptr;
    const ForeignScan *const scan = scan_below(top);
    if (scan == nullptr || scan->scan.scanrelid == 0 || scan->fdw_scan_tlist != NIL)
        return nullptr;

    auto *plan = static_cast<VectorPlan *>(palloc0(sizeof(VectorPlan)));
    auto const ncolumns = static_cast<Size>(list_length(top->plan.targetlist));
    plan->statement = statement;
    plan->scan = scan;
    plan->result_types = top->plan.targetlist;
    plan->inputs = static_cast<VectorInput *>(palloc0(sizeof(VectorInput) * kMaxInputs));
    plan->keys = static_cast<int *>(palloc0(sizeof(int) * ncolumns));
    plan->key_kinds = static_cast<agg::KeyKind *>(palloc0(sizeof(agg::KeyKind) * ncolumns));
    plan->aggregates = static_cast<VectorAggregate *>(palloc0(sizeof(VectorAggregate) * ncolumns));
    plan->columns = static_cast<VectorColumn *>(palloc0(sizeof(VectorColumn) * ncolumns));
    // set_dummy_tlist_references (setrefs.c): a Sort passes its input's columns on as they are.
    Builder builder{plan, scan->scan.plan.targetlist, true};
    for (auto *entry : pg::each<TargetEntry>(top->plan.targetlist)) {
        bool const is_key = !IsA(entry->expr, Aggref);
        plan->columns[plan->ncolumns++] = {is_key, is_key ? plan->nkeys : plan->naggregates};
        if (is_key)
            add_key(&builder, flatten(&builder, entry->expr),
                    exprCollation(reinterpret_cast<Node *>(entry->expr)));
        else
            add_aggregate(&builder, reinterpret_cast<Aggref *>(entry->expr));
        if (!builder.served)
            return nullptr;
    }
    // Keys that are constants are in no GROUP BY of the plan; all others are.
    if (plan->nkeys > static_cast<int>(agg::kMaxKeys))
        return nullptr;
    plan->version = version_of(definition);
    const VectorPlan *const plans[] = {plan};
    plan->alone = merge_plans(plans, 1);
    return plan;
}

} // namespace pipeline::partial
