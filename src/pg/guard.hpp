// The only crossings between the two error regimes, and the only place where an ERROR ends.
//
//   enter(fn)           server -> pure C++: every C++ exception becomes one ereport, raised
//                       after all C++ frames are gone.
//   subtransaction(fn)  runs fn in an internal subtransaction; an ERROR is rolled back and
//                       returned as a Failure.
//   trial(fn)           the same, always rolled back.
//
// In the pg folders no other file may name PG_TRY, sigsetjmp, PG_exception_stack or catch.
// Invariant: automatics of the callers are trivially destructible, because a longjmp may
// cross them (docs/contributing rules, "two regimes").
#pragma once

#include "pg/postgres.hpp"

#include <new>
#include <stdexcept>
#include <type_traits>

namespace pipeline::pg {

/// What an exception leaves behind: plain data that outlives the catch block.
struct CaughtException {
    int sqlstate = 0;
    char message[256] = {0};
};

/// Raises what `enter` caught.
[[noreturn]] void raise_caught(const CaughtException &caught);

/// Runs `fn`, which calls pure code that may throw; a throw becomes an ereport(ERROR).
/// The ereport is raised after the catch block is left: an ereport inside it would leak the
/// exception object and leave std::current_exception() set for ever.
template <typename Fn> auto enter(Fn &&fn) -> decltype(fn())
{
    static_assert(std::is_void_v<decltype(fn())> ||
                  std::is_trivially_destructible_v<decltype(fn())>);
    CaughtException caught;
    try {
        return fn();
    } catch (const std::bad_alloc &) {
        caught.sqlstate = ERRCODE_OUT_OF_MEMORY;
        strlcpy(caught.message, "out of memory", sizeof(caught.message));
    } catch (const std::length_error &error) {
        caught.sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
        strlcpy(caught.message, error.what(), sizeof(caught.message));
    } catch (const std::exception &error) {
        caught.sqlstate = ERRCODE_DATA_CORRUPTED;
        strlcpy(caught.message, error.what(), sizeof(caught.message));
    } catch (...) {
        caught.sqlstate = ERRCODE_INTERNAL_ERROR;
        strlcpy(caught.message, "unknown C++ exception", sizeof(caught.message));
    }
    raise_caught(caught);
}

/// An ERROR that was caught and rolled back. The strings live in the memory context that was
/// current when the catching function was called.
struct Failure {
    bool failed = false;
    int sqlstate = 0;
    const char *message = nullptr;    ///< never NULL when failed
    const char *detail = nullptr;     ///< may be NULL
    const char *hint = nullptr;       ///< may be NULL
    const char *context = nullptr;    ///< may be NULL
    const char *table = nullptr;      ///< that the error is about; may be NULL
    const char *constraint = nullptr; ///< the same
};

using Callback = void (*)(void *);

/// Runs `fn(arg)` inside an internal subtransaction. On ERROR the subtransaction is rolled
/// back, memory context and resource owner are as before, and the error is returned; no
/// message is logged. Must be called inside a transaction. FATAL and PANIC are not caught.
Failure subtransaction(Callback fn, void *arg);

/// The same, but what `fn` did is rolled back in any case: it is only tried whether it works.
Failure trial(Callback fn, void *arg);

/// Raises an ERROR that was caught once more.
[[noreturn]] void raise_again(const Failure &failure);

/// Runs `fn(arg)`; on ERROR the *whole transaction* is aborted (AbortOutOfAnyTransaction) and
/// the error is returned. For background workers at top level only: the caller must not be
/// inside a client's transaction. `fn` starts and commits its own transaction.
Failure top_level(Callback fn, void *arg);

/// Runs `fn(arg)` with the database's encoding as that of the client, which is put back afterwards,
/// also on ERROR. Send and receive functions convert text from and to the client's (pqformat.c),
/// but what one process keeps another one reads, whose client is another.
void in_database_encoding(Callback fn, void *arg);

/// The same with a lambda.
template <typename Fn> Failure subtransaction(Fn &&fn)
{
    return subtransaction([](void *arg) { (*static_cast<std::remove_reference_t<Fn> *>(arg))(); },
                          &fn);
}

template <typename Fn> Failure trial(Fn &&fn)
{
    return trial([](void *arg) { (*static_cast<std::remove_reference_t<Fn> *>(arg))(); }, &fn);
}

template <typename Fn> void in_database_encoding(Fn &&fn)
{
    in_database_encoding([](void *arg) { (*static_cast<std::remove_reference_t<Fn> *>(arg))(); },
                         &fn);
}

template <typename Fn> Failure top_level(Fn &&fn)
{
    return top_level([](void *arg) { (*static_cast<std::remove_reference_t<Fn> *>(arg))(); }, &fn);
}

} // namespace pipeline::pg
