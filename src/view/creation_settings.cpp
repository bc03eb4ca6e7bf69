#include "view/creation_settings.hpp"

extern "C" {
#include "utils/varlena.h"
}

namespace pipeline::view {
namespace {

constexpr char kSearchPath[] = "search_path";

constexpr const char *kNames[] = {
    "timezone",     "datestyle", "intervalstyle", "lc_monetary",
    "lc_numeric",   "lc_time",   "search_path",   "extra_float_digits",
    "bytea_output", "xmloption", "array_nulls",   "default_text_search_config",
};

bool names_pg_temp(const char *search_path)
{
    List *names = NIL;
    // SplitIdentifierString scribbles on its input.
    if (!SplitIdentifierString(pstrdup(search_path), ',', &names))
        return false;
    ListCell *cell;
    foreach (cell, names)
        if (strcmp(static_cast<const char *>(lfirst(cell)), "pg_temp") == 0)
            return true;
    return false;
}

/// Where pg_temp is not listed, it is searched first (namespace.c, recomputeNamespacePath): a
/// temporary table of the fold worker's session would stand in for the owner's.
char *with_pg_temp_last(const char *search_path)
{
    if (names_pg_temp(search_path))
        return pstrdup(search_path);
    return search_path[0] == '\0' ? pstrdup("pg_temp") : psprintf("%s, pg_temp", search_path);
}

} // namespace

bool is_creation_setting(const char *name)
{
    for (const char *known : kNames)
        if (pg_strcasecmp(known, name) == 0)
            return true;
    return false;
}

List *current_creation_settings()
{
    List *settings = NIL;
    for (const char *name : kNames) {
        const char *value = GetConfigOption(name, false, false);
        if (strcmp(name, kSearchPath) == 0)
            value = with_pg_temp_last(value);
        Node *const string = reinterpret_cast<Node *>(makeString(pstrdup(value)));
        settings = lappend(settings, makeDefElem(pstrdup(name), string, -1));
    }
    return settings;
}

} // namespace pipeline::view
