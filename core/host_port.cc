#include "core/host_port.h"

#include <algorithm>
#include <charconv>

namespace tailrace {
namespace {

constexpr size_t kMostHostBytes = 253;

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool may_be_name(std::string_view host) {
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return is_alphanumeric(c) || c == '.' || c == '-' || c == '_'; });
}

/// With a scope as in fe80::1%eth0.
bool may_be_ipv6(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return is_alphanumeric(c) || c == ':' || c == '.' || c == '%' || c == '-' || c == '_';
  });
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
  const auto bad = [&] {
    return make_error(
        ErrorCode::kInvalidArgument,
        "'" + printable(text) + "' is not HOST:PORT (for example 127.0.0.1:7100 or [::1]:7100)");
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.size() > kMostHostBytes || !(bracketed ? may_be_ipv6(host) : may_be_name(host)))
    return bad();
  HostPort result{std::string(host), 0};
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), result.port);
  if (error != std::errc{} || end != digits.data() + digits.size()) return bad();
  return result;
}

Result<HostPort> parse_reachable(std::string_view text) {
  auto parsed = parse_host_port(text);
  if (parsed && parsed->port == 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "'" + printable(text) + "' has port 0, where nobody can be reached");
  return parsed;
}

std::string printable(std::string_view text, size_t most_bytes) {
  std::string shown(text.substr(0, most_bytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  if (text.size() > most_bytes) shown += "...";
  return shown;
}

}  // namespace tailrace
