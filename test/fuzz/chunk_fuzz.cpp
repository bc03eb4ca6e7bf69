// Changes valid chunks at random and reads whatever still parses: chunk_fuzz SECONDS [SEED].
// Build it with -fsanitize=address,undefined. With -DPIPELINE_LIBFUZZER it is a target for
// libFuzzer (clang++ -fsanitize=fuzzer,address) instead.
//
// A failure prints the seed of its round: `chunk_fuzz 0 SEED` runs that round alone.
#include "unit/chunk_samples.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using namespace pipeline::samples;

constexpr std::size_t kChangesPerChunk = 50;

[[maybe_unused]] void change(Random &random, Bytes &bytes)
{
    const std::size_t at = bytes.empty() ? 0 : below(random, bytes.size());
    const auto position = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (bytes.empty() ? 0 : below(random, 7)) {
    case 0:
        bytes.insert(position, static_cast<std::byte>(random()));
        break;
    case 1:
        bytes.erase(position);
        break;
    case 2:
        bytes.resize(at);
        break;
    case 3:
        bytes[at] = static_cast<std::byte>(random());
        break;
    case 4: // one more or less: lengths and starts
        bytes[at] = static_cast<std::byte>(std::to_integer<unsigned>(bytes[at]) +
                                           (below(random, 2) == 0 ? 1 : 255));
        break;
    case 5:
        bytes[at] ^= static_cast<std::byte>(1u << below(random, 8));
        break;
    default: { // a piece of the chunk elsewhere
        const std::size_t from = below(random, bytes.size());
        const std::size_t size =
            std::min({std::size_t{1} + below(random, 16), bytes.size() - at, bytes.size() - from});
        std::memmove(bytes.data() + at, bytes.data() + from, size);
        break;
    }
    }
}

std::uint64_t current_seed = 0;

[[maybe_unused]] void print_seed()
{
    std::fprintf(stderr, "chunk_fuzz: failed in round %llu\n",
                 static_cast<unsigned long long>(current_seed));
}

struct Counts {
    std::size_t accepted = 0;
    std::size_t rejected = 0;
};

[[maybe_unused]] void run_round(std::uint64_t seed, Counts &counts)
{
    Random random(seed);
    const Sample sample = random_sample(random, 6);
    std::vector<Row> rows(below(random, 30));
    for (Row &row : rows)
        row = random_row(random, sample);
    const Bytes valid = encoded(sample.layout, rows);
    if (!survives(valid))
        throw std::logic_error("a valid chunk is refused");
    for (std::size_t i = 0; i < kChangesPerChunk; ++i) {
        Bytes bytes = valid;
        const std::uint32_t changes = 1 + below(random, 3);
        for (std::uint32_t j = 0; j < changes; ++j)
            change(random, bytes);
        ++(survives(bytes) ? counts.accepted : counts.rejected);
    }
}

} // namespace

#ifdef PIPELINE_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    survives(std::as_bytes(std::span(data, size)));
    return 0;
}

#else

int main(int argc, char *argv[])
{
    if (argc < 2) {
        std::fprintf(stderr, "usage: chunk_fuzz SECONDS [SEED]\n");
        return 2;
    }
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::seconds(std::atoi(argv[1]));
    current_seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
#ifdef __SANITIZE_ADDRESS__
    // A sanitizer ends the process without coming back.
    __sanitizer_set_death_callback(print_seed);
#endif
    std::size_t rounds = 0;
    Counts counts;
    do {
        try {
            run_round(current_seed, counts);
        } catch (const std::exception &error) {
            std::fprintf(stderr, "chunk_fuzz: %s\n", error.what());
            print_seed();
            return 1;
        }
        ++current_seed;
        ++rounds;
    } while (Clock::now() < end);
    std::fprintf(stdout, "%zu rounds, %zu changed chunks read, %zu refused\n", rounds,
                 counts.accepted, counts.rejected);
    return 0;
}

#endif
