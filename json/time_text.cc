#include "json/time_text.h"

#include <charconv>
#include <chrono>

namespace tailrace {

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000, kDayMs = 86'400'000;

std::optional<uint64_t> whole_number_of(std::string_view text) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return number;
}

/// Takes so many digits from the front; -1: they are none.
int take_digits(std::string_view& text, size_t count) {
  const auto digits = text.substr(0, count);
  const auto number = digits.size() == count ? whole_number_of(digits) : std::nullopt;
  if (!number) return -1;
  text.remove_prefix(count);
  return static_cast<int>(*number);
}

bool take_letter(std::string_view& text, char letter) {
  if (!text.starts_with(letter)) return false;
  text.remove_prefix(1);
  return true;
}

/// ".25" as nanoseconds; beyond nine digits they are cut off.
std::optional<uint64_t> take_fraction_ns(std::string_view& text) {
  if (!take_letter(text, '.')) return 0;
  uint64_t ns = 0, unit = kSecondNs / 10;
  size_t digits = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    ns += unit * static_cast<uint64_t>(text.front() - '0');
    unit /= 10;
    ++digits;
    text.remove_prefix(1);
  }
  return digits == 0 ? std::nullopt : std::optional(ns);
}

/// Seconds to the east of Greenwich.
std::optional<int64_t> take_offset_s(std::string_view& text) {
  if (take_letter(text, 'Z') || take_letter(text, 'z')) return 0;
  const bool west = text.starts_with('-');
  if (!west && !text.starts_with('+')) return std::nullopt;
  text.remove_prefix(1);
  const int hours = take_digits(text, 2);
  const bool colon = take_letter(text, ':');
  const int minutes = take_digits(text, 2);
  if (!colon || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
  const int64_t seconds = (int64_t{hours} * 60 + minutes) * 60;
  return west ? -seconds : seconds;
}

}  // namespace

std::optional<uint64_t> parse_duration_ms(std::string_view text) {
  struct Unit {
    std::string_view name;
    uint64_t milliseconds;
  };
  // "ms" before "s": the first that the text ends with is meant.
  constexpr Unit kUnits[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", kDayMs}};
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    if (text.ends_with(' ')) text.remove_suffix(1);
    const auto number = whole_number_of(text);
    if (!number || *number > kMostDurationDays * kDayMs / unit.milliseconds) return std::nullopt;
    return *number * unit.milliseconds;
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_rfc3339_ns(std::string_view text) {
  using namespace std::chrono;
  const int year_number = take_digits(text, 4);
  if (!take_letter(text, '-')) return std::nullopt;
  const int month_number = take_digits(text, 2);
  if (!take_letter(text, '-')) return std::nullopt;
  const int day_number = take_digits(text, 2);
  if (!take_letter(text, 'T') && !take_letter(text, 't') && !take_letter(text, ' '))
    return std::nullopt;
  const int hours = take_digits(text, 2);
  if (!take_letter(text, ':')) return std::nullopt;
  const int minutes = take_digits(text, 2);
  if (!take_letter(text, ':')) return std::nullopt;
  const int seconds_number = take_digits(text, 2);
  const auto fraction_ns = take_fraction_ns(text);
  const auto offset_s = take_offset_s(text);
  if (year_number < 0 || month_number < 0 || day_number < 0 || hours < 0 || hours > 23 ||
      minutes < 0 || minutes > 59 || seconds_number < 0 || seconds_number > 60 || !fraction_ns ||
      !offset_s || !text.empty())
    return std::nullopt;
  const year_month_day date{year(year_number), month(static_cast<unsigned>(month_number)),
                            day(static_cast<unsigned>(day_number))};
  if (!date.ok()) return std::nullopt;
  const int64_t days = sys_days(date).time_since_epoch().count();
  const int64_t unix_s =
      days * 86'400 + (int64_t{hours} * 60 + minutes) * 60 + seconds_number - *offset_s;
  if (unix_s < 0) return std::nullopt;
  uint64_t unix_time_ns = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(unix_s), kSecondNs, &unix_time_ns) ||
      __builtin_add_overflow(unix_time_ns, *fraction_ns, &unix_time_ns))
    return std::nullopt;
  return unix_time_ns;
}

std::string rfc3339_text(uint64_t unix_time_ns) {
  using namespace std::chrono;
  const auto seconds_of = static_cast<int64_t>(unix_time_ns / kSecondNs);
  const sys_days date(days(seconds_of / 86'400));
  const year_month_day parts(date);
  const int64_t of_day = seconds_of % 86'400;
  std::string text;
  const auto digits = [&text](uint64_t number, size_t count) {
    const std::string plain = std::to_string(number);
    text.append(count - plain.size(), '0');
    text += plain;
  };
  digits(static_cast<uint64_t>(static_cast<int>(parts.year())), 4);
  text += '-';
  digits(static_cast<unsigned>(parts.month()), 2);
  text += '-';
  digits(static_cast<unsigned>(parts.day()), 2);
  text += 'T';
  digits(static_cast<uint64_t>(of_day / 3600), 2);
  text += ':';
  digits(static_cast<uint64_t>(of_day / 60 % 60), 2);
  text += ':';
  digits(static_cast<uint64_t>(of_day % 60), 2);
  if (const uint64_t ns = unix_time_ns % kSecondNs; ns != 0) {
    text += '.';
    digits(ns, 9);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + 'Z';
}

}  // namespace tailrace
