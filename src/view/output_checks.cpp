#include "view/output_checks.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/create_view.hpp"
#include "view/reloptions.hpp"
#include "view/stream_rules.hpp"

extern "C" {
#include "parser/parse_type.h"
}

namespace pipeline::view {
namespace {

[[noreturn]] void refuse(const ContinuousQuery *query, const char *what, const char *hint)
{
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("continuous view \"%s\" has no output stream", get_rel_name(query->view)),
             errdetail("%s", what), errhint("%s", hint)));
    pg_unreachable();
}

bool is_column(const FormData_pg_attribute *attribute, const ColumnDef *column)
{
    return !attribute->attisdropped && strcmp(NameStr(attribute->attname), column->colname) == 0 &&
           attribute->atttypid == column->typeName->typeOid &&
           attribute->atttypmod == column->typeName->typemod;
}

} // namespace

bool has_window(const ContinuousQuery *query)
{
    return option_value(stored_options(query->view), kWindowOption) != nullptr;
}

void check_has_output(const ContinuousQuery *query)
{
    if (query->kind == QueryKind::kTransform)
        return;
    const Query *const reading = stored_query(query->view);
    if (reading->distinctClause != NIL)
        refuse(query, "It shows several groups as one row, by DISTINCT.",
               "Create a view without DISTINCT, and read its output.");
    if (reading->hasSubLinks && !has_window(query))
        refuse(query, "Its select list has subqueries, which are evaluated when it is read.",
               "Put the subquery into the view that reads the output.");
}

void check_output_columns(Oid output, const List *columns)
{
    pg::with_relation(output, AccessShareLock, [&](Relation rel) {
        TupleDesc const desc = RelationGetDescr(rel);
        int i = 0;
        bool matches = desc->natts == list_length(columns) + 1;
        for (auto *column : pg::each<ColumnDef>(columns)) {
            matches = matches && is_column(TupleDescAttr(desc, i), column);
            i++;
        }
        matches = matches && strcmp(NameStr(TupleDescAttr(desc, i)->attname), kArrival) == 0;
        if (!matches)
            ereport(ERROR,
                    (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                     errmsg("foreign table \"%s\" does not have the columns of an output stream",
                            RelationGetRelationName(rel)),
                     errhint("Leave it out: the output stream is made when it is first read.")));
    });
}

} // namespace pipeline::view
