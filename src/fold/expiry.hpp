// Removal of expired rows: of a sliding window what is behind it, of a view with a ttl what is too
// old. For every view with an expire_column.
//
// Owns: which tables have expired rows and when the next one comes, between two ticks; each piece
// is a transaction of its own. May call: expired_rows, freed_pages, fold_state, view. Invariants:
// at most pipelinedb.ttl_expiration_batch_size rows and 10,000 per transaction; nobody's lock is
// waited for; while nothing expires nothing is done; an ERROR ends the piece, not the worker.
#pragma once

#include "fold/expiry_rule.hpp"

namespace pipeline::fold {

/// Brings the list up to date with the catalog (fold_state.cpp: refresh_state), where `queries` are
/// the continuous queries of this worker. In the context of the state.
void refresh_expiring(const List *queries);

/// Rows may have come that did not come through here: a relcache message, InvalidOid = any table.
void forget_expiry_of(Oid matrel);

/// The tick wrote rows of `matrel` that expire by this key or a later one. In the view's time zone.
void note_expiring(Oid matrel, const ExpiryRule &rule, ExpiryKey key);

/// Removes a piece, outside transactions. True if there is more to be removed at once.
bool remove_expired();

/// How long until there is something to do, in ms; -1 = nothing ever, as far as is known.
long next_expiry();

/// The same by pipelinedb.clock(), for the launcher: when a worker has to be there again.
/// 0 = no need.
TimestampTz expiry_wake_time();

} // namespace pipeline::fold
