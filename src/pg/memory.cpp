#include "pg/memory.hpp"

#include <new>

namespace pipeline::pg {

void *ContextResource::do_allocate(std::size_t bytes, std::size_t alignment)
{
    // palloc guarantees MAXIMUM_ALIGNOF only.
    if (alignment > MAXIMUM_ALIGNOF || !AllocHugeSizeIsValid(bytes))
        throw std::bad_alloc();
    void *p = MemoryContextAllocExtended(context_, bytes ? bytes : 1,
                                         MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
    if (p == nullptr)
        throw std::bad_alloc();
    return p;
}

void ContextResource::do_deallocate(void *p, std::size_t, std::size_t)
{
    pfree(p);
}

bool ContextResource::do_is_equal(const std::pmr::memory_resource &other) const noexcept
{
    return this == &other;
}

} // namespace pipeline::pg
