// Memory for pure code: std::pmr over a MemoryContext, so that containers are seen in
// pg_backend_memory_contexts and freed with their context.
//
// Invariant: running out of memory throws std::bad_alloc (MCXT_ALLOC_NO_OOM) and never
// longjmps, so allocation is legal while destructors are pending.
#pragma once

#include "pg/postgres.hpp"

#include <memory_resource>

namespace pipeline::pg {

class ContextResource final : public std::pmr::memory_resource {
  public:
    explicit ContextResource(MemoryContext context) : context_(context) {}

  private:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override;
    void do_deallocate(void *p, std::size_t bytes, std::size_t alignment) override;
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override;

    MemoryContext context_;
};

} // namespace pipeline::pg
