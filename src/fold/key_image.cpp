#include "fold/key_image.hpp"

extern "C" {
#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
}

namespace pipeline::fold {
namespace {

/// bpchar says so too, but values of different length are equal if only blanks make the
/// difference (varchar.c: bpchareq).
bool has_equal_images(Oid type, Oid collation)
{
    const TypeCacheEntry *const entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
    if (!OidIsValid(entry->btree_opf) || getBaseType(type) == BPCHAROID)
        return false;
    Oid const function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype,
                                           entry->btree_opintype, BTEQUALIMAGE_PROC);
    return OidIsValid(function) &&
           DatumGetBool(
               OidFunctionCall1Coll(function, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

/// Without the bits that a value does not have: a Datum that comes from a tuple has them
/// extended by the sign (tupmacs.h: fetch_att), another one need not.
uint64 word_of(Datum value, int bytes)
{
    return static_cast<uint64>(value) << (64 - 8 * bytes);
}

uint32 hash_word(uint64 word)
{
    word *= UINT64CONST(0x9e3779b97f4a7c15);
    word ^= word >> 32;
    word *= UINT64CONST(0xd6e8feb86659fd93);
    return static_cast<uint32>(word >> 32);
}

uint32 hash_value(Datum value, KeyColumn column)
{
    if (column.byval)
        return hash_word(word_of(value, column.length));
    return datum_image_hash(value, false, column.length);
}

bool same_value(Datum left, Datum right, KeyColumn column)
{
    if (column.byval)
        return word_of(left, column.length) == word_of(right, column.length);
    return datum_image_eq(left, right, false, column.length);
}

} // namespace

KeyImage describe_keys(Relation matrel, int nkeys)
{
    KeyImage keys{nkeys, true, hash_word(matrel->rd_rel->relfilenode), nullptr};
    keys.columns =
        static_cast<KeyColumn *>(palloc(sizeof(KeyColumn) * static_cast<Size>(nkeys + 1)));
    for (int i = 0; i < nkeys; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(RelationGetDescr(matrel), i);
        keys.columns[i] = {attribute->attlen, attribute->attbyval};
        keys.exact = keys.exact && has_equal_images(attribute->atttypid, attribute->attcollation);
    }
    return keys;
}

uint32 hash_image(const KeyImage &keys, const Datum *values, const bool *isnull)
{
    uint32 hash = keys.seed;
    for (int i = 0; i < keys.nkeys; i++)
        hash = hash_combine(hash, isnull[i] ? 0 : hash_value(values[i], keys.columns[i]));
    return hash;
}

bool same_image(const KeyImage &keys, const Datum *left, const bool *left_null, const Datum *right,
                const bool *right_null)
{
    for (int i = 0; i < keys.nkeys; i++) {
        if (left_null[i] != right_null[i])
            return false;
        if (!left_null[i] && !same_value(left[i], right[i], keys.columns[i]))
            return false;
    }
    return true;
}

} // namespace pipeline::fold
