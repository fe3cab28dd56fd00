#include "app/top/text.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

namespace tailrace::app::top {

namespace {

constexpr double kMostShown = 9e18;

std::string with_unit(double amount, std::string_view unit) {
  return amount < 9.95 ? fmt::format("{:.1f}{}", amount, unit)
                       : fmt::format("{:.0f}{}", amount, unit);
}

/// Three digits at most: what would be shown as 1000 of a unit is 1.0 of the next.
std::string in_units(double amount, double step, const std::string_view* units, size_t count) {
  size_t unit = 0;
  for (; amount >= 999.5 && unit + 1 < count; ++unit)
    amount /= step;
  return with_unit(amount, units[unit]);
}

}  // namespace

std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0u) == 0x80u) continue;  // the rest of a character of UTF-8
    out += byte >= 0x20 && byte < 0x7f ? c : '?';
  }
  return out;
}

std::string short_bytes(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"K", "M", "G", "T", "P", "E"};
  if (bytes < 1000) return fmt::format("{}B", bytes);
  return in_units(static_cast<double>(bytes) / 1024, 1024, kUnits, std::size(kUnits));
}

std::string short_count(double count) {
  constexpr std::string_view kUnits[] = {"k", "M", "G", "T", "P", "E"};
  if (!(count > 0)) return "0";
  if (count < 9.95) return fmt::format("{:.1f}", count);
  if (count < 999.5) return fmt::format("{:.0f}", count);
  return in_units(std::min(count, kMostShown) / 1000, 1000, kUnits, std::size(kUnits));
}

std::string short_time(double seconds) {
  if (!(seconds > 0)) return "0 s";
  if (seconds < 0.0009995) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 0.09995) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{:.0f} s", std::min(seconds, kMostShown));
}

std::string short_age(double seconds) {
  if (!(seconds >= 60)) return fmt::format("{:.0f}s", std::max(0.0, std::floor(seconds)));
  if (seconds < 3600) return fmt::format("{:.0f}m", std::floor(seconds / 60));
  if (seconds < 86'400) return fmt::format("{:.0f}h", std::floor(seconds / 3600));
  return fmt::format("{:.0f}d", std::floor(std::min(seconds, kMostShown) / 86'400));
}

std::string and_more(size_t count, std::string_view what) {
  return fmt::format("and {} more {}{}", count, what, count == 1 ? "" : "s");
}

std::string bytes_or_dash(const Number& bytes) {
  return bytes ? short_bytes(*bytes) : "-";
}

std::string rate_of_bytes_or_dash(const Figure& bytes) {
  return bytes ? short_bytes(static_cast<uint64_t>(std::clamp(*bytes, 0.0, kMostShown))) : "-";
}

std::string count_or_dash(const Figure& count) {
  return count ? short_count(*count) : "-";
}

std::string number_or_dash(const Number& number) {
  return number ? fmt::format("{}", *number) : "-";
}

}  // namespace tailrace::app::top
