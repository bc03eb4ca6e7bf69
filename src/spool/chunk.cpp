#include "spool/chunk.hpp"

#include <bit>
#include <cstring>
#include <iterator>
#include <new>

#include "batch/pure_only.hpp"

namespace pipeline::spool {

using batch::align_up;
using batch::Batch;
using batch::Cell;
using batch::ColumnExtent;
using batch::ColumnLayout;
using batch::kVarlena;

namespace {

constexpr std::byte kMagic{0xC7};
constexpr std::byte kVersion{1};
constexpr std::size_t kHeaderSize = 8;
constexpr std::size_t kChunkAlign = 8;
constexpr std::size_t kMaxNarrowSize = 65535; ///< of a chunk whose starts are u16

constexpr unsigned kAlignMask = 0x03;
constexpr unsigned kWidthShift = 2;
constexpr unsigned kWidthMask = 0x07;
constexpr unsigned kHasTypmod = 0x20;
constexpr unsigned kWideOid = 0x40;
constexpr unsigned kHasAttnum = 0x80;

constexpr std::int16_t kWidths[] = {kVarlena, 1, 2, 4, 8, 16, 64};
constexpr unsigned kWidthWritten = 7;

constexpr unsigned kHasNulls = 1;
constexpr unsigned kAllNull = 2;
constexpr unsigned kConstant = 4;
constexpr unsigned kHasLong = 8;

/// Of one entry of the layout: its width, its oid and its flags.
constexpr std::size_t kLeastColumn = 4;

/// All of it, its flags and the padding before its values.
constexpr std::size_t kMostColumn = 1 + 2 + 4 + 4 + 2 + 1 + 7;

/// A switch, not a search of kWidths: encoded_size_with() asks for each column of each row.
constexpr unsigned width_code(std::int16_t width)
{
    switch (width) {
    case kVarlena:
        return 0;
    case 1:
        return 1;
    case 2:
        return 2;
    case 4:
        return 3;
    case 8:
        return 4;
    case 16:
        return 5;
    case 64:
        return 6;
    default:
        return kWidthWritten;
    }
}

static_assert([] {
    for (unsigned code = 0; code < std::size(kWidths); ++code) {
        if (width_code(kWidths[code]) != code)
            return false;
    }
    return width_code(3) == kWidthWritten;
}());

constexpr bool follows(const ColumnLayout &layout, std::int16_t previous_attnum)
{
    return layout.attnum == previous_attnum + 1;
}

constexpr std::uint8_t layout_kind(const ColumnLayout &layout, std::int16_t previous_attnum)
{
    unsigned kind = static_cast<unsigned>(std::countr_zero(layout.align));
    kind |= width_code(layout.width) << kWidthShift;
    kind |= layout.typmod != -1 ? kHasTypmod : 0;
    kind |= layout.type_oid > 0xffff ? kWideOid : 0;
    kind |= follows(layout, previous_attnum) ? 0 : kHasAttnum;
    return static_cast<std::uint8_t>(kind);
}

constexpr std::size_t layout_size(std::uint8_t kind)
{
    std::size_t size = sizeof(kind) + sizeof(std::uint16_t);
    size += (kind & kHasAttnum) != 0 ? sizeof(ColumnLayout::attnum) : 0;
    size += (kind & kWideOid) != 0 ? sizeof(std::uint32_t) - sizeof(std::uint16_t) : 0;
    size += (kind & kHasTypmod) != 0 ? sizeof(ColumnLayout::typmod) : 0;
    if ((kind >> kWidthShift & kWidthMask) == kWidthWritten)
        size += sizeof(ColumnLayout::width);
    return size;
}

/// What a column's values take, in the order of the format.
struct Section {
    std::size_t bitmap_bytes = 0;
    std::size_t starts_bytes = 0;
    std::size_t value_align = 1;
    std::size_t value_bytes = 0;

    std::size_t end(std::size_t position) const
    {
        return align_up(position + bitmap_bytes + starts_bytes, value_align) + value_bytes;
    }
};

Section section_of(const ColumnLayout &layout, const ColumnExtent &extent, std::uint32_t nrows,
                   std::size_t start_width)
{
    Section section;
    if (extent.nvalid == 0)
        return section;
    if (extent.nvalid < nrows)
        section.bitmap_bytes = (std::size_t{nrows} + 7) / 8;
    if (layout.width == kVarlena) {
        section.starts_bytes = (std::size_t{nrows} - 1) * start_width;
        section.value_align = extent.has_long ? batch::long_varlena_align(layout) : 1;
    } else {
        section.value_align = layout.align;
    }
    section.value_bytes = extent.value_bytes;
    return section;
}

/// The size of `nrows` rows if `extent_of(i)` is the extent of column i.
template <typename ExtentOf>
std::size_t size_of(const Batch &batch, std::uint32_t nrows, std::size_t start_width,
                    ExtentOf extent_of)
{
    const std::span<const batch::Column> columns = batch.columns();
    std::size_t position = kHeaderSize + columns.size();
    std::int16_t attnum = 0;
    for (const batch::Column &column : columns) {
        position += layout_size(layout_kind(column.layout(), attnum));
        attnum = column.layout().attnum;
    }
    for (std::size_t i = 0; i < columns.size(); ++i)
        position = section_of(columns[i].layout(), extent_of(i), nrows, start_width).end(position);
    return position;
}

/// The width of starts follows from the size, so it need not be stored: with u32 the chunk
/// only becomes larger.
template <typename ExtentOf>
std::size_t size_of(const Batch &batch, std::uint32_t nrows, ExtentOf extent_of)
{
    if (nrows > kMaxRows)
        return kMaxChunkSize + 1;
    const std::size_t narrow = size_of(batch, nrows, sizeof(std::uint16_t), extent_of);
    if (narrow <= kMaxNarrowSize)
        return narrow;
    return size_of(batch, nrows, sizeof(std::uint32_t), extent_of);
}

/// Writes forward into memory that is large enough: encode() has asked encoded_size().
class Writer {
  public:
    explicit Writer(std::byte *begin) : begin_(begin), at_(begin) {}

    std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }

    template <typename Number> void put(Number number)
    {
        std::memcpy(at_, &number, sizeof(number));
        at_ += sizeof(number);
    }

    void put_bytes(const void *bytes, std::size_t size)
    {
        // memcpy from a null pointer is undefined even for no bytes.
        if (size != 0)
            std::memcpy(at_, bytes, size);
        at_ += size;
    }

    void pad_to(std::size_t align)
    {
        const std::size_t padding = align_up(position(), align) - position();
        std::memset(at_, 0, padding);
        at_ += padding;
    }

  private:
    std::byte *begin_;
    std::byte *at_;
};

void write_layout(Writer &writer, const ColumnLayout &layout, std::int16_t previous_attnum)
{
    const std::uint8_t kind = layout_kind(layout, previous_attnum);
    writer.put(kind);
    if ((kind & kHasAttnum) != 0)
        writer.put(layout.attnum);
    if ((kind & kWideOid) != 0)
        writer.put(layout.type_oid);
    else
        writer.put(static_cast<std::uint16_t>(layout.type_oid));
    if ((kind & kHasTypmod) != 0)
        writer.put(layout.typmod);
    if ((kind >> kWidthShift & kWidthMask) == kWidthWritten)
        writer.put(layout.width);
}

std::uint8_t flags_of(const ColumnExtent &extent, std::uint32_t nrows)
{
    if (extent.nvalid == 0)
        return kAllNull;
    unsigned flags = extent.nvalid < nrows ? kHasNulls : 0;
    flags |= extent.constant ? kConstant : 0;
    flags |= extent.has_long ? kHasLong : 0;
    return static_cast<std::uint8_t>(flags);
}

void write_section(Writer &writer, const batch::Column &column, std::uint32_t nrows,
                   std::size_t start_width)
{
    const Section section = section_of(column.layout(), column.extent(), nrows, start_width);
    if (section.value_bytes == 0)
        return;
    // A little-endian word is its bytes in the order of the bitmap.
    writer.put_bytes(column.validity().data(), section.bitmap_bytes);
    if (start_width == sizeof(std::uint16_t)) {
        for (const std::uint32_t start : column.starts())
            writer.put(static_cast<std::uint16_t>(start));
    } else {
        writer.put_bytes(column.starts().data(), column.starts().size_bytes());
    }
    writer.pad_to(section.value_align);
    writer.put_bytes(column.values().data(), section.value_bytes);
}

} // namespace

std::size_t encoded_size(const Batch &batch)
{
    return size_of(batch, batch.nrows(),
                   [&](std::size_t i) { return batch.columns()[i].extent(); });
}

std::size_t encoded_size_with(const Batch &batch, std::span<const Cell> row)
{
    if (row.size() != batch.ncolumns())
        throw std::invalid_argument("row does not have the columns of its batch");
    const std::uint32_t nrows = batch.nrows();
    if (nrows >= kMaxRows)
        return kMaxChunkSize + 1;
    return size_of(batch, nrows + 1,
                   [&](std::size_t i) { return batch.columns()[i].extent_with(row[i], nrows); });
}

bool surely_fits(const Batch &batch, std::span<const Cell> row, std::size_t limit)
{
    const std::span<const batch::Column> columns = batch.columns();
    if (row.size() != columns.size() || batch.nrows() >= kMaxRows)
        return false;
    const std::size_t bitmap = std::size_t{batch.nrows()} / 8 + 1;
    std::size_t size = kHeaderSize + columns.size() * (kMostColumn + bitmap) + batch.most_bytes();
    for (std::size_t i = 0; i < columns.size(); ++i)
        size += columns[i].most_bytes(row[i]);
    return size <= limit;
}

std::size_t encode(const Batch &batch, std::span<std::byte> out)
{
    const std::size_t size = encoded_size(batch);
    if (size > kMaxChunkSize)
        throw std::length_error("rows do not fit into one chunk");
    if (size > out.size())
        throw std::length_error("chunk does not fit into its buffer");

    const std::size_t start_width =
        size <= kMaxNarrowSize ? sizeof(std::uint16_t) : sizeof(std::uint32_t);
    Writer writer(out.data());
    writer.put(kMagic);
    writer.put(kVersion);
    writer.put(static_cast<std::uint16_t>(batch.ncolumns()));
    writer.put(batch.nrows());
    std::int16_t attnum = 0;
    for (const batch::Column &column : batch.columns()) {
        write_layout(writer, column.layout(), attnum);
        attnum = column.layout().attnum;
    }
    for (const batch::Column &column : batch.columns())
        writer.put(flags_of(column.extent(), batch.nrows()));
    for (const batch::Column &column : batch.columns())
        write_section(writer, column, batch.nrows(), start_width);
    return writer.position();
}

/// Reads forward and checks. Nothing is believed: a chunk comes from disk.
class Chunk::Parser {
  public:
    explicit Parser(std::span<const std::byte> bytes) : bytes_(bytes) {}

    Chunk parse(std::pmr::memory_resource *arena);

  private:
    std::size_t remaining() const { return bytes_.size() - position_; }

    [[noreturn]] static void fail(const char *message) { throw MalformedChunk(message); }

    const std::byte *take(std::size_t size)
    {
        if (size > remaining())
            fail("malformed chunk: it is cut off");
        const std::byte *taken = bytes_.data() + position_;
        position_ += size;
        return taken;
    }

    template <typename Number> Number get()
    {
        Number number{};
        std::memcpy(&number, take(sizeof(number)), sizeof(number));
        return number;
    }

    void skip_padding(std::size_t align);
    ColumnLayout get_layout(std::int16_t previous_attnum);
    void check_flags(const Column &column) const;
    void get_section(Column &column);
    void check_bitmap(const std::byte *bitmap) const;
    void check_varlenas(const Column &column);

    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
    std::uint32_t nrows_ = 0;
};

void Chunk::Parser::skip_padding(std::size_t align)
{
    const std::size_t padding = align_up(position_, align) - position_;
    const std::byte *bytes = take(padding);
    for (std::size_t i = 0; i < padding; ++i) {
        if (bytes[i] != std::byte{0})
            fail("malformed chunk: padding is not zero");
    }
}

ColumnLayout Chunk::Parser::get_layout(std::int16_t previous_attnum)
{
    const auto kind = get<std::uint8_t>();
    ColumnLayout layout{};
    layout.align = static_cast<std::uint8_t>(1u << (kind & kAlignMask));
    layout.attnum = (kind & kHasAttnum) != 0 ? get<std::int16_t>()
                                             : static_cast<std::int16_t>(previous_attnum + 1);
    layout.type_oid = (kind & kWideOid) != 0 ? get<std::uint32_t>() : get<std::uint16_t>();
    layout.typmod = (kind & kHasTypmod) != 0 ? get<std::int32_t>() : -1;
    const unsigned code = kind >> kWidthShift & kWidthMask;
    layout.width = code == kWidthWritten ? get<std::int16_t>() : kWidths[code];
    if (layout.width <= 0 && layout.width != kVarlena)
        fail("malformed chunk: impossible width of a column");
    // Readers compare layouts by their bytes.
    if (layout_kind(layout, previous_attnum) != kind)
        fail("malformed chunk: layout is not in its one form");
    return layout;
}

void Chunk::Parser::check_flags(const Column &column) const
{
    const unsigned allowed =
        column.layout.width == kVarlena ? kHasNulls | kHasLong : kHasNulls | kConstant;
    if (column.flags != kAllNull && (column.flags & ~allowed) != 0)
        fail("malformed chunk: impossible flags of a column");
    if (column.flags != kAllNull && nrows_ == 0)
        fail("malformed chunk: values without rows");
}

void Chunk::Parser::check_bitmap(const std::byte *bitmap) const
{
    const std::size_t size = (std::size_t{nrows_} + 7) / 8;
    std::uint32_t nvalid = 0;
    for (std::size_t i = 0; i < size; ++i) {
        const auto byte = std::to_integer<std::uint8_t>(bitmap[i]);
        nvalid += static_cast<std::uint32_t>(std::popcount(byte));
    }
    if (nrows_ % 8 != 0 && std::to_integer<unsigned>(bitmap[size - 1]) >> (nrows_ % 8) != 0)
        fail("malformed chunk: null bitmap goes beyond the rows");
    if (nvalid == 0 || nvalid == nrows_)
        fail("malformed chunk: null bitmap without both kinds of rows");
}

void Chunk::Parser::get_section(Column &column)
{
    if (column.flags == kAllNull)
        return;
    if ((column.flags & kHasNulls) != 0) {
        column.validity = take((std::size_t{nrows_} + 7) / 8);
        check_bitmap(column.validity);
    }
    if (column.layout.width == kVarlena) {
        const std::size_t width =
            column.wide_starts ? sizeof(std::uint32_t) : sizeof(std::uint16_t);
        column.starts = take((std::size_t{nrows_} - 1) * width);
        if ((column.flags & kHasLong) != 0)
            skip_padding(batch::long_varlena_align(column.layout));
        column.values = bytes_.data() + position_;
        check_varlenas(column);
        return;
    }
    skip_padding(column.layout.align);
    const bool constant = (column.flags & kConstant) != 0;
    const std::size_t stride = batch::stride_of(column.layout);
    column.stride = constant ? 0 : static_cast<std::uint32_t>(stride);
    // nrows is at most 2^16 and a stride at most 2^15: no overflow.
    column.values = take(stride * (constant ? 1 : nrows_));
}

/// Walks over the values as they were written and demands that each starts where it must.
void Chunk::Parser::check_varlenas(const Column &column)
{
    const std::size_t section = position_;
    const std::size_t long_align = batch::long_varlena_align(column.layout);
    bool has_long = false;
    for (std::uint32_t row = 0; row < nrows_; ++row) {
        if (!column.is_null(row)) {
            // Padding starts with a zero byte, a short value never does.
            const bool is_short = remaining() > 0 && batch::is_short_varlena(bytes_[position_]);
            if (!is_short) {
                has_long = true;
                skip_padding(long_align);
            }
        }
        if (column.start(row) != position_ - section)
            fail("malformed chunk: a value does not start after the one before");
        if (column.is_null(row))
            continue;
        const std::uint32_t size = batch::varlena_size(bytes_.data() + position_, remaining());
        if (size == 0)
            fail("malformed chunk: wrong length word of a value");
        position_ += size;
    }
    if (has_long != ((column.flags & kHasLong) != 0))
        fail("malformed chunk: impossible flags of a column");
}

Chunk Chunk::Parser::parse(std::pmr::memory_resource *arena)
{
    if (bytes_.size() > kMaxChunkSize)
        fail("malformed chunk: it is too large");
    if (get<std::byte>() != kMagic)
        fail("malformed chunk: wrong first byte");
    if (get<std::byte>() != kVersion)
        fail("malformed chunk: unknown version");
    const std::size_t ncolumns = get<std::uint16_t>();
    nrows_ = get<std::uint32_t>();
    if (nrows_ > kMaxRows)
        fail("malformed chunk: too many rows");
    if (ncolumns > remaining() / kLeastColumn)
        fail("malformed chunk: it is cut off");

    Chunk chunk;
    chunk.nrows_ = nrows_;
    if (ncolumns == 0) {
        if (remaining() != 0)
            fail("malformed chunk: bytes after the last value");
        return chunk;
    }
    auto *columns =
        static_cast<Column *>(arena->allocate(ncolumns * sizeof(Column), alignof(Column)));
    const std::size_t layout_start = position_;
    std::int16_t attnum = 0;
    for (std::size_t i = 0; i < ncolumns; ++i) {
        Column *column = new (columns + i) Column{};
        column->layout = get_layout(attnum);
        column->wide_starts = bytes_.size() > kMaxNarrowSize;
        attnum = column->layout.attnum;
    }
    chunk.layout_bytes_ = bytes_.subspan(layout_start, position_ - layout_start);
    chunk.columns_ = {columns, ncolumns};
    for (std::size_t i = 0; i < ncolumns; ++i) {
        columns[i].flags = get<std::uint8_t>();
        check_flags(columns[i]);
    }
    for (std::size_t i = 0; i < ncolumns; ++i)
        get_section(columns[i]);
    if (remaining() != 0)
        fail("malformed chunk: bytes after the last value");
    return chunk;
}

Chunk Chunk::parse(std::span<const std::byte> bytes, std::pmr::memory_resource *arena)
{
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kChunkAlign != 0)
        throw std::invalid_argument("a chunk must be read at a multiple of 8 bytes");
    return Parser(bytes).parse(arena);
}

int Chunk::find_column(std::int16_t attnum) const
{
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i].layout.attnum == attnum)
            return static_cast<int>(i);
    }
    return -1;
}

} // namespace pipeline::spool
