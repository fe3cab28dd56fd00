#pragma once
// Addresses of listeners, as people and other nodes write them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace tailrace {

/// "[HOST]:PORT" at its longest.
inline constexpr size_t kMostHostPortBytes = 253 + 2 + 1 + 5;

struct HostPort {
  std::string host;  // a name, an IPv4 address, or an IPv6 address without brackets
  uint16_t port = 0;
};

/// "HOST:PORT" or "[IPv6]:PORT". kInvalidArgument for all that no host can be called: blanks,
/// control characters, more than 253 bytes; and for a port of more than five digits. Port 0 is one:
/// a listener takes a free one.
Result<HostPort> parse_host_port(std::string_view text);
/// The same for an address that others are to reach: port 0 is refused, and so is the unspecified
/// address (0.0.0.0, [::], in whatever spelling), on which one can only listen. A port has one
/// spelling there (7100, not 07100).
Result<HostPort> parse_reachable(std::string_view text);

/// The same text for what is the same address, however it is spelt; names are not looked up.
std::string comparable_address(std::string_view text);
/// Whether a process that listens on the one cannot listen on the other: one port, and one host, or
/// all hosts of a machine. Port 0 is none yet.
bool listen_at_once(std::string_view one, std::string_view other);

/// Bytes of a stranger, fit for a line of a log: what is not printable ASCII is shown as '?', and
/// what is long ends in "...".
std::string printable(std::string_view text, size_t most_bytes = 100);

}  // namespace tailrace
