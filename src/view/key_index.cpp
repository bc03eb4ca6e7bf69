#include "view/key_index.hpp"

#include "pg/list.hpp"
#include "view/group_hash.hpp"

extern "C" {
#include "catalog/pg_range.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"
}

namespace pipeline::view {
namespace {

/// Of the 2,704 bytes of a btree entry (nbtree.h: BTMaxItemSize), with its header and bitmap.
constexpr int kMaxWidth = 2600;
/// An inet_struct (utils/inet.h) and its header; the types have no length of their own.
constexpr int kInetWidth = 32;
constexpr int kUnbounded = -1;

/// The most bytes that a value can take in an index entry, kUnbounded where only its row's
/// limits hold. Fields can be added to a composite type, so it is unbounded.
int width_of(Oid type, int32 typmod)
{
    type = getBaseTypeAndTypmod(type, &typmod);
    int16 const length = get_typlen(type);
    if (length > 0)
        return static_cast<int>(MAXALIGN(length));
    if (type == INETOID || type == CIDROID)
        return kInetWidth;
    if (get_typtype(type) == TYPTYPE_RANGE) {
        int const bound = width_of(get_range_subtype(type), -1);
        return bound == kUnbounded ? kUnbounded
                                   : static_cast<int>(sizeof(RangeType)) + 2 * bound + 8;
    }
    int const width = type_maximum_size(type, typmod);
    return width < 0 || width > kMaxWidth ? kUnbounded : static_cast<int>(MAXALIGN(width));
}

/// A default btree operator class, also for the elements of arrays and the like.
bool is_sortable(Oid type)
{
    return OidIsValid(lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc);
}

/// Columns that a btree can still take beside a hash.
struct PlainColumns {
    List *list;
    int room;

    bool take(MatrelColumn *column, int reserved)
    {
        int const width = width_of(column->type, column->typmod);
        if (width == kUnbounded || width > room || !is_sortable(column->type) ||
            list_length(list) + reserved >= INDEX_MAX_KEYS)
            return false;
        list = lappend(list, column);
        room -= width;
        return true;
    }
};

[[noreturn]] void refuse_type(Oid type, const char *detail)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("continuous views cannot group by type %s", format_type_be(type)),
                    errdetail("%s", detail),
                    errhint("Cast the expression to another type, such as text.")));
    pg_unreachable();
}

constexpr char kNoHash[] =
    "The type has no hash function, and its values may be too long for a btree index.";

/// All keys in one unique btree, if they fit.
bool fit_unique(const Decomposition &parts, KeyIndexes *indexes)
{
    PlainColumns columns{NIL, kMaxWidth};
    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        if (column->is_key && !columns.take(column, 0))
            return false;
    *indexes = {true, columns.list, NIL, NIL, NIL};
    return true;
}

/// The step comes first in the index over the groups, so the keys that follow would be looked for
/// in all of it. By themselves they are many times the same, which a btree stores once.
List *columns_behind_step(const Decomposition &parts)
{
    PlainColumns columns{NIL, kMaxWidth};
    if (parts.time_column == 0 || parts.append)
        return NIL;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        bool const is_step = column == list_nth(parts.columns, parts.time_column - 1);
        if (!is_step && (!column->is_key || !column->is_shown || !columns.take(column, 0)))
            break;
    }
    return columns.list;
}

/// In a btree that has to be found by a hash.
void choose_hashed(const Decomposition &parts, KeyIndexes *indexes)
{
    // Keys without a hash function must be columns of the btree. So are the first ones up to
    // the first that has no bounded width: they serve queries, and a view by time has its new
    // groups side by side.
    PlainColumns columns{NIL, kMaxWidth};
    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        if (column->is_key && !is_hashable(column->type) && !columns.take(column, 1))
            refuse_type(column->type, kNoHash);
    bool leading = true;
    List *plain = NIL;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        if (!column->is_key)
            continue;
        bool const needed = list_member_ptr(columns.list, column);
        leading = leading && (needed || columns.take(column, 1));
        if (needed || leading)
            plain = lappend(plain, column);
        if (is_hashable(column->type) && list_length(indexes->hashed) < kMaxHashedKeys)
            indexes->hashed = lappend(indexes->hashed, column);
        if (column->is_shown && is_hashable(column->type) &&
            width_of(column->type, column->typmod) == kUnbounded)
            indexes->readers = lappend(indexes->readers, column);
    }
    indexes->plain = plain;
}

} // namespace

KeyIndexes choose_key_indexes(const Decomposition &parts)
{
    KeyIndexes indexes{};
    if (!fit_unique(parts, &indexes))
        choose_hashed(parts, &indexes);
    indexes.behind_step = columns_behind_step(parts);
    return indexes;
}

const char *key_operator_class(Oid type)
{
    type = getBaseType(type);
    switch (type) {
    case TEXTOID:
    case VARCHAROID:
        return "text_key_ops";
    case BYTEAOID:
        return "bytea_key_ops";
    case NUMERICOID:
        return "numeric_key_ops";
    case JSONBOID:
        return "jsonb_key_ops";
    default:
        return type_is_array(type) ? "array_key_ops" : nullptr;
    }
}

void check_key_type(const Node *key)
{
    Oid const type = exprType(key);
    if (get_typtype(type) == TYPTYPE_PSEUDO)
        refuse_type(type, "Values of the type cannot be stored.");
    if (type_is_collatable(type) && !OidIsValid(exprCollation(key)))
        ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_COLLATION),
                        errmsg("no collation was derived for a group expression of type %s",
                               format_type_be(type)),
                        errhint("Use the COLLATE clause to set the collation explicitly.")));
    bool const bounded = width_of(type, exprTypmod(key)) != kUnbounded;
    if (!is_hashable(type) && !(bounded && is_sortable(type)))
        refuse_type(type, kNoHash);
}

} // namespace pipeline::view
