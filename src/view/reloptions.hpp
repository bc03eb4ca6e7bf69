// The extension's own options of views, kept in pg_class.reloptions beside the server's.
//
// Owns: which option names are ours. May call: pg/. Invariant: core never sees ours in a
// statement (it refuses unknown names); it ignores them when it reads a view's reloptions
// (reloptions.c, view_reloptions with validate = false).
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

inline constexpr char kActionOption[] = "action";
inline constexpr char kDefinitionOption[] = "definition";
inline constexpr char kWindowOption[] = "sw";
inline constexpr char kWindowColumnOption[] = "sw_column"; ///< once stored: of the matrel
inline constexpr char kTtlOption[] = "ttl";
inline constexpr char kTtlColumnOption[] = "ttl_column";         ///< once stored: of the matrel
inline constexpr char kPartitionColumnOption[] = "partition_by"; ///< once stored: of the matrel
inline constexpr char kPartitionSizeOption[] = "partition_duration";
inline constexpr char kPartitionFillfactorOption[] = "partition_fillfactor";

/// The value of option `name` in a list of DefElem without namespace; nullptr if not there.
const char *option_value(List *options, const char *name);

/// True for options that only this extension understands.
bool is_own_option(const DefElem *option);

/// Splits `options` by is_own_option; both lists are new.
struct SplitOptions {
    List *own;
    List *others;
};
SplitOptions split_options(List *options);

/// The stored options of a relation, as a List of DefElem with string values.
List *stored_options(Oid relid);

/// Replaces them, and makes the change visible to the current command.
void store_options(Oid relid, List *options);

DefElem *make_option(const char *name, const char *value);

} // namespace pipeline::view
