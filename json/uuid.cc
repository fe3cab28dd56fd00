#include "json/uuid.h"

namespace tailrace {

namespace {

constexpr size_t kDigits = 32;
constexpr std::array<size_t, 4> kDashes{8, 13, 18, 23};  // in the text with dashes

bool is_dash_place(size_t at) {
  for (const size_t dash : kDashes)
    if (at == dash) return true;
  return false;
}

int digit_of(char each) {
  if (each >= '0' && each <= '9') return each - '0';
  if (each >= 'a' && each <= 'f') return each - 'a' + 10;
  if (each >= 'A' && each <= 'F') return each - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Uuid> parse_uuid(std::string_view text) {
  const bool dashed = text.size() == kDigits + kDashes.size();
  if (!dashed && text.size() != kDigits) return std::nullopt;
  Uuid uuid{};
  size_t digits = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if (dashed && is_dash_place(at)) {
      if (text[at] != '-') return std::nullopt;
      continue;
    }
    const int digit = digit_of(text[at]);
    if (digit < 0) return std::nullopt;
    uuid[digits / 2] = uuid[digits / 2] << 4 | static_cast<std::byte>(digit);
    ++digits;
  }
  return uuid;
}

std::string uuid_text(const Uuid& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (is_dash_place(text.size())) text += '-';
    const auto byte = static_cast<uint8_t>(uuid[i]);
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

Uuid new_uuid(uint64_t unix_time_ms, uint64_t random_high, uint64_t random_low) {
  const uint64_t high = unix_time_ms << 16 | 0x7000 | (random_high & 0x0fff);
  const uint64_t low = uint64_t{1} << 63 | random_low >> 2;
  Uuid uuid{};
  for (size_t i = 0; i < 8; ++i) {
    uuid[i] = static_cast<std::byte>(high >> (56 - 8 * i));
    uuid[8 + i] = static_cast<std::byte>(low >> (56 - 8 * i));
  }
  return uuid;
}

}  // namespace tailrace
