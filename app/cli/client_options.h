#pragma once
// What all verbs that speak to a server share: its address, the time to wait, and how an answer
// becomes an exit code.

#include <memory>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"
#include "rpc/client/client.h"

namespace CLI {
class App;
}

namespace tailrace::app {

struct ClientFlags {
  std::string servers = "127.0.0.1:7100";  // HOST:PORT, separated by commas
  double timeout_s = 10;

  /// Adds -s, --server (environment TAILRACE_SERVER) and --timeout. main() takes them before the
  /// verb, too (arguments.h).
  void add_to(CLI::App& verb);
  Result<rpc::ClientOptions> client_options() const;
  Result<std::unique_ptr<rpc::Client>> connect() const;
};

/// linearizable, any, bounded=TIME or at-least=EPOCH:ADDRESS
Result<rpc::ReadOptions> parse_read_level(const std::string& text);
inline constexpr const char* kReadLevelHelp =
    "linearizable (the leader), any (the first server that answers), bounded=TIME (500ms, 2s, 1m: "
    "the first server whose state holds all that was acknowledged longer ago), or "
    "at-least=EPOCH:ADDRESS (any server that has applied that)";

/// Of KEY arguments.
inline constexpr const char* kKeyHelp = "The key, of 1 to 65535 bytes";

/// Says, in one line on standard error, that the log begins at `begin` because older records were
/// truncated; nothing when it begins where every log does. `more` is what this means for the verb.
void warn_of_truncation(Address begin, std::string_view more);

/// For a verb whose command was applied: what the answer came to.
int report_outcome(const rpc::CommandAnswer& answer, const std::string& key);

}  // namespace tailrace::app
