#include "fold/row_json.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/detoast.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

constexpr int kMaxJson = 64 * 1024;

/// A value of more bytes is not turned into text just to be cut.
constexpr Size kMaxOutput = 1024 * 1024;

/// The columns that are shown: of each its attribute of the stream and its column of the chunk.
struct Shown {
    int count;
    Form_pg_attribute *attributes;
    int *columns;
};

bool may_read(Oid stream, AttrNumber attnum, Oid reader)
{
    return pg_class_aclcheck(stream, reader, ACL_SELECT) == ACLCHECK_OK ||
           pg_attribute_aclcheck(stream, attnum, reader, ACL_SELECT) == ACLCHECK_OK;
}

/// A column that was added after the row was written is not in the chunk (-1).
Shown shown_columns(Relation stream, const spool::Chunk &chunk, Oid reader)
{
    TupleDesc const descriptor = RelationGetDescr(stream);
    Size const natts = static_cast<Size>(descriptor->natts) + 1;
    Shown shown{0, static_cast<Form_pg_attribute *>(palloc(sizeof(Form_pg_attribute) * natts)),
                static_cast<int *>(palloc(sizeof(int) * natts))};
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        if (attribute->attisdropped ||
            !may_read(RelationGetRelid(stream), attribute->attnum, reader))
            continue;
        int const column = chunk.find_column(attribute->attnum);
        bool const same =
            column < 0 || chunk.layout(static_cast<Size>(column)).type_oid == attribute->atttypid;
        shown.attributes[shown.count] = attribute;
        shown.columns[shown.count++] = same ? column : -1;
    }
    return shown;
}

NullableDatum value_of(const Shown &shown, int i, const spool::Chunk &chunk, uint32 row)
{
    int const column = shown.columns[i];
    if (column < 0 || chunk.is_null(static_cast<Size>(column), row))
        return {static_cast<Datum>(0), true};
    return {fetchatt(shown.attributes[i], chunk.value(static_cast<Size>(column), row)), false};
}

Size size_of(Form_pg_attribute attribute, Datum value)
{
    return attribute->attlen == -1 ? toast_raw_datum_size(value)
                                   : static_cast<Size>(attribute->attlen);
}

Size size_of_row(const Shown &shown, const spool::Chunk &chunk, uint32 row)
{
    Size size = 0;
    for (int i = 0; i < shown.count; i++)
        if (NullableDatum const value = value_of(shown, i, chunk, row); !value.isnull)
            size += size_of(shown.attributes[i], value.value);
    return size;
}

/// As to_jsonb() of the row.
text *whole_json(const Shown &shown, const spool::Chunk &chunk, uint32 row)
{
    TupleDesc const descriptor = CreateTemplateTupleDesc(shown.count);
    auto *values =
        static_cast<Datum *>(palloc(sizeof(Datum) * (static_cast<Size>(shown.count) + 1)));
    auto *nulls = static_cast<bool *>(palloc(static_cast<Size>(shown.count) + 1));
    for (int i = 0; i < shown.count; i++) {
        Form_pg_attribute const attribute = shown.attributes[i];
        TupleDescInitEntry(descriptor, static_cast<AttrNumber>(i + 1), NameStr(attribute->attname),
                           attribute->atttypid, attribute->atttypmod, attribute->attndims);
        NullableDatum const value = value_of(shown, i, chunk, row);
        values[i] = value.value;
        nulls[i] = value.isnull;
    }
    BlessTupleDesc(descriptor);
    HeapTuple const tuple = heap_form_tuple(descriptor, values, nulls);
    return DatumGetTextPP(DirectFunctionCall1(row_to_json, HeapTupleGetDatum(tuple)));
}

/// At most `share` bytes of the value's text.
char *cut_text(Form_pg_attribute attribute, Datum value, int share)
{
    if (size_of(attribute, value) > kMaxOutput)
        return psprintf("... (%zu bytes)", size_of(attribute, value));
    Oid output;
    bool is_varlena;
    getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
    char *const whole = OidOutputFunctionCall(output, value);
    int const length = static_cast<int>(strlen(whole));
    if (length <= share)
        return whole;
    int const kept = pg_mbcliplen(whole, length, share);
    return psprintf("%.*s...", kept, whole);
}

char *cut_json(const Shown &shown, const spool::Chunk &chunk, uint32 row)
{
    int const share = std::max(kMaxJson / std::max(shown.count, 1) - NAMEDATALEN, 16);
    StringInfoData json;
    initStringInfo(&json);
    for (int i = 0; i < shown.count; i++) {
        appendStringInfoString(&json, i == 0 ? "{" : ", ");
        escape_json(&json, NameStr(shown.attributes[i]->attname));
        appendStringInfoString(&json, ": ");
        NullableDatum const value = value_of(shown, i, chunk, row);
        if (value.isnull)
            appendStringInfoString(&json, "null");
        else
            escape_json(&json, cut_text(shown.attributes[i], value.value, share));
    }
    appendStringInfoString(&json, shown.count == 0 ? "{}" : "}");
    return json.data;
}

} // namespace

Datum row_as_jsonb(Relation stream, const spool::Chunk &chunk, uint32 row, Oid reader)
{
    Shown const shown = shown_columns(stream, chunk, reader);
    char *json = nullptr;
    if (size_of_row(shown, chunk, row) <= static_cast<Size>(kMaxJson)) {
        text *const whole = whole_json(shown, chunk, row);
        if (VARSIZE_ANY_EXHDR(whole) <= static_cast<Size>(kMaxJson))
            json = text_to_cstring(whole);
    }
    if (json == nullptr)
        json = cut_json(shown, chunk, row);
    return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

} // namespace pipeline::fold
