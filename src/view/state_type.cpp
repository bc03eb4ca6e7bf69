// The SQL type pipelinedb.aggregate_state: opaque bytes that only this library makes.
//
// Owns: its input and output. May call: view/state_form. Invariant: a value that did not come
// from the fold worker is either a native form whose bytes were checked, or was read by a
// superuser: the server's deserial functions trust their input and must not see forged bytes.
#include "view/state_form.hpp"

extern "C" {
#include "libpq/pqformat.h"
#include "utils/fmgrprotos.h"
}

namespace pipeline::view {
namespace {

Datum checked(bytea *value)
{
    bytea *const stored = DatumGetByteaPP(PointerGetDatum(value));
    if (!check_envelope(stored) && !superuser())
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("permission denied to read a serialized state of a foreign aggregate"),
                 errdetail("Its deserial function trusts the bytes."),
                 errhint("Restore the dump as a superuser.")));
    return PointerGetDatum(stored);
}

} // namespace
} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_aggregate_state_in);
PG_FUNCTION_INFO_V1(pipeline_aggregate_state_out);
PG_FUNCTION_INFO_V1(pipeline_aggregate_state_recv);
PG_FUNCTION_INFO_V1(pipeline_aggregate_state_send);

Datum pipeline_aggregate_state_in(PG_FUNCTION_ARGS)
{
    Datum const bytes = DirectFunctionCall1(byteain, PG_GETARG_DATUM(0));
    return pipeline::view::checked(DatumGetByteaPP(bytes));
}

/// Hexadecimal whatever bytea_output says, so that dumps are the same.
Datum pipeline_aggregate_state_out(PG_FUNCTION_ARGS)
{
    bytea *const stored = PG_GETARG_BYTEA_PP(0);
    size_t const length = VARSIZE_ANY_EXHDR(stored);
    auto *const hex = static_cast<char *>(palloc(2 + 2 * length + 1));
    hex[0] = '\\';
    hex[1] = 'x';
    hex_encode(VARDATA_ANY(stored), length, hex + 2);
    hex[2 + 2 * length] = '\0';
    PG_RETURN_CSTRING(hex);
}

Datum pipeline_aggregate_state_recv(PG_FUNCTION_ARGS)
{
    Datum const bytes = DirectFunctionCall1(bytearecv, PG_GETARG_DATUM(0));
    return pipeline::view::checked(DatumGetByteaPP(bytes));
}

Datum pipeline_aggregate_state_send(PG_FUNCTION_ARGS)
{
    PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}
}
