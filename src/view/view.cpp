#include "view/view.hpp"

#include "view/combine_rewrite.hpp"
#include "view/create_view.hpp"
#include "view/ddl.hpp"
#include "view/truncation.hpp"

namespace pipeline::view {

void install_hooks()
{
    pg::register_utility_handler(T_ViewStmt, handle_create_view);
    pg::register_utility_handler(T_AlterTableStmt, handle_alter_table);
    pg::register_utility_handler(T_RenameStmt, handle_rename);
    pg::register_utility_handler(T_AlterObjectSchemaStmt, handle_set_schema);
    pg::register_utility_handler(T_CreateTrigStmt, handle_create_trigger);
    pg::register_utility_handler(T_RuleStmt, handle_create_rule);
    pg::register_utility_handler(T_IndexStmt, handle_create_index);
    pg::register_utility_handler(T_VacuumStmt, handle_vacuum);
    pg::register_utility_handler(T_DropStmt, handle_drop);
    pg::register_utility_handler(T_DropOwnedStmt, handle_drop_owned);
    pg::register_utility_handler(T_TruncateStmt, handle_truncate);
    pg::register_utility_handler(T_CreateForeignTableStmt, handle_create_stream);
    pg::register_utility_handler(T_CreateStmt, handle_create_table);
    pg::register_utility_handler(T_CreateTableAsStmt, handle_create_table_as);
    pg::register_utility_handler(T_CopyStmt, handle_copy);
    // In this one's database the extension is not there before.
    pg::register_utility_handler(T_CreateExtensionStmt, handle_create_extension, true);
    install_drop_hook();
    install_dml_checks();
    install_combine();
}

} // namespace pipeline::view
