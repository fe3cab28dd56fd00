#include "app/cli/option_values.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "core/host_port.h"
#include "json/time_text.h"

namespace tailrace::app {

namespace {

template <typename Number>
std::optional<Number> parse_all(std::string_view text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return number;
}

CLI::Option* number_of(CLI::Option* option, std::string_view what, double least, double most) {
  const auto check = [what, least, most](std::string& text) -> std::string {
    const auto number = parse_all<double>(text);
    if (number && *number >= least && *number <= most) return {};
    return fmt::format("'{}' is not a number of {} from {} to {}", text, what, least, most);
  };
  return option->check(CLI::Validator(check, ""));
}

}  // namespace

Result<uint64_t> parse_whole_number(std::string_view text) {
  if (const auto number = parse_all<uint64_t>(text)) return *number;
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is not a whole number of at most 64 bits", text));
}

std::optional<uint64_t> parse_milliseconds(std::string_view text) {
  const auto number = parse_all<uint64_t>(text);
  return number ? number : parse_duration_ms(text);
}

Result<Address> parse_address(std::string_view text, std::string_view option,
                              std::string_view words) {
  const auto number = parse_all<uint64_t>(text);
  if (number && *number != 0 && Address{*number} <= kMostAddress) return Address{*number};
  return make_error(
      ErrorCode::kInvalidArgument,
      fmt::format("{} is '{}'; it must be an address (a whole number from 1 to {}){}{}", option,
                  text, kMostAddress.value, words.empty() ? "" : " or ", words));
}

Result<> check_order(Address from, Address to) {
  if (from <= to) return {};
  return make_error(
      ErrorCode::kInvalidArgument,
      fmt::format("--from {} is beyond --to {}: nothing lies between", from.value, to.value));
}

CLI::Option* whole_number(CLI::Option* option, uint64_t least, uint64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    const auto number = parse_all<uint64_t>(text);
    if (!number || *number < least || *number > most)
      return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
    text = std::to_string(*number);  // without the zero in front that would make it octal
    return {};
  };
  return option->transform(CLI::Validator(check, ""))->type_name("NUMBER");
}

CLI::Option* byte_size(CLI::Option* option, uint64_t most) {
  const auto check = [most](std::string& text) -> std::string {
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto number = parse_all<uint64_t>(std::string_view(text).substr(0, digits));
    const std::string_view unit = std::string_view(text).substr(digits);
    constexpr std::string_view kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
    const auto* const found = std::find(std::begin(kUnits), std::end(kUnits), unit);
    const auto shift = static_cast<unsigned>(10 * (found - std::begin(kUnits)));
    if (!number || found == std::end(kUnits) || *number > most >> shift)
      return fmt::format("'{}' is not a size from 0 to {} bytes, such as 4096, 64KiB or 1GiB", text,
                         most);
    text = std::to_string(*number << shift);
    return {};
  };
  return option->transform(CLI::Validator(check, ""))->type_name("BYTES");
}

CLI::Option* seconds(CLI::Option* option, double least, double most) {
  return number_of(option, "seconds", least, most)->type_name("SECONDS");
}

CLI::Option* per_second(CLI::Option* option, double least, double most) {
  return number_of(option, "operations a second", least, most)->type_name("PER_SECOND");
}

CLI::Option* seconds_or_time(CLI::Option* option, double least, double most) {
  const auto check = [least, most](std::string& text) -> std::string {
    auto number = parse_all<double>(text);
    if (const auto time = parse_duration_ms(text)) number = static_cast<double>(*time) / 1000;
    if (!number || !(*number >= least && *number <= most))
      return fmt::format(
          "'{}' is not a number of seconds from {} to {}, or such a time with a "
          "unit: 500ms, 2s, 1m",
          text, least, most);
    text = fmt::format("{}", *number);
    return {};
  };
  return option->transform(CLI::Validator(check, ""))->type_name("SECONDS");
}

CLI::Option* host_port(CLI::Option* option) {
  const auto check = [](std::string& text) -> std::string {
    const size_t colon = text.rfind(':');
    const auto is_plain = [](unsigned char each) { return each > 0x20 && each < 0x7f; };
    if (colon != std::string::npos && colon > 0 &&
        std::all_of(text.begin(), text.end(), is_plain)) {
      const auto port = parse_all<uint16_t>(std::string_view(text).substr(colon + 1));
      if (port) return {};
    }
    return fmt::format("'{}' is not HOST:PORT with a port from 0 to 65535", text);
  };
  return option->check(CLI::Validator(check, ""))->type_name("HOST:PORT");
}

CLI::Option* reachable_host_port(CLI::Option* option) {
  const auto check = [](std::string& text) -> std::string {
    const auto parsed = parse_reachable(text);
    return parsed ? std::string() : parsed.error().message;
  };
  return host_port(option)->check(CLI::Validator(check, ""));
}

CLI::Option* add_time_to_live(CLI::App& verb, uint64_t& milliseconds) {
  const auto check = [](std::string& text) -> std::string {
    const auto parsed = parse_duration_ms(text);
    if (!parsed || *parsed == 0)
      return fmt::format(
          "'{}' is not a time from 1ms to {}d; it needs a unit: 250ms, 30s, 5m, 1h "
          "or 7d",
          text, kMostDurationDays);
    text = std::to_string(*parsed);
    return {};
  };
  return verb.add_option("--ttl", milliseconds, "How long the key lives: 250ms, 30s, 5m, 1h or 7d")
      ->transform(CLI::Validator(check, ""))
      ->type_name("TIME");
}

}  // namespace tailrace::app
