#pragma once
// A host's addresses, asked for in a way that can be given up.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"

namespace asio {
class io_context;
}

namespace tailrace::rpc {

/// The C library's lookup cannot be interrupted, and a name service that is down holds it for half
/// a minute. Asio's resolver has the io_context's end wait for it; here a thread of its own is left
/// to itself, so that a stop never waits for a name.
class NameLookup {
 public:
  /// Addresses in numbers, never none of them. kUnavailable when the name has none.
  using Done = std::function<void(Result<std::vector<std::string>>)>;

  /// `done` is called once on `io`, unless the lookup is cancelled or destroyed before.
  NameLookup(asio::io_context& io, const std::string& host, Done done);
  ~NameLookup();
  NameLookup(const NameLookup&) = delete;
  NameLookup& operator=(const NameLookup&) = delete;
  /// On `io`.
  void cancel();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tailrace::rpc
