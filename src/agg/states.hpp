// Transition states of the well-known aggregates, one array per aggregate, indexed by group.
//
// Owns: the arrays, from the memory_resource given. May call: agg/lanes and std; no server.
// May throw std::bad_alloc. Invariants: update() gives bit by bit what the server's transition
// function gives for the same rows in the same order; rows are taken in order.
#pragma once

#include "agg/lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

namespace pipeline::agg {

enum class StateKind : std::uint8_t {
    kCount,      ///< rows, or rows whose value is not NULL: int64
    kSum,        ///< int64 of words (sum of int2, int4)
    kWideSum,    ///< count and __int128 (sum and avg of int8)
    kPairSum,    ///< count and int64 (avg of int2, int4)
    kMoments,    ///< count, sum and sum of squares, __int128 (stddev of int2, int4)
    kSumFloat4,  ///< words are the bits of a double; added as float4
    kSumFloat8,  ///< added as float8
    kDeviations, ///< N, Sx, Sxx of doubles (avg, stddev of float4, float8)
    kMin,        ///< of words
    kMax,        ///<
    kMinFloat,   ///< of doubles; NaN is the largest, as in float8_cmp_internal
    kMaxFloat
};

/// What one group's state looks like; which members count follows from the kind.
struct State {
    bool isnull; ///< a strict transition function has not seen a value yet
    std::int64_t count;
    std::int64_t word; ///< kCount, kSum, kPairSum, kMin, kMax
    double number;     ///< kSumFloat*, kMinFloat, kMaxFloat; Sx of kDeviations
    double squares;    ///< Sxx of kDeviations
    __int128 wide;
    __int128 wide_squares;
};

/// A 128-bit number that needs no alignment beyond that of palloc.
struct Wide {
    std::uint64_t low;
    std::int64_t high;

    __int128 value() const { return static_cast<__int128>(high) << 64 | low; }
    void add(__int128 number)
    {
        const __int128 sum = value() + number;
        low = static_cast<std::uint64_t>(sum);
        high = static_cast<std::int64_t>(sum >> 64);
    }
};

/// How many words carry a state: the count (but for kCount, whose word it is), then the members
/// that the kind has, in the order of State; low words of 128-bit numbers come first.
std::size_t words_of(StateKind kind);

/// Can no sum of less than 2^32 such values exceed the numbers that `kind` adds? True for kinds
/// that add integers; for others only if all selected values are finite and far from the end.
bool is_moderate(StateKind kind, const Lane &lane, Selection selection);

class StateArray {
  public:
    StateArray(StateKind kind, std::pmr::memory_resource *resource);

    StateArray(const StateArray &) = delete;
    StateArray &operator=(const StateArray &) = delete;

    /// There are `ngroups` groups now; new ones are empty.
    void grow(std::uint32_t ngroups);

    /// The selected rows are of `groups`; `lane` is the aggregate's argument, nullptr for
    /// count(*). False if finite numbers add up to an infinite one: the server raises "value out
    /// of range: overflow" there. The states are of no use then.
    [[nodiscard]] bool update(const Lane *lane, Selection selection, const std::uint32_t *groups);

    State state(std::uint32_t group) const;
    StateKind kind() const { return kind_; }

    /// The state as words_of(kind()) words, for another process to merge.
    void write(std::uint32_t group, std::int64_t *words) const;

    /// Combines the groups with states that were written, one lane per word and one row per
    /// state, as the server's combine functions do. False as of update().
    [[nodiscard]] bool merge(std::span<const Lane> words, Selection selection,
                             const std::uint32_t *groups);

  private:
    template <typename Fn>
    void each_value(const Lane &lane, Selection selection, const std::uint32_t *groups, Fn &&fn);
    bool add_float8(const Lane &lane, Selection selection, const std::uint32_t *groups);
    bool add_float4(const Lane &lane, Selection selection, const std::uint32_t *groups);
    bool add_deviations(const Lane &lane, Selection selection, const std::uint32_t *groups);
    bool merge_number(std::uint32_t group, std::int64_t count, double number);
    bool merge_deviations(std::uint32_t group, std::int64_t count, double sum, double squares);

    StateKind kind_;
    std::pmr::vector<std::int64_t> counts_;
    std::pmr::vector<std::int64_t> words_;
    std::pmr::vector<double> numbers_;
    std::pmr::vector<double> squares_;
    std::pmr::vector<Wide> wide_;
    std::pmr::vector<Wide> wide_squares_;
};

} // namespace pipeline::agg
