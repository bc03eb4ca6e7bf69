#include "view/combined_form.hpp"

namespace pipeline::view {
namespace {

constexpr uint8 kVersion = 1;
constexpr Size kFixed = 6;

} // namespace

bool read_combined(const char *bytes, Size length, CombinedBytes *out)
{
    auto *const data = reinterpret_cast<const uint8 *>(bytes);
    if (length <= kFixed || data[0] != kVersion || data[1] > uint8(CombinedKind::kText))
        return false;
    Size header = 0;
    for (unsigned i = 0; i < 4; i++)
        header |= Size(data[2 + i]) << (8 * i);
    if (header == 0 || header > length - kFixed || bytes[kFixed + header - 1] != '\0')
        return false;
    out->kind = CombinedKind(data[1]);
    out->header = bytes + kFixed;
    out->header_size = header;
    out->state = bytes + kFixed + header;
    out->state_size = length - kFixed - header;
    bool const terminated = out->state_size > 0 && bytes[length - 1] == '\0';
    return (out->kind != CombinedKind::kNone || out->state_size == 0) &&
           (out->kind != CombinedKind::kText || terminated);
}

bytea *write_combined(const CombinedBytes &parts)
{
    Size const length = VARHDRSZ + kFixed + parts.header_size + parts.state_size;
    auto *const result = static_cast<bytea *>(palloc(length));
    SET_VARSIZE(result, length);
    char *const out = VARDATA(result);
    out[0] = char(kVersion);
    out[1] = char(parts.kind);
    for (unsigned i = 0; i < 4; i++)
        out[2 + i] = char(parts.header_size >> (8 * i));
    memcpy(out + kFixed, parts.header, parts.header_size);
    if (parts.state_size > 0)
        memcpy(out + kFixed + parts.header_size, parts.state, parts.state_size);
    return result;
}

} // namespace pipeline::view
