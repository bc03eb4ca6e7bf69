// Sets of transactions against a model: a std::set over a small range of ids.
#include "catch2.hpp"

#include "spool/xid_set.hpp"

#include <random>
#include <set>
#include <vector>

using pipeline::spool::XidSet;

namespace {

constexpr std::uint64_t kRange = 24;

/// A set that owns its list.
struct OwnedSet {
    std::vector<std::uint64_t> xip;
    XidSet set;

    void point()
    {
        set.nxip = static_cast<std::uint32_t>(xip.size());
        set.xip = xip.data();
        set.xmin = xip.empty() ? set.xmax : xip.front();
    }
};

using Random = std::mt19937;

/// A random set that contains every member of `base`, as a later snapshot does.
OwnedSet later_set(Random &random, const XidSet *base)
{
    OwnedSet owned;
    std::uint64_t const low = base != nullptr ? base->xmax : 0;
    owned.set.xmax = low + random() % (kRange - low + 1);
    for (std::uint64_t xid = 0; xid < owned.set.xmax; xid++) {
        bool const must = base != nullptr && base->contains(xid);
        if (!must && random() % 3 == 0)
            owned.xip.push_back(xid);
    }
    owned.point();
    return owned;
}

std::set<std::uint64_t> members(const XidSet &set)
{
    std::set<std::uint64_t> result;
    for (std::uint64_t xid = 0; xid < kRange + 4; xid++)
        if (set.contains(xid))
            result.insert(xid);
    return result;
}

void check_form(const XidSet &set)
{
    for (std::uint32_t i = 0; i < set.nxip; i++) {
        REQUIRE(set.xip[i] < set.xmax);
        REQUIRE(set.xip[i] >= set.xmin);
        if (i > 0)
            REQUIRE(set.xip[i - 1] < set.xip[i]);
    }
    REQUIRE(set.xmin == (set.nxip > 0 ? set.xip[0] : set.xmax));
}

} // namespace

TEST_CASE("advanced_set is the union below the limit and loses nothing")
{
    Random random(7);
    for (int round = 0; round < 20000; round++) {
        OwnedSet const from = later_set(random, nullptr);
        OwnedSet const target = later_set(random, &from.set);
        std::uint64_t const limit =
            random() % 4 == 0 ? pipeline::spool::kNoXid : random() % (kRange + 2);

        std::vector<std::uint64_t> buffer(from.set.nxip + target.set.nxip + 1);
        XidSet const result =
            pipeline::spool::advanced_set(from.set, target.set, limit, buffer.data());

        std::set<std::uint64_t> expected = members(from.set);
        for (std::uint64_t const xid : members(target.set))
            if (xid < limit)
                expected.insert(xid);
        check_form(result);
        REQUIRE(members(result) == expected);
    }
}

TEST_CASE("advancing in steps reaches the target and meets each transaction once")
{
    Random random(11);
    for (int round = 0; round < 5000; round++) {
        OwnedSet const from = later_set(random, nullptr);
        OwnedSet const target = later_set(random, &from.set);
        std::multiset<std::uint64_t> met;
        std::vector<std::vector<std::uint64_t>> buffers;
        XidSet at = from.set;
        for (std::uint64_t limit = 0; limit <= kRange + 1; limit += 1 + random() % 5) {
            buffers.emplace_back(at.nxip + target.set.nxip + 1);
            XidSet const next =
                pipeline::spool::advanced_set(at, target.set, limit, buffers.back().data());
            for (std::uint64_t const xid : members(next))
                if (!at.contains(xid))
                    met.insert(xid);
            at = next;
        }
        buffers.emplace_back(at.nxip + target.set.nxip + 1);
        XidSet const last = pipeline::spool::advanced_set(at, target.set, pipeline::spool::kNoXid,
                                                          buffers.back().data());
        for (std::uint64_t const xid : members(last))
            if (!at.contains(xid))
                met.insert(xid);
        REQUIRE(members(last) == members(target.set));
        for (std::uint64_t const xid : members(target.set))
            REQUIRE(met.count(xid) == (from.set.contains(xid) ? 0u : 1u));
    }
}

TEST_CASE("reduced_set and extended_set take transactions out and put them back")
{
    Random random(13);
    for (int round = 0; round < 20000; round++) {
        OwnedSet const base = later_set(random, nullptr);
        std::vector<std::uint64_t> xids;
        for (unsigned i = random() % 4; i > 0; i--)
            xids.push_back(random() % (kRange + 2));

        std::vector<std::uint64_t> buffer(base.set.nxip + xids.size() + 1);
        XidSet const reduced = pipeline::spool::reduced_set(
            base.set, xids.data(), static_cast<std::uint32_t>(xids.size()), buffer.data());
        std::set<std::uint64_t> expected = members(base.set);
        for (std::uint64_t const xid : xids)
            expected.erase(xid);
        check_form(reduced);
        REQUIRE(members(reduced) == expected);

        for (std::uint64_t const xid : xids) {
            if (xid >= reduced.xmax)
                continue;
            std::vector<std::uint64_t> again(reduced.nxip + 1);
            XidSet const extended = pipeline::spool::extended_set(reduced, xid, again.data());
            std::set<std::uint64_t> with = expected;
            with.insert(xid);
            check_form(extended);
            REQUIRE(members(extended) == with);
        }
    }
}

TEST_CASE("first_new is the lowest member that is missing")
{
    Random random(17);
    for (int round = 0; round < 20000; round++) {
        OwnedSet const from = later_set(random, nullptr);
        OwnedSet const to = later_set(random, &from.set);
        std::uint64_t expected = pipeline::spool::kNoXid;
        for (std::uint64_t const xid : members(to.set))
            if (!from.set.contains(xid)) {
                expected = xid;
                break;
            }
        REQUIRE(pipeline::spool::first_new(from.set, to.set) == expected);
    }
}
