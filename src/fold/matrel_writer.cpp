#include "fold/matrel_writer.hpp"

#include "fold/expiry.hpp"
#include "partial/vector.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

namespace pipeline::fold {
namespace {

[[noreturn]] void refuse_half_restored(Relation matrel, const char *what)
{
    ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                    errmsg("table \"%s\" has no %s", RelationGetRelationName(matrel), what),
                    errhint("Rows wait until the %s of the view's table is back.", what)));
    pg_unreachable();
}

/// partial::GroupReceiver
void hand_on_row(TupleTableSlot *row, void *arg)
{
    emit_row(static_cast<Emission *>(arg), row);
}

bool is_partitioned(Relation matrel)
{
    return matrel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
}

/// A group whose time is over counts as gone, as of the beginning of the tick.
void look_at_expiry(Relation matrel, const FoldedView *view)
{
    ViewMachine *const machine = view->machine;
    machine->expiry = {};
    machine->first_written = kNoKey;
    if (view->query.expire_column == 0 || is_partitioned(matrel))
        return;
    machine->expiry = make_rule(matrel, view->query.expire_column, view->query.expire_after);
    machine->expiry_cutoff = cutoff_at(machine->expiry, pg::statement_time());
}

} // namespace

MatrelWriter open_matrel(Relation matrel, FoldedView *view, bool write)
{
    ViewMachine *const machine = view->machine;
    MatrelWriter writer{};
    writer.matrel = matrel;
    writer.machine = machine;
    writer.emission = write ? view->emission : nullptr;
    look_at_expiry(matrel, view);
    if (view->query.kind == view::QueryKind::kTransform) {
        writer.emission = view->emission;
        writer.receiver = hand_on_row;
        writer.arg = writer.emission;
    } else if (is_partitioned(matrel)) {
        writer.receiver = route_row;
        writer.arg = writer.partitions = open_partitions(matrel, view, writer.emission, write);
    } else if (machine->append) {
        writer.receiver = append_row;
        writer.arg = writer.rows = open_append(matrel, machine, writer.emission, write);
    } else {
        writer.receiver = write_group;
        writer.arg = writer.groups = open_groups(matrel, machine, writer.emission, write, 1);
    }
    if (writer.arg == nullptr)
        refuse_half_restored(matrel,
                             writer.groups == nullptr && !machine->append && !is_partitioned(matrel)
                                 ? "index over the groups"
                                 : "guard trigger");
    if (writer.emission != nullptr)
        open_changes(writer.emission,
                     view->query.kind == view::QueryKind::kTransform ? nullptr : matrel);
    return writer;
}

void fold_into(const MatrelWriter &writer)
{
    partial::GeneralPlan *const plan = writer.machine->plan;
    const partial::VectorPlan *const vector_plan = writer.machine->vector_plan;
    const spool::Feed &feed = *spool::current_feed();
    if (writer.receiver == hand_on_row || writer.machine->append) {
        partial::run_plan(plan, writer.receiver, writer.arg);
        return;
    }
    bool const may_run = vector_plan != nullptr && partial::may_run(vector_plan);
    if (may_run && settings::vectorize && spool::is_whole(feed)) {
        partial::run_vector_plan(vector_plan, feed, writer.receiver, writer.arg);
        return;
    }
    if (feed.nchunks > 0 || !may_run)
        partial::run_plan(plan, writer.receiver, writer.arg);
    if (feed.npartials == 0)
        return;
    // What a writer could aggregate has a plan for that here, too: it depends on the definition
    // only.
    if (!may_run)
        ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                        errmsg("waiting rows were aggregated for another definition of the view")));
    spool::Feed partials = feed;
    partials.nchunks = 0;
    partial::run_vector_plan(vector_plan, partials, writer.receiver, writer.arg);
}

void close_matrel(const MatrelWriter &writer)
{
    if (writer.partitions != nullptr)
        close_partitions(writer.partitions);
    else if (writer.rows != nullptr)
        close_append(writer.rows);
    else if (writer.groups != nullptr)
        close_groups(writer.groups);
    if (writer.emission != nullptr)
        close_changes(writer.emission, writer.receiver == hand_on_row ? nullptr : writer.matrel);
    if (writer.machine->first_written != kNoKey)
        note_expiring(RelationGetRelid(writer.matrel), writer.machine->expiry,
                      writer.machine->first_written);
}

} // namespace pipeline::fold
