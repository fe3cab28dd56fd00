#include "core/host_port.h"

#include <algorithm>
#include <charconv>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace tailrace {
namespace {

constexpr size_t kMostHostBytes = 253;
constexpr size_t kMostPortBytes = 5;

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

/// All addresses of a machine: as the resolver would take it, so "0" is one, too.
bool is_unspecified(const std::string& host) {
  in_addr v4{};
  if (::inet_aton(host.c_str(), &v4) != 0) return v4.s_addr == INADDR_ANY;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &v6) != 1) return false;
  // The last four bytes are the whole of it where an IPv4 address is written as one of IPv6.
  const bool maps_v4 = IN6_IS_ADDR_V4MAPPED(&v6);
  return IN6_IS_ADDR_UNSPECIFIED(&v6) || (maps_v4 && std::all_of(v6.s6_addr + 12, v6.s6_addr + 16,
                                                                 [](uint8_t b) { return b == 0; }));
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
  if (digits.size() > kMostPortBytes) return bad();
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
  if (parsed && text[text.rfind(':') + 1] == '0')
    return make_error(ErrorCode::kInvalidArgument,
                      "'" + printable(text) + "' has a port that begins with 0: write it as " +
                          std::to_string(parsed->port));
  if (parsed && is_unspecified(parsed->host))
    return make_error(ErrorCode::kInvalidArgument,
                      "'" + printable(text) +
                          "' stands for all addresses of a machine: one can listen there, but "
                          "nobody can be told to connect to it");
  return parsed;
}

std::string comparable_address(std::string_view text) {
  auto parsed = parse_host_port(text);
  if (!parsed) return std::string(text);
  std::transform(parsed->host.begin(), parsed->host.end(), parsed->host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return parsed->host + " " + std::to_string(parsed->port);
}

bool listen_at_once(std::string_view one, std::string_view other) {
  const auto first = parse_host_port(one), second = parse_host_port(other);
  if (!first || !second || first->port != second->port || first->port == 0) return false;
  return is_unspecified(first->host) || is_unspecified(second->host) ||
         comparable_address(one) == comparable_address(other);
}

std::string printable(std::string_view text, size_t most_bytes) {
  std::string shown(text.substr(0, most_bytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  if (text.size() > most_bytes) shown += "...";
  return shown;
}

}  // namespace tailrace
