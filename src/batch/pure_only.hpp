// The last include of every pure .cpp file: it fails to compile if the server is in sight.
//
// Owns: nothing. May call: nothing.
// Invariant: a pure file neither saw postgres.h before this line nor can use it after it:
// an ereport there would jump over destructors.
#pragma once

#if defined(POSTGRES_H) || defined(POSTGRES_FE_H) || defined(C_H)
#error "a pure file must not include a server header"
#endif

// C_H is the guard of c.h; the names are those that no server header gets along without.
#pragma GCC poison PG_VERSION_NUM Datum ereport elog errstart palloc pfree MemoryContext
