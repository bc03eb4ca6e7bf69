#include "partial/vector_lanes.hpp"

#include "partial/lane_source.hpp"
#include "partial/vector_expr.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/memory.hpp"
#include "pg/scope.hpp"
#include "spool/feed.hpp"

extern "C" {
#include "executor/executor.h"
}

#include <new>

namespace pipeline::partial {

namespace {

/// Fewer rows are evaluated by the server: compiling would cost more than it saves.
constexpr uint32 kFewRows = 16;

} // namespace

/// Columns as the server's expressions read them: in a slot.
struct SlotColumns {
    int n;
    int *attributes; ///< from 0
    int *columns;    ///< of each, in the chunk at hand; -1 = absent
};

struct LaneBuilder {
    explicit LaneBuilder(MemoryContext owner) : context(owner), memory(owner) {}

    MemoryContext context;
    pg::ContextResource memory; ///< compiled expressions
    const VectorPlan *plan = nullptr;
    TupleDesc descriptor = nullptr;
    const spool::Chunk *chunk = nullptr; ///< the rows at hand: this, or ...
    const DatumBlock *block = nullptr;   ///< ... this
    MemoryContext values = nullptr;      ///< copies of one block
    int nsources = 0; ///< the plan's inputs, then columns of compiled expressions
    LaneSource *sources = nullptr;
    uint16 *selected = nullptr;
    // Expressions by the server, row by row:
    EState *estate = nullptr;
    ExprContext *expressions = nullptr;
    TupleTableSlot *slot = nullptr;
    ExprState *where = nullptr; ///< nullptr without WHERE
    bool has_expressions = false;
    SlotColumns used{}; ///< by any expression
    // Compiled ones, block by block:
    bool is_compiled = false;
    bool has_compiled = false;
    int nconditions = 0; ///< WHERE begins with so many clauses that are compiled
    agg::Expression **conditions = nullptr;
    ExprState *rest = nullptr; ///< the other clauses; nullptr if there is none
    bool has_states = false;   ///< some input is left to the server
    SlotColumns left{};        ///< by what is left to the server
    uint8 *active = nullptr;   ///< rows of the block that are not left out yet
};

namespace {

void list_columns(const LaneBuilder *builder, Bitmapset *used, SlotColumns *list)
{
    auto const n = static_cast<Size>(bms_num_members(used));
    list->attributes = static_cast<int *>(palloc(sizeof(int) * (n + 1)));
    list->columns = static_cast<int *>(palloc(sizeof(int) * (n + 1)));
    for (int i = -1; (i = bms_next_member(used, i)) >= 0;) {
        int const attnum = i + FirstLowInvalidHeapAttributeNumber;
        if (attnum > 0 && attnum <= builder->descriptor->natts)
            list->attributes[list->n++] = attnum - 1;
    }
}

/// Of the given clauses of WHERE and of the inputs that are not compiled.
void list_used_columns(const LaneBuilder *builder, List *clauses, SlotColumns *list)
{
    const VectorPlan *const plan = builder->plan;
    Bitmapset *used = nullptr;
    Index const relid = plan->scan->scan.scanrelid;
    pull_varattnos(reinterpret_cast<Node *>(clauses), relid, &used);
    for (int i = 0; i < plan->ninputs; i++)
        if (plan->inputs[i].attnum == 0 && builder->sources[i].compiled == nullptr)
            pull_varattnos(reinterpret_cast<Node *>(plan->inputs[i].expr), relid, &used);
    list_columns(builder, used, list);
}

void prepare_expressions(LaneBuilder *builder)
{
    const VectorPlan *const plan = builder->plan;
    builder->estate = CreateExecutorState();
    builder->expressions = CreateExprContext(builder->estate);
    builder->slot = MakeSingleTupleTableSlot(builder->descriptor, &TTSOpsVirtual);
    builder->expressions->ecxt_scantuple = builder->slot;
    pg::in_context(builder->estate->es_query_cxt, [&] {
        if (plan->scan->scan.plan.qual != NIL)
            builder->where = ExecInitQual(plan->scan->scan.plan.qual, nullptr);
        for (int i = 0; i < plan->ninputs; i++)
            if (plan->inputs[i].attnum == 0) {
                builder->sources[i].state = ExecInitExpr(plan->inputs[i].expr, nullptr);
                builder->has_expressions = true;
            }
    });
    memset(builder->slot->tts_isnull, true, static_cast<Size>(builder->descriptor->natts));
}

void fill(LaneBuilder *builder, LaneSource *source, uint32 first, uint32 nrows)
{
    if (builder->block != nullptr)
        fill_from_block(source, *builder->block, nrows, builder->values);
    else
        fill_column(source, *builder->chunk, first, nrows, builder->values);
}

void load_row(LaneBuilder *builder, const SlotColumns &columns, uint32 row)
{
    TupleTableSlot *const slot = builder->slot;
    ExecClearTuple(slot);
    for (int u = 0; u < columns.n; u++) {
        int const i = columns.attributes[u];
        if (builder->block != nullptr) {
            slot->tts_isnull[i] = builder->block->nulls[i][row] != 0;
            slot->tts_values[i] = builder->block->values[i][row];
            continue;
        }
        const std::byte *const value =
            columns.columns[u] < 0 ? nullptr : builder->chunk->value(columns.columns[u], row);
        slot->tts_isnull[i] = value == nullptr;
        if (value != nullptr)
            slot->tts_values[i] = fetchatt(TupleDescAttr(builder->descriptor, i), value);
    }
    ExecStoreVirtualTuple(slot);
}

void evaluate_input(LaneBuilder *builder, LaneSource *source, uint32 row)
{
    bool isnull;
    Datum const value = ExecEvalExprSwitchContext(source->state, builder->expressions, &isnull);
    set_value(source, row, value, isnull, builder->values);
}

/// WHERE and computed inputs, row by row.
uint32 evaluate_rows(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    const VectorPlan *const plan = builder->plan;
    uint32 count = 0;
    for (uint32 row = 0; row < nrows; row++) {
        ResetExprContext(builder->expressions);
        load_row(builder, builder->used, first + row);
        if (!ExecQual(builder->where, builder->expressions))
            continue;
        builder->selected[count++] = static_cast<uint16>(row);
        for (int i = 0; i < plan->ninputs; i++)
            if (builder->sources[i].state != nullptr)
                evaluate_input(builder, &builder->sources[i], row);
    }
    for (int i = 0; i < plan->ninputs; i++)
        if (builder->sources[i].state != nullptr)
            point_to_room(&builder->sources[i]);
    return count;
}

// ---- compiled expressions ------------------------------------------------------------------

int column_of(const LaneBuilder *builder, AttrNumber attnum)
{
    if (builder->block != nullptr)
        return attnum - 1;
    return spool::find_column(*builder->chunk, TupleDescAttr(builder->descriptor, attnum - 1));
}

void find_columns(LaneBuilder *builder)
{
    for (int i = 0; i < builder->nsources; i++)
        if (AttrNumber const attnum = builder->sources[i].attnum; attnum > 0)
            builder->sources[i].column = column_of(builder, attnum);
    for (SlotColumns *const list : {&builder->used, &builder->left})
        for (int u = 0; u < list->n; u++)
            list->columns[u] = column_of(builder, static_cast<AttrNumber>(list->attributes[u] + 1));
}

/// The lane of a column, which an input or another expression may have already.
const agg::Lane *find_or_add_lane(void *arg, AttrNumber attnum, LaneForm form)
{
    auto *const builder = static_cast<LaneBuilder *>(arg);
    for (int i = 0; i < builder->nsources; i++) {
        LaneSource &source = builder->sources[i];
        if (source.attnum == attnum && (source.form == form || form == LaneForm::kNulls))
            return &source.lane;
    }
    LaneSource &source = builder->sources[builder->nsources++];
    source.attnum = attnum;
    source.form = form;
    source.length = TupleDescAttr(builder->descriptor, attnum - 1)->attlen;
    source.column = column_of(builder, attnum);
    make_room(&source);
    return &source.lane;
}

/// Columns of an expression that turns out not to be served are forgotten again.
agg::Expression *try_compile(LaneBuilder *builder, ExpressionCompiler *compiler, const Expr *expr)
{
    int const nsources = builder->nsources;
    agg::Expression *const compiled = compile(compiler, expr);
    if (compiled == nullptr)
        builder->nsources = nsources;
    builder->has_compiled |= compiled != nullptr;
    return compiled;
}

/// WHERE is evaluated clause by clause, so what is compiled is the beginning.
void compile_where(LaneBuilder *builder, ExpressionCompiler *compiler, List *clauses)
{
    auto const nclauses = static_cast<Size>(list_length(clauses));
    builder->conditions =
        static_cast<agg::Expression **>(palloc(sizeof(agg::Expression *) * (nclauses + 1)));
    for (auto *clause : pg::each<Expr>(clauses)) {
        agg::Expression *const compiled = try_compile(builder, compiler, clause);
        if (compiled == nullptr)
            break;
        builder->conditions[builder->nconditions++] = compiled;
    }
}

void compile_inputs(LaneBuilder *builder, ExpressionCompiler *compiler)
{
    const VectorPlan *const plan = builder->plan;
    auto const ninputs = static_cast<Size>(plan->ninputs);
    compiler->known = static_cast<const Expr **>(palloc(sizeof(Expr *) * ninputs));
    compiler->known_results =
        static_cast<agg::Expression **>(palloc(sizeof(agg::Expression *) * ninputs));
    for (int i = 0; i < plan->ninputs; i++) {
        LaneSource &source = builder->sources[i];
        if (source.state == nullptr)
            continue;
        source.compiled = try_compile(builder, compiler, plan->inputs[i].expr);
        builder->has_states |= source.compiled == nullptr;
        if (source.compiled != nullptr && !IsA(plan->inputs[i].expr, Const)) {
            compiler->known[compiler->nknown] = plan->inputs[i].expr;
            compiler->known_results[compiler->nknown++] = source.compiled;
        }
    }
}

void compile_all(LaneBuilder *builder)
{
    // An ERROR may have ended an attempt before.
    builder->nsources = builder->plan->ninputs;
    builder->nconditions = 0;
    builder->has_compiled = false;
    builder->has_states = false;
    builder->left = {};
    ExpressionCompiler compiler{};
    compiler.memory = &builder->memory;
    compiler.column = find_or_add_lane;
    compiler.arg = builder;
    List *const clauses = builder->plan->scan->scan.plan.qual;
    compile_where(builder, &compiler, clauses);
    compile_inputs(builder, &compiler);
    builder->active = static_cast<uint8 *>(palloc(agg::kBlockRows));
    List *const rest = list_copy_tail(clauses, builder->nconditions);
    list_used_columns(builder, rest, &builder->left);
    for (int u = 0; u < builder->left.n; u++)
        builder->left.columns[u] =
            column_of(builder, static_cast<AttrNumber>(builder->left.attributes[u] + 1));
    if (rest != NIL)
        builder->rest = pg::in_context(builder->estate->es_query_cxt,
                                       [&] { return ExecInitQual(rest, nullptr); });
    builder->is_compiled = true;
}

/// What is not compiled, for the rows that are left.
void evaluate_left(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    for (uint32 row = 0; row < nrows; row++) {
        if (builder->active[row] == 0)
            continue;
        ResetExprContext(builder->expressions);
        load_row(builder, builder->left, first + row);
        builder->active[row] = ExecQual(builder->rest, builder->expressions);
        for (int i = 0; builder->active[row] != 0 && i < builder->plan->ninputs; i++) {
            LaneSource &source = builder->sources[i];
            if (source.state != nullptr && source.compiled == nullptr)
                evaluate_input(builder, &source, row);
        }
    }
    for (int i = 0; i < builder->plan->ninputs; i++)
        if (builder->sources[i].state != nullptr)
            point_to_room(&builder->sources[i]);
}

uint32 select_active(LaneBuilder *builder, uint32 nrows)
{
    uint32 count = 0;
    for (uint32 row = 0; row < nrows; row++) {
        builder->selected[count] = static_cast<uint16>(row);
        count += builder->active[row];
    }
    return count;
}

/// False if a row needs the server's own functions, to raise an error most likely: the server
/// says which comes first.
bool evaluate_block(LaneBuilder *builder, uint32 first, uint32 nrows, uint32 *count)
{
    for (int i = builder->plan->ninputs; i < builder->nsources; i++)
        fill(builder, &builder->sources[i], first, nrows);
    memset(builder->active, 1, nrows);
    for (int c = 0; c < builder->nconditions; c++) {
        if (!agg::evaluate(*builder->conditions[c], nrows, builder->active))
            return false;
        agg::keep_true(*builder->conditions[c], nrows, builder->active);
    }
    if (builder->rest != nullptr || builder->has_states)
        evaluate_left(builder, first, nrows);
    *count = select_active(builder, nrows);
    for (int i = 0; *count > 0 && i < builder->plan->ninputs; i++) {
        LaneSource &source = builder->sources[i];
        if (source.compiled == nullptr)
            continue;
        if (!agg::evaluate(*source.compiled, nrows, builder->active))
            return false;
        point_to_result(&source, nrows);
    }
    return true;
}

uint32 evaluate(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    if (nrows >= kFewRows && !builder->is_compiled)
        pg::in_context(builder->context, [&] { compile_all(builder); });
    uint32 count;
    if (nrows >= kFewRows && builder->has_compiled && evaluate_block(builder, first, nrows, &count))
        return count;
    return evaluate_rows(builder, first, nrows);
}

} // namespace

LaneBuilder *open_lanes(const VectorPlan *plan, Relation stream)
{
    auto *builder = new (palloc(sizeof(LaneBuilder))) LaneBuilder(CurrentMemoryContext);
    builder->plan = plan;
    // A copy is not counted by the resource owner: the lanes may outlive a subtransaction.
    builder->descriptor = CreateTupleDescCopy(RelationGetDescr(stream));
    builder->values =
        AllocSetContextCreate(CurrentMemoryContext, "vector values", ALLOCSET_DEFAULT_SIZES);
    builder->selected = static_cast<uint16 *>(palloc(sizeof(uint16) * agg::kBlockRows));
    // Each column has one form beside that of its NULLs.
    auto const nsources = static_cast<Size>(plan->ninputs + 2 * builder->descriptor->natts);
    builder->sources = static_cast<LaneSource *>(palloc0(sizeof(LaneSource) * nsources));
    builder->nsources = plan->ninputs;
    for (int i = 0; i < plan->ninputs; i++) {
        LaneSource &source = builder->sources[i];
        source.attnum = plan->inputs[i].attnum;
        source.form = plan->inputs[i].form;
        source.length = plan->inputs[i].length;
        make_room(&source);
    }
    prepare_expressions(builder);
    list_used_columns(builder, plan->scan->scan.plan.qual, &builder->used);
    return builder;
}

void set_chunk(LaneBuilder *builder, const spool::Chunk *chunk)
{
    builder->block = nullptr;
    builder->chunk = chunk;
    find_columns(builder);
}

void set_block(LaneBuilder *builder, const DatumBlock *block)
{
    bool const is_first = builder->block == nullptr;
    builder->block = block;
    builder->chunk = nullptr;
    if (is_first)
        find_columns(builder);
}

agg::Selection fill_lanes(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    MemoryContextReset(builder->values);
    for (int i = 0; i < builder->plan->ninputs; i++)
        if (builder->sources[i].state == nullptr)
            fill(builder, &builder->sources[i], first, nrows);
    if (builder->where != nullptr || builder->has_expressions)
        return {builder->selected, evaluate(builder, first, nrows)};
    for (uint32 row = 0; row < nrows; row++)
        builder->selected[row] = static_cast<uint16>(row);
    return {builder->selected, nrows};
}

const agg::Lane &lane_of(const LaneBuilder *builder, int input)
{
    return builder->sources[input].lane;
}

void close_lanes(LaneBuilder *builder)
{
    ExecDropSingleTupleTableSlot(builder->slot);
    FreeExecutorState(builder->estate);
    MemoryContextDelete(builder->values);
}

} // namespace pipeline::partial
