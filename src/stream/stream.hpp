// Streams: the foreign-data wrapper's callbacks.
//
// Owns: the way of a row from an executor slot into a chunk (stream_insert, row_encoder), and
// the scan of a stream inside the fold (stream_scan).
// May call: batch, spool, view/catalog. Nothing includes this folder but module.cpp.
// Invariant: a stream can be scanned only while a feed is set; everybody else is refused with
// a hint when the statement is planned.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "foreign/fdwapi.h"
}

namespace pipeline::stream {

void add_insert_callbacks(FdwRoutine *routine);
void add_scan_callbacks(FdwRoutine *routine);

} // namespace pipeline::stream
