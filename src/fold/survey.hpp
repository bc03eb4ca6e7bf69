// A survey: the transactions of a backlog that does not fit one tick, so that ticks can take
// them in order and in bounded groups without reading the whole backlog each time.
//
// Owns: Survey in memory, at most kMaxSurveyed transactions (the lowest xids; the rest is
// surveyed later). May call: spool/reader, fold_state. Invariant: groups are ascending in xid
// and together cover the survey's target below its limit.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

constexpr int kMaxSurveyed = 262144;

/// Reads the spool from `from` and notes the transactions in `target` that the consumer lacks.
void make_survey(Consumer *consumer, const spool::XidSet &target, spool::Position from,
                 Snapshot snapshot);

/// What the next tick takes: every transaction below `limit` that is still missing, but for
/// the big ones, which are folded by piece.
struct SurveyedGroup {
    uint64 limit;
    spool::Position from;
    spool::Position to;
    SurveyedTransaction *big;
    int nbig;
    bool last; ///< nothing is left after this group
};

/// At most `max_big` of the transactions may be big.
SurveyedGroup next_group(Consumer *consumer, Size budget, int max_big);

/// True if the consumer's progress has all that the survey found.
bool is_finished(Consumer *consumer);

} // namespace pipeline::fold
