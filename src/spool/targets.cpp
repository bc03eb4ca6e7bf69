#include "spool/targets.hpp"

#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "spool/shared_state.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"
}

namespace pipeline::spool {
namespace {

struct Aim {
    Oid stream; ///< InvalidOid = none
    Oid view;
    SubTransactionId subtransaction;
};

constinit Aim aim{};

/// Subtransactions get ascending numbers: one that fails takes along what its children did.
void forget_aim_of(SubXactEvent event, SubTransactionId mine, SubTransactionId, void *)
{
    if (event == SUBXACT_EVENT_ABORT_SUB && aim.subtransaction >= mine)
        aim = {};
}

void forget_aim(XactEvent event, void *)
{
    if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
        aim = {};
}

[[noreturn]] void refuse_list()
{
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("invalid list syntax in parameter \"%s\"", "stream_targets"),
             errhint("Set pipelinedb.stream_targets to names of continuous views, with commas "
                     "between them.")));
}

/// The end of the list's next element: a comma that is not within quotes, or the end.
char *end_of_element(char *start)
{
    bool quoted = false;
    char *at = start;
    for (; *at != '\0' && (quoted || *at != ','); at++)
        quoted ^= *at == '"';
    return at;
}

/// Cuts the next element off `*list`, which is changed, and parses it.
RangeVar *next_name(char **list)
{
    char *const end = end_of_element(*list);
    bool const is_last = *end == '\0';
    char *const element = *list;
    *end = '\0';
    *list = is_last ? nullptr : end + 1;
    List *parts = NIL;
    if (!SplitIdentifierString(element, '.', &parts) || parts == NIL || list_length(parts) > 3)
        refuse_list();
    List *names = NIL;
    for (int i = 0; i < list_length(parts); i++)
        names = lappend(names, makeString(static_cast<char *>(list_nth(parts, i))));
    return makeRangeVarFromNameList(names);
}

const view::ContinuousQuery *find_view(Oid relid)
{
    const view::ContinuousQuery *const query =
        OidIsValid(relid) ? view::find_query(relid) : nullptr;
    return query != nullptr && query->view == relid ? query : nullptr;
}

/// InvalidOid if the view does not read the stream. Whoever drops a view waits for those who write
/// for it; who comes after him finds it gone.
Oid resolve(const RangeVar *name, Oid stream)
{
    Oid const relid = RangeVarGetRelid(name, NoLock, true);
    const view::ContinuousQuery *query = find_view(relid);
    if (query != nullptr && !query->reads_stream(stream))
        return InvalidOid;
    if (query != nullptr) {
        LockRelationOid(relid, AccessShareLock);
        query = find_view(relid);
    }
    if (query == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("continuous view \"%s\" does not exist",
                               NameListToString(name->schemaname != nullptr
                                                    ? list_make2(makeString(name->schemaname),
                                                                 makeString(name->relname))
                                                    : list_make1(makeString(name->relname)))),
                        errdetail("It is named in pipelinedb.stream_targets.")));
    return relid;
}

/// A trigger or function that runs with the rights of another role writes for all: who fires it
/// must not choose which views see what it logs. Nor does a fold worker have targets, whatever
/// ALTER DATABASE says.
bool follows_setting()
{
    const char *const list = settings::stream_targets;
    return list != nullptr && list[0] != '\0' && !InLocalUserIdChange() &&
           !InSecurityRestrictedOperation() && !am_fold_worker();
}

/// A view that reads several streams has to be told which one; most read one, and a chunk then has
/// the room.
Source source_of(Oid view, Oid stream)
{
    const view::ContinuousQuery *const query = find_view(view);
    bool const is_first = query == nullptr || query->streams[0] == stream;
    return {view, is_first ? InvalidOid : stream};
}

Targets targets_of_setting(Oid stream)
{
    char *rest = pstrdup(settings::stream_targets);
    List *views = NIL;
    while (rest != nullptr) {
        Oid const view = resolve(next_name(&rest), stream);
        if (OidIsValid(view))
            views = list_append_unique_oid(views, view);
    }
    int const count = list_length(views);
    auto *const sources =
        static_cast<Source *>(palloc(sizeof(Source) * static_cast<Size>(count + 1)));
    for (int i = 0; i < count; i++)
        sources[i] = source_of(list_nth_oid(views, i), stream);
    return {false, count, sources};
}

} // namespace

bool has_targets(Oid stream)
{
    return (OidIsValid(aim.stream) && aim.stream == stream) || follows_setting();
}

Targets targets_of_statement(Oid stream)
{
    if (OidIsValid(aim.stream) && aim.stream == stream) {
        auto *const view = static_cast<Source *>(palloc(sizeof(Source)));
        *view = source_of(aim.view, stream);
        aim = {};
        return {false, 1, view};
    }
    if (likely(!follows_setting()))
        return {true, 0, nullptr};
    return targets_of_setting(stream);
}

void aim_next_statement(Oid stream, Oid view)
{
    aim = {stream, view, GetCurrentSubTransactionId()};
}

void check_aim()
{
    if (OidIsValid(aim.stream))
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("rows did not go to stream \"%s\"", get_rel_name(aim.stream))));
}

void install_targets()
{
    RegisterXactCallback(forget_aim, nullptr);
    RegisterSubXactCallback(forget_aim_of, nullptr);
}

} // namespace pipeline::spool
