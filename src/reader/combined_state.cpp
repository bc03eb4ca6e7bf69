#include "reader/combined_state.hpp"

#include "pg/guard.hpp"
#include "pg/scope.hpp"
#include "view/combined_form.hpp"

extern "C" {
#include "access/transam.h"
#include "lib/stringinfo.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"
}

namespace pipeline::reader {

using view::CombinedBytes;
using view::CombinedKind;

struct StateText {
    char *header;
    Size header_size;
    CombinedKind kind; ///< of states that are not NULL
    FmgrInfo output;   ///< the type's send or output function
    FmgrInfo input;
    Oid io_param;
};

namespace {

void append_string(StringInfo buffer, const char *string)
{
    appendBinaryStringInfo(buffer, string, int(strlen(string)) + 1);
}

void write_header(const StateSite &site, StateText *text)
{
    StringInfoData buffer;
    initStringInfo(&buffer);
    append_string(&buffer, format_procedure_qualified(site.aggregate));
    append_string(&buffer,
                  OidIsValid(site.result_type) ? format_type_be_qualified(site.result_type) : "");
    for (int i = 0; i < site.inputs.count; i++) {
        Oid const named = site.inputs.named[i];
        append_string(&buffer, format_type_be_qualified(site.inputs.types[i]));
        append_string(&buffer, OidIsValid(named) ? format_procedure_qualified(named) : "");
    }
    text->header = buffer.data;
    text->header_size = Size(buffer.len);
}

/// The binary forms of types that users made hold their OIDs (array_send, record_send), which
/// other databases do not share.
void find_functions(const StateSite &site, StateText *text, MemoryContext context)
{
    Oid const type = site.calls.form.column_type;
    HeapTuple const tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for type %u", type);
    auto *form = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple));
    bool const binary =
        type < FirstNormalObjectId && OidIsValid(form->typsend) && OidIsValid(form->typreceive);
    Oid const output = binary ? form->typsend : form->typoutput;
    Oid const input = binary ? form->typreceive : form->typinput;
    text->io_param = getTypeIOParam(tuple);
    ReleaseSysCache(tuple);
    text->kind = binary ? CombinedKind::kBinary : CombinedKind::kText;
    fmgr_info_cxt(output, &text->output, context);
    fmgr_info_cxt(input, &text->input, context);
}

StateText *text_of(StateSite *site)
{
    if (site->text != nullptr)
        return site->text;
    MemoryContext const context = GetMemoryChunkContext(site);
    return site->text = pg::in_context(context, [&] {
               auto *text = static_cast<StateText *>(palloc0(sizeof(StateText)));
               write_header(*site, text);
               if (site->calls.is_serialized())
                   text->kind = CombinedKind::kEnvelope;
               else
                   find_functions(*site, text, context);
               return text;
           });
}

/// As postgres_fdw does it: a text form that every server reads back to the same value.
template <typename Fn> auto with_portable_settings(Fn &&fn)
{
    int const level = NewGUCNestLevel();
    constexpr struct {
        const char *name;
        const char *value;
    } kSettings[] = {
        {"datestyle", "ISO"},
        {"intervalstyle", "postgres"},
        {"extra_float_digits", "3"},
        {"search_path", "pg_catalog, pg_temp"},
    };
    for (auto const &setting : kSettings)
        (void) set_config_option(setting.name, setting.value, PGC_USERSET, PGC_S_SESSION,
                                 GUC_ACTION_SAVE, true, 0, false);
    auto result = fn();
    AtEOXact_GUC(true, level);
    return result;
}

void write_value(StateText *text, Datum value, CombinedBytes *parts)
{
    parts->kind = text->kind;
    if (text->kind == CombinedKind::kText) {
        parts->state =
            with_portable_settings([&] { return OutputFunctionCall(&text->output, value); });
        parts->state_size = strlen(parts->state) + 1;
        return;
    }
    bytea *bytes = nullptr;
    if (text->kind == CombinedKind::kBinary)
        pg::in_database_encoding([&] { bytes = SendFunctionCall(&text->output, value); });
    else
        bytes = DatumGetByteaPP(value);
    parts->state = VARDATA_ANY(bytes);
    parts->state_size = VARSIZE_ANY_EXHDR(bytes);
}

[[noreturn]] void refuse_bytes()
{
    ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("malformed aggregate state")));
    pg_unreachable();
}

Datum read_value(StateText *text, const CombinedBytes &parts)
{
    if (parts.kind != text->kind)
        refuse_bytes();
    if (text->kind == CombinedKind::kText)
        return with_portable_settings([&] {
            return InputFunctionCall(&text->input, const_cast<char *>(parts.state), text->io_param,
                                     -1);
        });
    StringInfoData buffer;
    initStringInfo(&buffer);
    appendBinaryStringInfo(&buffer, parts.state, int(parts.state_size));
    if (text->kind == CombinedKind::kBinary) {
        Datum value = Datum(0);
        pg::in_database_encoding(
            [&] { value = ReceiveFunctionCall(&text->input, &buffer, text->io_param, -1); });
        if (buffer.cursor != buffer.len)
            refuse_bytes();
        return value;
    }
    auto *const stored = static_cast<bytea *>(palloc(VARHDRSZ + parts.state_size));
    SET_VARSIZE(stored, VARHDRSZ + parts.state_size);
    memcpy(VARDATA(stored), parts.state, parts.state_size);
    return PointerGetDatum(stored);
}

/// The strings of a header, one after the other.
struct HeaderReader {
    const char *at;
    const char *end;

    char *next()
    {
        if (at >= end)
            refuse_bytes();
        char *const string = pstrdup(at);
        at += strlen(string) + 1;
        return string;
    }
};

Oid named_type(char *name)
{
    return DatumGetObjectId(DirectFunctionCall1(regtypein, CStringGetDatum(name)));
}

Oid named_aggregate(char *name)
{
    return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
}

/// Types that the aggregate does not leave open are its own: state_site compares the rest.
StateRequest read_header(const CombinedBytes &parts)
{
    StateRequest request{};
    HeaderReader reader{parts.header, parts.header + parts.header_size};
    request.aggregate = named_aggregate(reader.next());
    char *const result = reader.next();
    request.result_type = *result != '\0' ? named_type(result) : InvalidOid;
    Inputs &inputs = request.inputs;
    while (reader.at < reader.end) {
        if (inputs.count == FUNC_MAX_ARGS)
            refuse_bytes();
        inputs.types[inputs.count] = named_type(reader.next());
        char *const named = reader.next();
        inputs.named[inputs.count] = *named != '\0' ? named_aggregate(named) : InvalidOid;
        inputs.count++;
    }
    return request;
}

bool has_header(const StateSite *site, const CombinedBytes &parts)
{
    return site->text->header_size == parts.header_size &&
           memcmp(site->text->header, parts.header, parts.header_size) == 0;
}

/// The state is read by the input functions of the expected aggregate, so what the bytes say of
/// another one is a mistake at worst. Of a name that is no more, it may have been renamed.
void check_header(const StateSite *site, const CombinedBytes &parts)
{
    if (has_header(site, parts))
        return;
    LOCAL_FCINFO(call, 1);
    InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
    call->args[0] = {CStringGetTextDatum(parts.header), false};
    Oid const named = DatumGetObjectId(to_regprocedure(call));
    if (!call->isnull && named != site->aggregate)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("stored state does not belong to aggregate function %s",
                               format_procedure(site->aggregate)),
                        errdetail("It is one of %s.", format_procedure(named))));
}

StateSite *expected_site(FmgrInfo *function, const CombinedBytes &parts,
                         const StateRequest &expected)
{
    StateSite *site = find_site(static_cast<StateSite *>(function->fn_extra), expected.aggregate);
    if (site == nullptr) {
        site = make_site(function, expected);
        (void) text_of(site);
    }
    check_header(site, parts);
    return site;
}

StateSite *site_of_bytes(FmgrInfo *function, const CombinedBytes &parts)
{
    for (auto *site = static_cast<StateSite *>(function->fn_extra); site != nullptr;
         site = site->next)
        if (site->user == GetUserId() && has_header(site, parts))
            return site;
    StateRequest const request = read_header(parts);
    StateSite *const site = make_site(function, request);
    (void) text_of(site);
    return site;
}

/// As ExecAggTransReparent (execExprInterp.c): the new value in the aggregate's memory, the old
/// one freed.
Datum keep_value(const view::StateCalls &calls, NullableDatum before, NullableDatum after,
                 MemoryContext context)
{
    Datum kept = Datum(0);
    if (!after.isnull) {
        bool const own = DatumIsReadWriteExpandedObject(after.value, false, calls.length) &&
                         MemoryContextGetParent(DatumGetEOHP(after.value)->eoh_context) == context;
        kept = own ? after.value : pg::in_context(context, [&] {
            return datumCopy(after.value, false, calls.length);
        });
    }
    if (!before.isnull) {
        if (DatumIsReadWriteExpandedObject(before.value, false, calls.length))
            DeleteExpandedObject(before.value);
        else
            pfree(DatumGetPointer(before.value));
    }
    return kept;
}

} // namespace

CombinedState *new_state(StateSite *site)
{
    auto *state = static_cast<CombinedState *>(palloc(sizeof(CombinedState)));
    state->site = site;
    state->value = view::copy_state(site->calls, site->initial);
    state->fresh = site->initial.isnull;
    state->raw = false;
    return state;
}

void advance_state(CombinedState *state, NullableDatum stored, Oid collation, MemoryContext context)
{
    view::StateCalls &calls = state->site->calls;
    AggState *const agg = state->site->agg;
    if (calls.combine.fn_strict) {
        if (stored.isnull)
            return;
        if (state->fresh) {
            state->value = pg::in_context(context, [&] { return view::copy_state(calls, stored); });
            state->fresh = false;
            return;
        }
        if (state->value.isnull)
            return;
    }
    if (calls.is_serialized()) {
        if (!stored.isnull)
            stored.value = PointerGetDatum(view::unwrap_state(calls.form, stored.value));
        stored = view::deserialize_state(calls, agg, stored);
    }
    NullableDatum result =
        view::call_state_function(calls, &calls.combine, collation, agg, 2, state->value, stored);
    bool const same = !result.isnull && !state->value.isnull && result.value == state->value.value;
    if (!calls.byval && !same)
        result.value = keep_value(calls, state->value, result, context);
    state->value = result;
    state->fresh = false;
}

NullableDatum stored_value(CombinedState *state)
{
    if (state->raw)
        return state->value;
    return view::store_state(state->site->calls, state->site->agg, state->value);
}

bytea *serialize_combined(CombinedState *state)
{
    StateText *const text = text_of(state->site);
    CombinedBytes parts{CombinedKind::kNone, text->header, text->header_size, nullptr, 0};
    NullableDatum const stored = stored_value(state);
    if (!stored.isnull)
        write_value(text, stored.value, &parts);
    return view::write_combined(parts);
}

CombinedState *deserialize_combined(FmgrInfo *function, const bytea *bytes,
                                    const StateRequest *expected)
{
    CombinedBytes parts;
    if (!view::read_combined(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &parts))
        refuse_bytes();
    auto *state = static_cast<CombinedState *>(palloc0(sizeof(CombinedState)));
    state->site = expected != nullptr ? expected_site(function, parts, *expected)
                                      : site_of_bytes(function, parts);
    state->raw = true;
    state->value = parts.kind == CombinedKind::kNone
                       ? view::null_datum()
                       : NullableDatum{read_value(state->site->text, parts), false};
    return state;
}

} // namespace pipeline::reader
