#include "dialect/run.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "parser/analyze.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
}

namespace pipeline::dialect {
namespace {

/// What only a client can run by itself. The position is the statement's beginning.
void refuse_client_statements(const Node *node)
{
    if (IsA(node, TransactionStmt))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("transaction control statements are not allowed in a script"),
                        errhint("A script is a part of the transaction that runs it; begin and end "
                                "that outside of DO."),
                        errposition(1)));
    if (IsA(node, CopyStmt) && reinterpret_cast<const CopyStmt *>(node)->filename == nullptr)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot copy from or to the client in a script"),
                        errhint("Run COPY on its own, outside of DO."), errposition(1)));
}

/// The relations that a statement changes, as a List of RangeVar.
List *targets_of(const Node *node)
{
    switch (nodeTag(node)) {
    case T_DropStmt: {
        List *targets = NIL;
        for (auto *name : pg::each<List>(reinterpret_cast<const DropStmt *>(node)->objects))
            targets = lappend(targets, makeRangeVarFromNameList(name));
        return targets;
    }
    case T_CommentStmt:
        return list_make1(makeRangeVarFromNameList(
            reinterpret_cast<List *>(reinterpret_cast<const CommentStmt *>(node)->object)));
    case T_AlterTableStmt:
        return list_make1(reinterpret_cast<const AlterTableStmt *>(node)->relation);
    case T_RenameStmt:
        return list_make1(reinterpret_cast<const RenameStmt *>(node)->relation);
    case T_AlterObjectSchemaStmt:
        return list_make1(reinterpret_cast<const AlterObjectSchemaStmt *>(node)->relation);
    default:
        return NIL;
    }
}

const char *kind_of(Target target)
{
    switch (target) {
    case Target::kStream:
        return "stream";
    case Target::kContinuousView:
        return "continuous view";
    default:
        return "continuous transform";
    }
}

bool is_target(Oid relid, Target target)
{
    if (target == Target::kStream)
        return view::is_stream(relid);
    const view::ContinuousQuery *const query = view::find_query(relid);
    if (query == nullptr || query->view != relid)
        return false;
    bool const transform = query->kind == view::QueryKind::kTransform;
    return transform == (target == Target::kContinuousTransform);
}

/// DROP STREAM must not drop some other foreign table, nor DROP CONTINUOUS VIEW an ordinary view.
/// What does not exist is the server's business.
void check_targets(Target target, const Node *node)
{
    if (target == Target::kAny)
        return;
    for (auto *name : pg::each<RangeVar>(targets_of(node))) {
        Oid const relid = RangeVarGetRelid(name, NoLock, true);
        if (OidIsValid(relid) && !is_target(relid, target))
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("\"%s\" is not a %s", name->relname, kind_of(target))));
    }
}

List *plan(RawStmt *raw, const char *text)
{
    bool const needs_snapshot = analyze_requires_snapshot(raw);
    if (needs_snapshot)
        PushActiveSnapshot(GetTransactionSnapshot());
    List *const queries = pg_analyze_and_rewrite_fixedparams(raw, text, nullptr, 0, nullptr);
    List *const plans = pg_plan_queries(queries, text, CURSOR_OPT_PARALLEL_OK, nullptr);
    if (needs_snapshot)
        PopActiveSnapshot();
    return plans;
}

/// As a client's own statement is run (postgres.c, exec_simple_query), in a portal of its own: so
/// its text is the statement's, for all who ask the active portal. It is no top-level statement,
/// so that it cannot commit. Rows go nowhere, as with PERFORM in PL/pgSQL.
void run_in_portal(RawStmt *raw, const char *text)
{
    List *const plans = plan(raw, text);
    Portal const portal = CreateNewPortal();
    portal->visible = false;
    PortalDefineQuery(portal, nullptr, text, CreateCommandTag(raw->stmt), plans, nullptr);
    PortalStart(portal, nullptr, 0, InvalidSnapshot);
    pg::portal_run(portal, None_Receiver);
    PortalDrop(portal, false);
    CommandCounterIncrement();
}

void run_statement(const Parsed &parsed)
{
    MemoryContext const context = AllocSetContextCreate(
        CurrentMemoryContext, "statement of a script", ALLOCSET_DEFAULT_SIZES);
    pg::in_context(context, [&] {
        for (auto *raw : pg::each<RawStmt>(parsed.raw)) {
            CHECK_FOR_INTERRUPTS();
            check_targets(parsed.rewritten.target, raw->stmt);
            run_in_portal(raw, parsed.rewritten.sql.text());
        }
    });
    MemoryContextDelete(context);
}

List *parse(const char *text)
{
    List *const raw = pg_parse_query(text);
    for (auto *statement : pg::each<RawStmt>(raw))
        refuse_client_statements(statement->stmt);
    return raw;
}

} // namespace

Growing<Parsed> read_script(Place &place)
{
    auto *script = static_cast<Script *>(palloc(sizeof(Script)));
    *script = scan(place.script);
    place.scanned = script;
    Growing<Parsed> result;
    for (int i = 0; i < script->statements.count; i++) {
        CHECK_FOR_INTERRUPTS();
        place.statement = &script->statements.items[i];
        place.running = nullptr;
        Parsed parsed{rewrite(*script, *place.statement), NIL};
        place.running = &parsed.rewritten;
        parsed.raw = parse(parsed.rewritten.sql.text());
        result.add(parsed);
    }
    place.statement = nullptr;
    place.running = nullptr;
    return result;
}

void run_script(const char *text)
{
    Place place = begin_script(text);
    with_place(place, [&] {
        Growing<Parsed> const statements = read_script(place);
        for (int i = 0; i < statements.count; i++) {
            const Parsed &parsed = statements.items[i];
            place.statement = parsed.rewritten.statement;
            place.running = &parsed.rewritten;
            run_statement(parsed);
        }
    });
}

} // namespace pipeline::dialect
