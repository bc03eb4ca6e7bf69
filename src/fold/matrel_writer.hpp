// What a view's query returns goes into its table, by the shape of the view: groups or rows.
//
// Owns: which writer and which path computes. May call: group_writer, append_writer, partial.
// Invariants: the caller runs as the owner with the creation settings and has set the feed;
// without `write` nothing changes, but whatever fails would fail with it.
#pragma once

#include "fold/append_writer.hpp"
#include "fold/group_writer.hpp"
#include "fold/partition_writer.hpp"

namespace pipeline::fold {

struct MatrelWriter {
    Relation matrel;
    ViewMachine *machine;
    GroupWriter *groups; ///< one of the three, but for a transform, whose rows are written nowhere
    AppendWriter *rows;
    PartitionWriter *partitions;
    Emission *emission; ///< nullptr: nobody reads the changes
    partial::GroupReceiver receiver;
    void *arg;
};

/// Raises ERRCODE_LOCK_NOT_AVAILABLE while a restore of the table is under way.
MatrelWriter open_matrel(Relation matrel, FoldedView *view, bool write);

/// Runs the view's query over the feed.
void fold_into(const MatrelWriter &writer);

void close_matrel(const MatrelWriter &writer);

} // namespace pipeline::fold
