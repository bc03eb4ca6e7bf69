#include "view/output_function.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"
#include "view/create_transform.hpp"
#include "view/matrel.hpp"

extern "C" {
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/varlena.h"
}

namespace pipeline::view {
namespace {

[[noreturn]] void refuse_argument()
{
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid output function argument"),
             errhint("Arguments are constants: outputfunc = name('one', 'two').")));
    pg_unreachable();
}

Node *string_of(const Node *arg)
{
    if (!IsA(arg, A_Const))
        refuse_argument();
    const auto *constant = reinterpret_cast<const A_Const *>(arg);
    if (constant->isnull)
        refuse_argument();
    switch (nodeTag(&constant->val)) {
    case T_String:
        return reinterpret_cast<Node *>(makeString(pstrdup(constant->val.sval.sval)));
    case T_Integer:
        return reinterpret_cast<Node *>(makeString(psprintf("%d", constant->val.ival.ival)));
    case T_Float:
        return reinterpret_cast<Node *>(makeString(pstrdup(constant->val.fval.fval)));
    default:
        refuse_argument();
    }
}

List *strings_of(const List *args)
{
    List *strings = NIL;
    for (auto *arg : pg::each<Node>(args))
        strings = lappend(strings, string_of(arg));
    return strings;
}

/// name('arg') in a string: read by the server's own grammar.
OutputFunction parse_string(const char *text)
{
    OutputFunction parsed{};
    List *const statements = raw_parser(psprintf("SELECT %s", text), RAW_PARSE_DEFAULT);
    Node *const only =
        list_length(statements) == 1 ? linitial_node(RawStmt, statements)->stmt : nullptr;
    auto *const select = reinterpret_cast<SelectStmt *>(only);
    if (only == nullptr || !IsA(only, SelectStmt) || list_length(select->targetList) != 1)
        refuse_argument();
    Node *const value = linitial_node(ResTarget, select->targetList)->val;
    if (IsA(value, FuncCall)) {
        parsed.name = reinterpret_cast<FuncCall *>(value)->funcname;
        parsed.args = strings_of(reinterpret_cast<FuncCall *>(value)->args);
    } else if (IsA(value, ColumnRef)) {
        parsed.name = reinterpret_cast<ColumnRef *>(value)->fields;
    } else {
        refuse_argument();
    }
    return parsed;
}

RangeVar *range_of(const char *name)
{
    return makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
}

/// The targets of the trigger that a stream's rows go to, if it is insert_into_stream(). One that
/// was dropped or renamed since gets no rows.
List *targets_of(const Trigger *trigger)
{
    List *targets = NIL;
    if (trigger->tgfoid != insert_into_stream_function())
        return targets;
    for (int i = 0; i < trigger->tgnargs; i++)
        if (Oid const target = RangeVarGetRelid(range_of(trigger->tgargs[i]), NoLock, true);
            OidIsValid(target))
            targets = lappend_oid(targets, target);
    return targets;
}

/// The streams with their schemas: the search path of whoever looks at the trigger later, a restore
/// too, is another one.
List *qualified_streams(const List *names)
{
    List *qualified = NIL;
    for (auto *name : pg::each<Node>(names)) {
        Oid const stream = named_stream(strVal(name));
        char *const text = quote_qualified_identifier(get_namespace_name(get_rel_namespace(stream)),
                                                      get_rel_name(stream));
        qualified = lappend(qualified, makeString(text));
    }
    return qualified;
}

List *targets_of_output(Oid output)
{
    return pg::with_relation(output, AccessShareLock, [](Relation rel) {
        List *targets = NIL;
        const TriggerDesc *const triggers = rel->trigdesc;
        for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++)
            targets = list_concat(targets, targets_of(&triggers->triggers[i]));
        return targets;
    });
}

struct Search {
    const List *queries;
    const List *goals;
    List *seen;
};

bool reaches(Search *search, Oid stream)
{
    check_stack_depth();
    if (list_member_oid(search->goals, stream))
        return true;
    if (list_member_oid(search->seen, stream))
        return false;
    search->seen = lappend_oid(search->seen, stream);
    for (auto *query : pg::each<ContinuousQuery>(search->queries)) {
        if (!query->reads_stream(stream) || !OidIsValid(query->output))
            continue;
        if (reaches(search, query->output))
            return true;
        for (Oid const target : pg::each_oid(targets_of_output(query->output)))
            if (reaches(search, target))
                return true;
    }
    return false;
}

} // namespace

OutputFunction parse_output_function(const DefElem *option)
{
    OutputFunction parsed{};
    if (option == nullptr)
        return parsed;
    if (option->arg != nullptr && IsA(option->arg, TypeName)) {
        // The grammar takes name('arg') for a type with modifiers.
        auto *const type = reinterpret_cast<TypeName *>(option->arg);
        parsed.name = type->names;
        parsed.args = strings_of(type->typmods);
    } else if (option->arg != nullptr && IsA(option->arg, String)) {
        parsed = parse_string(strVal(option->arg));
    } else {
        refuse_argument();
    }
    parsed.function = LookupFuncName(parsed.name, 0, nullptr, false);
    return parsed;
}

/// The server checks that it is a trigger function, and the right to call it.
void call_for_output(const OutputFunction &function, Oid output)
{
    bool const inserts = function.function == insert_into_stream_function();
    if (inserts && function.args == NIL)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("function insert_into_stream needs the name of a stream"),
                        errhint("Write outputfunc = pipelinedb.insert_into_stream('stream').")));
    if (inserts)
        pg::with_relation(output, AccessShareLock, [&](Relation rel) {
            for (auto *name : pg::each<Node>(function.args))
                check_target(named_stream(strVal(name)), RelationGetDescr(rel));
        });
    CreateTrigStmt *const statement = makeNode(CreateTrigStmt);
    statement->trigname = pstrdup(kOutputTrigger);
    statement->relation =
        makeRangeVar(get_namespace_name(get_rel_namespace(output)), get_rel_name(output), -1);
    statement->funcname = function.name;
    statement->args = inserts ? qualified_streams(function.args) : function.args;
    statement->row = true;
    statement->timing = TRIGGER_TYPE_AFTER;
    statement->events = TRIGGER_TYPE_INSERT;
    run_subcommand(statement);
}

bool is_called_for_output(const OutputFunction &function, Oid output)
{
    return pg::with_relation(output, AccessShareLock, [&](Relation rel) {
        const TriggerDesc *const triggers = rel->trigdesc;
        for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
            const Trigger &trigger = triggers->triggers[i];
            bool same = trigger.tgfoid == function.function &&
                        trigger.tgnargs == list_length(function.args);
            for (int a = 0; same && a < trigger.tgnargs; a++)
                same = strcmp(trigger.tgargs[a], strVal(list_nth(function.args, a))) == 0;
            if (same)
                return true;
        }
        return false;
    });
}

bool leads_to(Oid stream, const List *goals)
{
    Search search{list_queries(), goals, NIL};
    return reaches(&search, stream);
}

void check_no_cycle(const OutputFunction &function, const List *streams)
{
    if (!OidIsValid(function.function) || function.function != insert_into_stream_function())
        return;
    for (auto *name : pg::each<Node>(function.args))
        if (leads_to(named_stream(strVal(name)), streams))
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                     errmsg("rows of the transform would come back to it"),
                     errdetail("What it inserts into \"%s\" leads to a stream that it reads.",
                               strVal(name)),
                     errhint("Insert into a stream that no query on the way back reads.")));
}

void check_trigger(Oid stream, Oid source)
{
    if (is_stream(source) && leads_to(stream, list_make1_oid(source)))
        ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                        errmsg("rows of stream \"%s\" would come back to it", get_rel_name(source)),
                        errdetail("What its trigger inserts into \"%s\" leads to it.",
                                  get_rel_name(stream)),
                        errhint("Insert into a stream that no query on the way back reads.")));
}

void check_trigger(const CreateTrigStmt *statement, Oid source)
{
    if (LookupFuncName(statement->funcname, 0, nullptr, true) != insert_into_stream_function())
        return;
    for (auto *name : pg::each<Node>(statement->args))
        if (Oid const target = RangeVarGetRelid(range_of(strVal(name)), NoLock, true);
            OidIsValid(target))
            check_trigger(target, source);
}

Oid insert_into_stream_function()
{
    return LookupFuncName(
        list_make2(makeString(pstrdup("pipelinedb")), makeString(pstrdup("insert_into_stream"))), 0,
        nullptr, false);
}

Oid named_stream(const char *name)
{
    RangeVar *const range = range_of(name);
    Oid const relid = RangeVarGetRelid(range, NoLock, false);
    if (!is_stream(relid))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("\"%s\" is not a stream", range->relname),
                        errhint("Name streams, as in CREATE FOREIGN TABLE ... SERVER "
                                "pipelinedb.")));
    return relid;
}

} // namespace pipeline::view
