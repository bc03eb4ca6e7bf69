// The extension's settings (GUCs), prefix "pipelinedb.".
//
// Owns: the variables behind them. Everybody may read them; only the server's GUC machinery
// writes. README.md documents each with unit and default.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::settings {

enum InsertLevel : int { kAsync = 0, kSyncReceive = 1, kSyncCommit = 2 };

/// What happens at 100 % of max_spool_size.
enum FullSpoolAction : int { kDetach = 0, kReject = 1 };

extern char *stream_targets;          ///< views that alone get this session's rows; empty = all
extern int stream_insert_level;       ///< an InsertLevel
extern bool read_own_writes;          ///< SELECT waits for this session's own committed writes
extern int read_own_writes_timeout;   ///< ms; how long such a SELECT waits at most
extern bool matrels_writable;         ///< allow DML on the tables behind views
extern int preaggregate_after;        ///< rows of a statement; -1 = never
extern int num_workers;               ///< fold workers per database
extern bool folding;                  ///< false: no fold worker runs
extern bool vectorize;                ///< common queries by loops over columns
extern int fold_interval;             ///< ms; pause after a tick that folded little
extern int fold_batch;                ///< kB of chunks that one tick takes at most
extern int fold_memory;               ///< kB; groups that a fold worker keeps in memory at most
extern int view_timeout;              ///< ms; the longest turn of a view in a tick, 0 = no limit
extern int max_errors;                ///< rejected rows that are kept per view
extern int spool_generation_size;     ///< MB; a larger spool table is rotated
extern int max_spool_size;            ///< MB; of all spool tables of a database, 0 = no limit
extern int spool_full_action;         ///< a FullSpoolAction
extern int idle_exit;                 ///< s; a fold worker idle for so long exits
extern int fillfactor;                ///< default fillfactor of a view's table
extern double step_factor;            ///< %; default step of sliding windows
extern int clock_offset;              ///< s; added to the clock (pg/clock.hpp), for tests
extern int ttl_expiration_batch_size; ///< rows per transaction; 0 = as many as there may be
extern char *stop_points;             ///< "name:action, …", for tests; empty = none

/// Registers all of them and reserves the prefix.
void define_all();

} // namespace pipeline::settings
