#include "batch/batch.hpp"

#include <bit>
#include <limits>
#include <stdexcept>

#include "batch/pure_only.hpp"

namespace pipeline::batch {

// "First byte odd" is where a little-endian machine keeps the bit of a short varlena, and
// values are stored as the machine has them.
static_assert(std::endian::native == std::endian::little);

namespace {

constexpr std::size_t kFirstAllocation = 32;
constexpr std::uint32_t kBitsPerWord = 64;

constexpr std::uint64_t bits_below(std::uint32_t bit)
{
    return (std::uint64_t{1} << bit) - 1;
}

std::size_t varlena_start(const ColumnLayout &layout, std::size_t end, bool is_short)
{
    return is_short ? end : align_up(end, long_varlena_align(layout));
}

const std::byte *bytes_of(const void *data)
{
    return static_cast<const std::byte *>(data);
}

void check(const ColumnLayout &layout)
{
    if (layout.width <= 0 && layout.width != kVarlena)
        throw std::invalid_argument("column of a batch has an impossible width");
    if (!std::has_single_bit(layout.align) || layout.align > 8)
        throw std::invalid_argument("column of a batch has an impossible alignment");
}

} // namespace

Column::Column(const ColumnLayout &layout, std::pmr::memory_resource *resource)
    : layout_(layout), values_(resource), starts_(resource), validity_(resource)
{
    check(layout);
    if (layout.width != kVarlena) {
        stride_ = stride_of(layout);
        constant_ = true;
    }
}

bool Column::is_first_value(const void *data) const
{
    // The two common widths are compared as words: this runs for every value of a constant
    // column, and memcmp of a length known only at run time is a call.
    const auto width = static_cast<std::size_t>(layout_.width);
    if (width == 8)
        return std::memcmp(values_.data(), data, 8) == 0;
    if (width == 4)
        return std::memcmp(values_.data(), data, 4) == 0;
    return std::memcmp(values_.data(), data, width) == 0;
}

ColumnExtent Column::extent_with(const Cell &cell, std::uint32_t nrows) const
{
    const bool valid = cell.data != nullptr;
    ColumnExtent after = extent();
    after.nvalid += valid ? 1 : 0;
    if (layout_.width == kVarlena) {
        if (valid) {
            const bool is_short = is_short_varlena(*bytes_of(cell.data));
            after.has_long |= !is_short;
            after.value_bytes = varlena_start(layout_, values_.size(), is_short) + cell.size;
        }
    } else if (!constant_) {
        after.value_bytes += stride_;
    } else if (valid && nvalid_ == 0) {
        after.value_bytes = stride_;
    } else if (valid && !is_first_value(cell.data)) {
        after.constant = false;
        after.value_bytes = (std::size_t{nrows} + 1) * stride_;
    }
    return after;
}

void Column::append(const Cell &cell, std::uint32_t nrows)
{
    if (layout_.width == kVarlena)
        append_varlena(cell, nrows);
    else
        append_fixed(cell.data, nrows);
    append_validity(cell.data != nullptr, nrows);
}

void Column::append_validity(bool valid, std::uint32_t nrows)
{
    const bool all_alike = nvalid_ == (valid ? nrows : 0);
    if (all_alike && validity_.empty()) {
        nvalid_ += valid ? 1 : 0;
        return;
    }
    const std::uint32_t bit = nrows % kBitsPerWord;
    if (validity_.empty()) {
        // The first row of the other kind: write down what all rows before it were.
        const std::uint64_t before = nvalid_ == 0 ? 0 : ~std::uint64_t{0};
        validity_.assign(nrows / kBitsPerWord + 1, before);
        validity_.back() = before & bits_below(bit);
    } else if (bit == 0) {
        validity_.push_back(0);
    }
    validity_.back() |= std::uint64_t{valid} << bit;
    nvalid_ += valid ? 1 : 0;
}

void Column::append_fixed(const void *data, std::uint32_t nrows)
{
    const auto width = static_cast<std::size_t>(layout_.width);
    if (constant_ && (data == nullptr || (nvalid_ > 0 && is_first_value(data))))
        return;
    if ((std::size_t{nrows} + 1) * stride_ > kMaxColumnBytes && nvalid_ > 0)
        throw std::length_error("values of one column exceed the size of a chunk");
    if (constant_ && nvalid_ > 0)
        expand_constant(nrows);
    if (values_.capacity() == 0)
        values_.reserve(stride_ > kFirstAllocation ? stride_ : kFirstAllocation);
    const std::size_t start = values_.size();
    values_.resize(start + stride_);
    if (data != nullptr)
        std::memcpy(values_.data() + start, data, width);
}

void Column::expand_constant(std::uint32_t nrows)
{
    values_.resize(std::size_t{nrows} * stride_);
    std::byte *slot = values_.data();
    for (std::uint32_t row = 1; row < nrows; ++row)
        std::memcpy(slot + std::size_t{row} * stride_, slot, stride_);
    constant_ = false;
}

void Column::append_varlena(const Cell &cell, std::uint32_t nrows)
{
    std::size_t start = values_.size();
    if (cell.data != nullptr) {
        const std::byte *bytes = bytes_of(cell.data);
        // Such a chunk could be written and never be read.
        if (varlena_size(bytes, cell.size) != cell.size || cell.size == 0)
            throw std::invalid_argument("varlena of a batch has a wrong length word");
        const bool is_short = is_short_varlena(bytes[0]);
        start = varlena_start(layout_, start, is_short);
        const std::size_t end = start + cell.size;
        if (end > kMaxColumnBytes)
            throw std::length_error("values of one column exceed the size of a chunk");
        if (values_.capacity() == 0)
            values_.reserve(end > kFirstAllocation ? end : kFirstAllocation);
        values_.resize(start);
        values_.insert(values_.end(), bytes, bytes + cell.size);
        has_long_ |= !is_short;
    }
    if (nrows > 0)
        starts_.push_back(static_cast<std::uint32_t>(start));
}

void Column::clear()
{
    nvalid_ = 0;
    constant_ = layout_.width != kVarlena;
    has_long_ = false;
    values_.clear();
    starts_.clear();
    validity_.clear();
}

Batch::Batch(std::span<const ColumnLayout> layout, std::pmr::memory_resource *resource)
    : columns_(resource)
{
    if (layout.size() > std::numeric_limits<std::uint16_t>::max())
        throw std::length_error("batch has too many columns");
    columns_.reserve(layout.size());
    for (const ColumnLayout &column : layout)
        columns_.emplace_back(column, resource);
}

void Batch::append(std::span<const Cell> row)
{
    if (row.size() != columns_.size())
        throw std::invalid_argument("row does not have the columns of its batch");
    if (nrows_ == std::numeric_limits<std::uint32_t>::max())
        throw std::length_error("batch has too many rows");
    for (std::size_t i = 0; i < row.size(); ++i) {
        most_bytes_ += columns_[i].most_bytes(row[i]);
        columns_[i].append(row[i], nrows_);
    }
    ++nrows_;
}

void Batch::clear()
{
    nrows_ = 0;
    most_bytes_ = 0;
    for (Column &column : columns_)
        column.clear();
}

} // namespace pipeline::batch
