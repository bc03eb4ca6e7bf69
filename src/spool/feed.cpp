#include "spool/feed.hpp"

namespace pipeline::spool {
namespace {
constinit const Feed *feed_of_process = nullptr;
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
