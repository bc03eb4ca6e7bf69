#include "pg/stop_points.hpp"

extern "C" {
#include "common/hashfn.h"
#include "storage/fd.h"
#include "storage/lock.h"
}

#include <csignal>
#include <fcntl.h>
#include <unistd.h>

namespace pipeline::pg {
namespace {

enum class Action { kNone, kWait, kError, kCrash };

/// A part of the setting, without a copy of it.
struct Piece {
    const char *start;
    size_t length;

    bool is(const char *text) const
    {
        return strlen(text) == length && strncmp(start, text, length) == 0;
    }
};

Piece trimmed(const char *start, const char *end)
{
    while (start < end && isspace(static_cast<unsigned char>(*start)))
        start++;
    while (end > start && isspace(static_cast<unsigned char>(end[-1])))
        end--;
    return {start, static_cast<size_t>(end - start)};
}

Action action_named(Piece word)
{
    if (word.is("wait"))
        return Action::kWait;
    if (word.is("error"))
        return Action::kError;
    if (word.is("crash"))
        return Action::kCrash;
    return Action::kNone;
}

struct Item {
    Piece name;
    Action action;
};

/// Reads the item at `cursor` and moves it on; false at the end.
bool next_item(const char *&cursor, Item &item)
{
    if (*cursor == '\0')
        return false;
    const char *const start = cursor;
    const char *const end = start + strcspn(start, ",");
    const char *const colon =
        static_cast<const char *>(memchr(start, ':', static_cast<size_t>(end - start)));
    item.name = trimmed(start, colon != nullptr ? colon : end);
    item.action = colon != nullptr ? action_named(trimmed(colon + 1, end)) : Action::kNone;
    cursor = *end == ',' ? end + 1 : end;
    return true;
}

Action action_of(const char *name)
{
    Item item;
    for (const char *cursor = settings::stop_points; next_item(cursor, item);)
        if (item.name.is(name))
            return item.action;
    return Action::kNone;
}

/// The tag of pg_advisory_lock(kStopPointClass, hashtext(name)): lockfuncs.c makes it of two
/// int4 keys and 2, and hashtext() of a deterministic collation is hash_any() of the bytes.
/// A session-level lock also works outside transactions, and where one fails in between.
void wait_for_release(const char *name)
{
    uint32 const hash = DatumGetUInt32(
        hash_any(reinterpret_cast<const unsigned char *>(name), static_cast<int>(strlen(name))));
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, kStopPointClass, hash, 2);
    (void) LockAcquire(&tag, ShareLock, true, false);
    LockRelease(&tag, ShareLock, true);
}

/// Only once: the restart after it would otherwise come here again, for ever. Paths of the
/// server are relative to the data directory (miscinit.c, ChangeToDataDir).
void crash_once(const char *name)
{
    char path[MAXPGPATH];
    snprintf(path, sizeof(path), "pipelinedb_stop_%s", name);
    int const file = BasicOpenFile(path, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY);
    if (file < 0)
        return;
    close(file);
    kill(getpid(), SIGKILL);
}

} // namespace

bool check_stop_points(char **value, void **, GucSource)
{
    Item item;
    for (const char *cursor = *value; next_item(cursor, item);) {
        if (item.action != Action::kNone)
            continue;
        GUC_check_errdetail("\"%.*s\" is not followed by \":wait\", \":error\" or \":crash\".",
                            static_cast<int>(item.name.length), item.name.start);
        return false;
    }
    return true;
}

void stop_point_reached(const char *name)
{
    switch (action_of(name)) {
    case Action::kNone:
        return;
    case Action::kWait:
        wait_for_release(name);
        return;
    case Action::kError:
        ereport(ERROR,
                (errcode(ERRCODE_INTERNAL_ERROR), errmsg("stop point \"%s\" reached", name)));
    case Action::kCrash:
        crash_once(name);
        return;
    }
}

} // namespace pipeline::pg
