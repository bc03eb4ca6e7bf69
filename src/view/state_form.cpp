#include "view/state_form.hpp"

#include "pg/compat.hpp"
#include "view/combined_form.hpp"

extern "C" {
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "parser/parse_agg.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"
}

namespace pipeline::view {
namespace {

// The envelope, byte by byte:
//   0     version, 1
//   1     kind: 1 = native, 2 = foreign
//   native:   2 = NativeLayout, 3 = 0, then the bytes
//   foreign:  2-3 = server major, 4-7 = identity of the deserial function, then the bytes;
//             both little-endian
constexpr uint8 kVersion = 1;
constexpr uint8 kNativeKind = 1;
constexpr uint8 kForeignKind = 2;
constexpr Size kNativeHeader = 4;
constexpr Size kForeignHeader = 8;

struct NativeFunction {
    Oid serialfn;
    Oid deserialfn;
    NativeLayout layout;
};

constexpr NativeFunction kNativeFunctions[] = {
    {F_NUMERIC_AVG_SERIALIZE, F_NUMERIC_AVG_DESERIALIZE, NativeLayout::kNumericAvg},
    {F_NUMERIC_SERIALIZE, F_NUMERIC_DESERIALIZE, NativeLayout::kNumeric},
    {F_NUMERIC_POLY_SERIALIZE, F_NUMERIC_POLY_DESERIALIZE, NativeLayout::kNumericPoly},
    {F_INT8_AVG_SERIALIZE, F_INT8_AVG_DESERIALIZE, NativeLayout::kInt8Avg},
    {pg::kIntervalAvgSerialize, pg::kIntervalAvgDeserialize, NativeLayout::kIntervalAvg},
};

/// One of our own functions: nobody else may create any in this schema.
bool is_our_function(Oid function, const char *name)
{
    return get_func_namespace(function) == get_namespace_oid("pipelinedb", true) &&
           strcmp(get_func_name(function), name) == 0;
}

NativeLayout native_layout(Oid serialfn, Oid deserialfn)
{
    for (const NativeFunction &function : kNativeFunctions)
        if (function.serialfn == serialfn && function.deserialfn == deserialfn)
            return function.layout;
    if (is_our_function(serialfn, "combine_state_serialize") &&
        is_our_function(deserialfn, "combine_state_deserialize"))
        return NativeLayout::kCombined;
    return NativeLayout::kNone;
}

/// OIDs do not survive dump and restore, so the identity is made of the deserial function's
/// name and C symbol. Only superusers create functions over internal states: it guards
/// against handing one aggregate's bytes to another, not against forgery (the type's input
/// function does that).
uint32 identity_of(Oid deserialfn)
{
    HeapTuple const tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(deserialfn));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", deserialfn);
    auto *form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    bool isnull;
    Datum const source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
    char *const name =
        psprintf("%s/%s", NameStr(form->proname), isnull ? "" : TextDatumGetCString(source));
    ReleaseSysCache(tuple);
    return hash_bytes(reinterpret_cast<const unsigned char *>(name), int(strlen(name)));
}

/// Reads big-endian integers as pq_getmsgint does, but never past the end.
struct Cursor {
    const uint8 *at;
    const uint8 *end;
    bool ok = true;

    int64 integer(int width)
    {
        if (end - at < width) {
            ok = false;
            return 0;
        }
        uint64 value = 0;
        for (int i = 0; i < width; i++)
            value = value << 8 | *at++;
        return width == 4 ? int64(int32(value)) : width == 2 ? int64(int16(value)) : int64(value);
    }

    void count()
    {
        if (integer(8) < 0)
            ok = false;
    }

    /// numericvar_deserialize (numeric.c) takes any digits and any weight.
    void numeric_var(int64 max_weight)
    {
        constexpr int64 kMaxScale = 0x3FFF;
        int64 const ndigits = integer(4);
        int64 const weight = integer(4);
        int64 const sign = integer(4);
        int64 const scale = integer(4);
        if (!ok || ndigits < 0 || ndigits > max_weight + kMaxScale || weight < -kMaxScale ||
            weight > max_weight || (sign != 0x0000 && sign != 0x4000) || scale < 0 ||
            scale > kMaxScale)
            ok = false;
        for (int64 i = 0; ok && i < ndigits; i++) {
            int64 const digit = integer(2);
            if (digit < 0 || digit > 9999)
                ok = false;
        }
    }
};

/// A sum of squares of the largest numerics has weight 2 * 32767 and some carry.
constexpr int64 kMaxNumericWeight = 70000;
/// An int128 has 39 decimal digits, ten groups of four.
constexpr int64 kMaxInt128Weight = 9;

bool native_bytes_are_sound(NativeLayout layout, const uint8 *data, Size length)
{
    Cursor cursor{data, data + length};
    cursor.count(); // N
    switch (layout) {
    case NativeLayout::kNumericAvg:
    case NativeLayout::kNumeric:
        cursor.numeric_var(kMaxNumericWeight);
        if (layout == NativeLayout::kNumeric)
            cursor.numeric_var(kMaxNumericWeight);
        if (cursor.integer(4) < 0) // maxScale
            cursor.ok = false;
        for (int i = 0; i < 4; i++) // maxScaleCount, NaNcount, pInfcount, nInfcount
            cursor.count();
        break;
    case NativeLayout::kNumericPoly:
        cursor.numeric_var(kMaxInt128Weight);
        cursor.numeric_var(kMaxInt128Weight);
        break;
    case NativeLayout::kInt8Avg:
        cursor.numeric_var(kMaxInt128Weight);
        break;
    case NativeLayout::kIntervalAvg:
        cursor.integer(8); // sum of the finite ones: microseconds, days, months
        cursor.integer(4);
        cursor.integer(4);
        for (int i = 0; i < 2; i++) // pInfcount, nInfcount
            cursor.count();
        break;
    default:
        return false;
    }
    return cursor.ok && cursor.at == cursor.end;
}

enum class Soundness : uint8 { kMalformed, kForeign, kChecked };

Soundness envelope_soundness(const uint8 *data, Size length);

/// What is no envelope in it is read by the input function of its type, which trusts nobody.
Soundness combined_soundness(const uint8 *data, Size length)
{
    CombinedBytes parts;
    if (!read_combined(reinterpret_cast<const char *>(data), length, &parts))
        return Soundness::kMalformed;
    if (parts.kind != CombinedKind::kEnvelope)
        return Soundness::kChecked;
    return envelope_soundness(reinterpret_cast<const uint8 *>(parts.state), parts.state_size);
}

Soundness envelope_soundness(const uint8 *data, Size length)
{
    check_stack_depth();
    if (length < kNativeHeader || data[0] != kVersion)
        return Soundness::kMalformed;
    if (data[1] == kForeignKind && length >= kForeignHeader)
        return Soundness::kForeign;
    if (data[1] != kNativeKind || data[3] != 0)
        return Soundness::kMalformed;
    auto const layout = NativeLayout(data[2]);
    data += kNativeHeader;
    length -= kNativeHeader;
    if (layout == NativeLayout::kCombined)
        return combined_soundness(data, length);
    return native_bytes_are_sound(layout, data, length) ? Soundness::kChecked
                                                        : Soundness::kMalformed;
}

[[noreturn]] void refuse_aggregate(Oid aggregate, const char *detail)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("aggregate function %s cannot be combined", format_procedure(aggregate)),
                    errdetail_internal("%s", detail),
                    errhint("A continuous view needs aggregates with a combine function, and with "
                            "serial and deserial functions if their state is internal.")));
    pg_unreachable();
}

Oid collation_of_state(Oid transtype, Oid collation)
{
    if (!type_is_collatable(transtype))
        return InvalidOid;
    return OidIsValid(collation) ? collation : get_typcollation(transtype);
}

} // namespace

StateForm state_form_of(Oid aggregate, Oid result_type, Oid collation, Oid *input_types,
                        int num_inputs)
{
    HeapTuple const tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(tuple))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("%s is not an aggregate function", format_procedure(aggregate))));
    auto const row = *reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(tuple));
    ReleaseSysCache(tuple);

    if (row.aggkind != AGGKIND_NORMAL)
        refuse_aggregate(aggregate, "It is an ordered-set aggregate.");
    if (is_our_function(row.aggtransfn, "combine_placeholder"))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("combine aggregates are only supported on continuous views"),
                        errhint("In a continuous view, combine what another one has changed by: "
                                "combine((delta).column) FROM output_of('view').")));
    if (!OidIsValid(row.aggcombinefn))
        refuse_aggregate(aggregate, "It has no combine function.");

    StateForm form{};
    form.aggregate = aggregate;
    form.combinefn = row.aggcombinefn;
    form.finalfn = row.aggfinalfn;
    form.finalextra = row.aggfinalextra;
    form.polymorphic = IsPolymorphicType(row.aggtranstype);
    form.transtype = row.aggtranstype;
    if (form.polymorphic) {
        if (input_types == nullptr)
            ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
                            errmsg("could not determine the state type of aggregate function %s",
                                   format_procedure(aggregate)),
                            errhint("Pass NULLs of the aggregate's input types after the third "
                                    "argument.")));
        form.transtype =
            resolve_aggregate_transtype(aggregate, row.aggtranstype, input_types, num_inputs);
    }

    if (form.transtype == INTERNALOID) {
        if (!OidIsValid(row.aggserialfn) || !OidIsValid(row.aggdeserialfn))
            refuse_aggregate(aggregate, "Its state is internal and cannot be serialized.");
        form.kind = StateKind::kSerialized;
        form.serialfn = row.aggserialfn;
        form.deserialfn = row.aggdeserialfn;
        form.native = native_layout(form.serialfn, form.deserialfn);
        if (form.native == NativeLayout::kNone)
            form.identity = identity_of(form.deserialfn);
        form.column_type = aggregate_state_type();
    } else {
        bool const same = !OidIsValid(form.finalfn) && form.transtype == result_type;
        form.kind = same ? StateKind::kResult : StateKind::kTransition;
        form.column_type = form.transtype;
        form.column_collation = collation_of_state(form.transtype, collation);
    }
    return form;
}

StateForm state_form_of(const Aggref *aggref)
{
    Oid input_types[FUNC_MAX_ARGS];
    // get_aggregate_argtypes only reads its argument.
    int const num_inputs = get_aggregate_argtypes(const_cast<Aggref *>(aggref), input_types);
    return state_form_of(aggref->aggfnoid, aggref->aggtype, aggref->aggcollid, input_types,
                         num_inputs);
}

Datum initial_state(const StateForm &form, bool *isnull)
{
    HeapTuple const tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(form.aggregate));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for aggregate %u", form.aggregate);
    Datum const stored = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, isnull);
    char *const value = *isnull ? nullptr : TextDatumGetCString(stored);
    ReleaseSysCache(tuple);
    // An internal state has no initial value (aggregatecmds.c, DefineAggregate).
    if (*isnull || form.kind == StateKind::kSerialized) {
        *isnull = true;
        return Datum(0);
    }
    Oid input, io_param;
    getTypeInputInfo(form.transtype, &input, &io_param);
    return OidInputFunctionCall(input, value, io_param, -1);
}

Oid aggregate_state_type()
{
    Oid const schema = get_namespace_oid("pipelinedb", false);
    Oid const type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
                                     PointerGetDatum("aggregate_state"), ObjectIdGetDatum(schema));
    if (!OidIsValid(type))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("type \"%s\" does not exist", "pipelinedb.aggregate_state")));
    return type;
}

bytea *wrap_state(const StateForm &form, const bytea *serialized)
{
    bool const native = form.native != NativeLayout::kNone;
    Size const header = native ? kNativeHeader : kForeignHeader;
    Size const length = VARSIZE_ANY_EXHDR(serialized);
    auto *const stored = static_cast<bytea *>(palloc(VARHDRSZ + header + length));
    SET_VARSIZE(stored, VARHDRSZ + header + length);
    auto *const out = reinterpret_cast<uint8 *>(VARDATA(stored));
    out[0] = kVersion;
    if (native) {
        out[1] = kNativeKind;
        out[2] = uint8(form.native);
        out[3] = 0;
    } else {
        out[1] = kForeignKind;
        out[2] = uint8(pg::kServerMajor & 0xFF);
        out[3] = uint8(pg::kServerMajor >> 8);
        for (int i = 0; i < 4; i++)
            out[4 + i] = uint8(form.identity >> (8 * i));
    }
    memcpy(out + header, VARDATA_ANY(serialized), length);
    return stored;
}

bytea *unwrap_state(const StateForm &form, Datum stored)
{
    bytea *const value = DatumGetByteaPP(stored);
    Size const length = VARSIZE_ANY_EXHDR(value);
    auto *const data = reinterpret_cast<const uint8 *>(VARDATA_ANY(value));
    bool const native = form.native != NativeLayout::kNone;
    Size const header = native ? kNativeHeader : kForeignHeader;
    if (length < header || data[0] != kVersion)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("malformed aggregate state")));
    if (!native && data[1] == kForeignKind && (data[2] | data[3] << 8) != pg::kServerMajor)
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("stored state of aggregate function %s was written by PostgreSQL %d",
                        format_procedure(form.aggregate), data[2] | data[3] << 8),
                 errdetail("Its own serialized form may differ between major versions."),
                 errhint("Read the view on that version and store the results in a table.")));
    uint32 identity = 0;
    if (!native)
        for (int i = 0; i < 4; i++)
            identity |= uint32(data[4 + i]) << (8 * i);
    bool const matches = native ? data[1] == kNativeKind && data[2] == uint8(form.native)
                                : data[1] == kForeignKind && identity == form.identity;
    if (!matches)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("stored state does not belong to aggregate function %s",
                               format_procedure(form.aggregate))));
    auto *const serialized = static_cast<bytea *>(palloc(VARHDRSZ + length - header));
    SET_VARSIZE(serialized, VARHDRSZ + length - header);
    memcpy(VARDATA(serialized), data + header, length - header);
    return serialized;
}

bool check_envelope(const bytea *stored)
{
    Soundness const soundness = envelope_soundness(
        reinterpret_cast<const uint8 *>(VARDATA_ANY(stored)), VARSIZE_ANY_EXHDR(stored));
    if (soundness == Soundness::kMalformed)
        ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
                        errmsg("invalid value for type %s", "pipelinedb.aggregate_state")));
    return soundness == Soundness::kChecked;
}

} // namespace pipeline::view
