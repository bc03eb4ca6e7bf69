#include "spool/feed.hpp"

namespace pipeline::spool {
namespace {
constinit const Feed *feed_of_process = nullptr;
}

int find_column(const Chunk &chunk, const FormData_pg_attribute *attribute)
{
    int const column = chunk.find_column(attribute->attnum);
    if (column < 0)
        return column;
    const batch::ColumnLayout &layout = chunk.layout(static_cast<Size>(column));
    if (layout.type_oid != attribute->atttypid || layout.width != attribute->attlen)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column \"%s\" of the stream was of type %s when a waiting row "
                               "was written",
                               NameStr(attribute->attname), format_type_be(layout.type_oid)),
                        errdetail("It is of type %s now.", format_type_be(attribute->atttypid)),
                        errhint("Change the column back to fold these rows.")));
    return column;
}

const Feed *current_feed()
{
    return feed_of_process;
}

const Feed *set_feed(const Feed *feed)
{
    const Feed *const former = feed_of_process;
    feed_of_process = feed;
    return former;
}

} // namespace pipeline::spool
