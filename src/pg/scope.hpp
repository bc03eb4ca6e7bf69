// Scopes of the pg regime are functions, not guard objects: they release on normal return;
// on ERROR the server's own abort releases (resource owners, user id and GUC nesting at
// (sub)transaction abort). A destructor would be skipped by longjmp.
#pragma once

#include "pg/postgres.hpp"

#include <type_traits>

namespace pipeline::pg {

/// Runs `fn` with `context` as CurrentMemoryContext.
template <typename Fn> auto in_context(MemoryContext context, Fn &&fn) -> decltype(fn())
{
    MemoryContext const old = MemoryContextSwitchTo(context);
    if constexpr (std::is_void_v<decltype(fn())>) {
        fn();
        MemoryContextSwitchTo(old);
    } else {
        auto result = fn();
        MemoryContextSwitchTo(old);
        return result;
    }
}

/// Opens relation `relid` with `lockmode`, runs `fn(Relation)`, closes it and keeps the lock
/// to the end of the transaction.
template <typename Fn> auto with_relation(Oid relid, LOCKMODE lockmode, Fn &&fn)
{
    Relation rel = table_open(relid, lockmode);
    if constexpr (std::is_void_v<decltype(fn(rel))>) {
        fn(rel);
        table_close(rel, NoLock);
    } else {
        auto result = fn(rel);
        table_close(rel, NoLock);
        return result;
    }
}

inline Oid relation_owner(Oid relid)
{
    return with_relation(relid, NoLock, [](Relation rel) { return rel->rd_rel->relowner; });
}

/// Runs `fn` as user `userid` with additional security-context flags.
template <typename Fn> void as_user(Oid userid, int flags, Fn &&fn)
{
    Oid old_user;
    int old_context;
    GetUserIdAndSecContext(&old_user, &old_context);
    SetUserIdAndSecContext(userid, old_context | flags);
    fn();
    SetUserIdAndSecContext(old_user, old_context);
}

} // namespace pipeline::pg
