#include "view/matrel_columns.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
}

namespace pipeline::view {
namespace {

AlterTableCmd *add_command(AlterTableType type, ColumnDef *column)
{
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = type;
    command->def = reinterpret_cast<Node *>(column);
    return command;
}

/// 'value'::type, which the server stores once for all rows (tablecmds.c, ATExecAddColumn).
Node *raw_constant(const MatrelColumn *column, Datum value)
{
    Oid output;
    bool is_varlena;
    getTypeOutputInfo(column->type, &output, &is_varlena);
    A_Const *const text = makeNode(A_Const);
    text->val.sval.type = T_String;
    text->val.sval.sval = OidOutputFunctionCall(output, value);
    text->location = -1;
    TypeCast *const cast = makeNode(TypeCast);
    cast->arg = reinterpret_cast<Node *>(text);
    cast->typeName = makeTypeNameFromOid(column->type, column->typmod);
    cast->location = -1;
    return reinterpret_cast<Node *>(cast);
}

/// The value for the rows that are there stays when the default goes.
AlterTableCmd *forget_default(const MatrelColumn *column)
{
    AlterTableCmd *const command = makeNode(AlterTableCmd);
    command->subtype = AT_ColumnDefault;
    command->name = column->name;
    command->behavior = DROP_RESTRICT;
    return command;
}

} // namespace

void add_matrel_columns(Oid matrel, const Decomposition &parts, int num_old)
{
    List *additions = NIL;
    List *defaults = NIL;
    for (int i = num_old; i < list_length(parts.columns); i++) {
        const auto *const column = static_cast<MatrelColumn *>(list_nth(parts.columns, i));
        ColumnDef *const definition =
            makeColumnDef(column->name, column->type, column->typmod, column->collation);
        bool isnull = true;
        Datum value = static_cast<Datum>(0);
        if (IsA(column->expr, Aggref) && !parts.append && !parts.first_row)
            value = initial_state(column->form, &isnull);
        if (!isnull) {
            definition->raw_default = raw_constant(column, value);
            defaults = lappend(defaults, forget_default(column));
        }
        additions = lappend(additions, add_command(AT_AddColumn, definition));
    }
    if (additions == NIL)
        return;
    bool const has_partitions = get_rel_relkind(matrel) == RELKIND_PARTITIONED_TABLE;
    AlterTableInternal(matrel, additions, has_partitions);
    CommandCounterIncrement();
    if (defaults == NIL)
        return;
    AlterTableInternal(matrel, defaults, has_partitions);
    CommandCounterIncrement();
}

/// As DefineVirtualRelation (view.c) for CREATE OR REPLACE VIEW.
void add_view_columns(Oid view, const Query *query, int num_old)
{
    List *additions = NIL;
    for (int i = num_old; i < list_length(query->targetList); i++) {
        const auto *const entry = static_cast<TargetEntry *>(list_nth(query->targetList, i));
        Node *const expr = reinterpret_cast<Node *>(entry->expr);
        ColumnDef *const column =
            makeColumnDef(entry->resname, exprType(expr), exprTypmod(expr), exprCollation(expr));
        additions = lappend(additions, add_command(AT_AddColumnToView, column));
    }
    if (additions == NIL)
        return;
    AlterTableInternal(view, additions, false);
    CommandCounterIncrement();
}

} // namespace pipeline::view
