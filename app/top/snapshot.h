#pragma once
// What all servers of a cluster said at one time.

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "rpc/client/client.h"

namespace tailrace::app::top {

struct Snapshot {
  SteadyTime began;          // when the servers were asked
  SteadyTime at;             // when it was complete
  int64_t unix_time_ms = 0;  // the same, for people
  std::vector<rpc::Client::ServerStatus> servers;
  std::vector<std::string> left_out;  // in words: what answers said beyond the bounds (bounds.h)
};

}  // namespace tailrace::app::top
