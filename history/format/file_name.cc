#include "history/format/file_name.h"

#include <fmt/format.h>

namespace tailrace::history {

namespace {

/// Reads a name from front to back; after what does not fit all is zero.
class NameReader {
 public:
  explicit NameReader(std::string_view name) : rest_(name) {}

  uint64_t hex(size_t digits) {
    uint64_t value = 0;
    if (rest_.size() < digits) fits_ = false;
    for (size_t digit = 0; digit < digits && fits_; ++digit) {
      const size_t number = std::string_view("0123456789abcdef").find(rest_[digit]);
      if (number == std::string_view::npos) fits_ = false;
      value = value << 4 | number;
    }
    if (!fits_) return 0;
    rest_.remove_prefix(digits);
    return value;
  }
  void text(std::string_view expected) {
    if (fits_ && rest_.starts_with(expected))
      rest_.remove_prefix(expected.size());
    else
      fits_ = false;
  }
  bool fits() const { return fits_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool fits_ = true;
};

}  // namespace

std::string text_of(const ContentDigest& digest) {
  return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

std::string name_of(const EventFileInfo& info) {
  return fmt::format("{:016x}-{:016x}.{:08x}.{}.{:016x}{}", info.range.first.value,
                     info.range.end.value, info.revision, text_of(info.digest), info.bytes,
                     kEventFileSuffix);
}

std::optional<EventFileInfo> parse_file_name(std::string_view name) {
  EventFileInfo info;
  NameReader reader(name);
  info.range.first = Address{reader.hex(16)};
  reader.text("-");
  info.range.end = Address{reader.hex(16)};
  reader.text(".");
  info.revision = static_cast<uint32_t>(reader.hex(8));
  reader.text(".");
  info.digest.high = reader.hex(16);
  info.digest.low = reader.hex(16);
  reader.text(".");
  info.bytes = reader.hex(16);
  reader.text(kEventFileSuffix);
  if (!reader.fits() || info.range.first >= info.range.end) return std::nullopt;
  return info;
}

}  // namespace tailrace::history
