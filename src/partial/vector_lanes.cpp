#include "partial/vector_lanes.hpp"

#include "partial/vector_expr.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/memory.hpp"
#include "pg/scope.hpp"
#include "spool/feed.hpp"

extern "C" {
#include "access/detoast.h"
#include "executor/executor.h"
#include "utils/datum.h"
}

#include <new>

namespace pipeline::partial {

namespace {

/// Fewer rows are evaluated by the server: compiling would cost more than it saves.
constexpr uint32 kFewRows = 16;

} // namespace

/// The lane of an input, or of a column that an expression reads, and how it is filled.
struct LaneSource {
    AttrNumber attnum; ///< 0 for an expression
    LaneForm form;
    int16 length;
    ExprState *state;          ///< of an expression: the server's
    agg::Expression *compiled; ///< the same; nullptr if the server evaluates it
    int column;                ///< in the chunk at hand; -1 = absent
    agg::Lane lane;
    int64 *words;
    const std::byte **starts;
    uint32 *sizes;
    uint8 *nulls;
};

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

template <typename Value>
void widen(int64 *words, const spool::Chunk::Slots &slots, uint32 first, uint32 nrows)
{
    const std::byte *from = slots.first + Size{first} * slots.stride;
    for (uint32 i = 0; i < nrows; i++) {
        Value value;
        memcpy(&value, from + Size{i} * slots.stride, sizeof(value));
        words[i] = value;
    }
}

int64 word_of_float4(float4 value)
{
    return static_cast<int64>(Float8GetDatum(static_cast<float8>(value)));
}

bool fill_nulls(uint8 *nulls, const std::byte *validity, uint32 first, uint32 nrows)
{
    if (validity == nullptr)
        return false;
    for (uint32 i = 0; i < nrows; i++) {
        uint32 const row = first + i;
        nulls[i] = (static_cast<uint8>(validity[row / 8]) >> (row % 8) & 1) == 0;
    }
    return true;
}

/// The content of a varlena; decompressed if need be.
void set_text(LaneBuilder *builder, LaneSource *source, uint32 i, const varlena *value)
{
    if (VARATT_IS_EXTENDED(value) && !VARATT_IS_SHORT(value))
        value = pg::in_context(builder->values,
                               [&] { return detoast_attr(const_cast<varlena *>(value)); });
    source->starts[i] = reinterpret_cast<const std::byte *>(VARDATA_ANY(value));
    source->sizes[i] = static_cast<uint32>(VARSIZE_ANY_EXHDR(value));
}

void fill_varlena(LaneBuilder *builder, LaneSource *source, uint32 first, uint32 nrows)
{
    bool has_nulls = false;
    for (uint32 i = 0; i < nrows; i++) {
        const std::byte *const value = builder->chunk->value(source->column, first + i);
        source->nulls[i] = value == nullptr;
        has_nulls |= value == nullptr;
        if (value != nullptr)
            set_text(builder, source, i, reinterpret_cast<const varlena *>(value));
    }
    source->lane = {nullptr, source->starts, source->sizes, has_nulls ? source->nulls : nullptr};
}

void fill_words(LaneSource *source, const spool::Chunk::Slots &slots, uint32 first, uint32 nrows)
{
    switch (source->length) {
    case 1:
        widen<int8_t>(source->words, slots, first, nrows);
        break;
    case 2:
        widen<int16>(source->words, slots, first, nrows);
        break;
    case 4:
        if (source->form == LaneForm::kFloat4) {
            const std::byte *from = slots.first + Size{first} * slots.stride;
            for (uint32 i = 0; i < nrows; i++) {
                float4 value;
                memcpy(&value, from + Size{i} * slots.stride, sizeof(value));
                source->words[i] = word_of_float4(value);
            }
        } else {
            widen<int32>(source->words, slots, first, nrows);
        }
        break;
    default:
        widen<int64>(source->words, slots, first, nrows);
    }
}

void fill_all_null(LaneSource *source, uint32 nrows)
{
    memset(source->nulls, 1, nrows);
    source->lane = {source->words, source->starts, source->sizes, source->nulls};
}

/// As fill_words() has it, whatever the server leaves in the upper bits.
int64 word_of(Datum value, int16 length)
{
    switch (length) {
    case 1:
        return static_cast<int8>(value);
    case 2:
        return static_cast<int16>(value);
    case 4:
        return static_cast<int32>(value);
    default:
        return static_cast<int64>(value);
    }
}

void fill_words(LaneSource *source, const Datum *values, uint32 nrows)
{
    int64 *const words = source->words;
    if (source->form == LaneForm::kFloat4) {
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of_float4(DatumGetFloat4(values[i]));
        return;
    }
    switch (source->length) {
    case 1:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 1);
        break;
    case 2:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 2);
        break;
    case 4:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 4);
        break;
    default:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 8);
    }
}

/// A column of a block of datums. Its rows are taken from the first one on.
void fill_from_block(LaneBuilder *builder, LaneSource *source, uint32 nrows)
{
    const DatumBlock &block = *builder->block;
    const Datum *const values = block.values[source->column];
    const uint8 *const nulls =
        block.has_nulls[source->column] ? block.nulls[source->column] : nullptr;
    switch (source->form) {
    case LaneForm::kNulls:
        break;
    case LaneForm::kText:
        for (uint32 i = 0; i < nrows; i++)
            if (nulls == nullptr || nulls[i] == 0)
                set_text(builder, source, i,
                         reinterpret_cast<const varlena *>(DatumGetPointer(values[i])));
        break;
    case LaneForm::kBlock:
        for (uint32 i = 0; i < nrows; i++) {
            source->starts[i] = reinterpret_cast<const std::byte *>(DatumGetPointer(values[i]));
            source->sizes[i] = static_cast<uint32>(source->length);
        }
        break;
    default:
        fill_words(source, values, nrows);
    }
    source->lane = {source->words, source->starts, source->sizes, nulls};
}

void fill_column(LaneBuilder *builder, LaneSource *source, uint32 first, uint32 nrows)
{
    if (builder->block != nullptr) {
        fill_from_block(builder, source, nrows);
        return;
    }
    if (source->column < 0) {
        fill_all_null(source, nrows);
        return;
    }
    if (source->length == -1 && source->form != LaneForm::kNulls) {
        fill_varlena(builder, source, first, nrows);
        return;
    }
    spool::Chunk::Slots const slots = builder->chunk->slots(source->column);
    if (slots.first == nullptr) {
        fill_all_null(source, nrows);
        return;
    }
    bool const has_nulls = fill_nulls(source->nulls, slots.validity, first, nrows);
    if (source->form == LaneForm::kBlock) {
        const std::byte *const from = slots.first + Size{first} * slots.stride;
        for (uint32 row = 0; row < nrows; row++) {
            source->starts[row] = from + Size{row} * slots.stride;
            source->sizes[row] = static_cast<uint32>(source->length);
        }
    } else if (source->form != LaneForm::kNulls) {
        fill_words(source, slots, first, nrows);
    }
    source->lane = {source->words, source->starts, source->sizes,
                    has_nulls ? source->nulls : nullptr};
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

void set_value(LaneBuilder *builder, LaneSource *source, uint32 i, Datum value, bool isnull)
{
    source->nulls[i] = isnull;
    if (isnull)
        return;
    switch (source->form) {
    case LaneForm::kWord:
        source->words[i] = word_of(value, source->length);
        break;
    case LaneForm::kFloat4:
        source->words[i] = word_of_float4(DatumGetFloat4(value));
        break;
    case LaneForm::kText: {
        Datum const copy = pg::in_context(builder->values,
                                          [&] { return datumCopy(value, false, source->length); });
        set_text(builder, source, i, reinterpret_cast<const varlena *>(DatumGetPointer(copy)));
        break;
    }
    case LaneForm::kBlock: {
        Datum const copy = pg::in_context(builder->values,
                                          [&] { return datumCopy(value, false, source->length); });
        source->starts[i] = reinterpret_cast<const std::byte *>(DatumGetPointer(copy));
        source->sizes[i] = static_cast<uint32>(source->length);
        break;
    }
    case LaneForm::kNulls:
        break;
    }
}

void evaluate_input(LaneBuilder *builder, LaneSource *source, uint32 row)
{
    bool isnull;
    Datum const value = ExecEvalExprSwitchContext(source->state, builder->expressions, &isnull);
    set_value(builder, source, row, value, isnull);
}

void point_to_room(LaneSource *source)
{
    source->lane = {source->words, source->starts, source->sizes, source->nulls};
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

void make_room(LaneSource *source)
{
    source->words = static_cast<int64 *>(palloc(sizeof(int64) * agg::kBlockRows));
    source->starts = static_cast<const std::byte **>(palloc(sizeof(std::byte *) * agg::kBlockRows));
    source->sizes = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
    source->nulls = static_cast<uint8 *>(palloc(agg::kBlockRows));
}

int column_of(const LaneBuilder *builder, AttrNumber attnum)
{
    if (builder->block != nullptr)
        return attnum - 1;
    return spool::find_column(*builder->chunk, TupleDescAttr(builder->descriptor, attnum - 1));
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
    ExpressionCompiler compiler{};
    compiler.memory = &builder->memory;
    compiler.column = find_or_add_lane;
    compiler.arg = builder;
    List *const clauses = builder->plan->scan->scan.plan.qual;
    compile_where(builder, &compiler, clauses);
    compile_inputs(builder, &compiler);
    builder->is_compiled = true;
    builder->active = static_cast<uint8 *>(palloc(agg::kBlockRows));
    List *const rest = list_copy_tail(clauses, builder->nconditions);
    list_used_columns(builder, rest, &builder->left);
    for (int u = 0; u < builder->left.n; u++)
        builder->left.columns[u] =
            column_of(builder, static_cast<AttrNumber>(builder->left.attributes[u] + 1));
    if (rest != NIL)
        builder->rest = pg::in_context(builder->estate->es_query_cxt,
                                       [&] { return ExecInitQual(rest, nullptr); });
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

void point_to_result(LaneSource *source, uint32 nrows)
{
    const agg::Expression &result = *source->compiled;
    source->lane = {result.words, result.starts, result.sizes, result.nulls};
    if (result.type != agg::ValueType::kBool)
        return;
    for (uint32 i = 0; i < nrows; i++)
        source->words[i] = result.truth[i];
    source->lane.words = source->words;
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
        fill_column(builder, &builder->sources[i], first, nrows);
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

static void find_columns(LaneBuilder *builder)
{
    for (int i = 0; i < builder->nsources; i++)
        if (AttrNumber const attnum = builder->sources[i].attnum; attnum > 0)
            builder->sources[i].column = column_of(builder, attnum);
    for (SlotColumns *const list : {&builder->used, &builder->left})
        for (int u = 0; u < list->n; u++)
            list->columns[u] = column_of(builder, static_cast<AttrNumber>(list->attributes[u] + 1));
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
            fill_column(builder, &builder->sources[i], first, nrows);
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
