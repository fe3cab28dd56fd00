#pragma once
// The event files of all members: what each has, and whether they have the same.

#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "rpc/client/client.h"

namespace tailrace::app {

struct HistoryOfNodes {
  std::vector<std::pair<std::string, rpc::HistoryAnswer>> nodes;
  std::vector<Error> silent;  // of members that gave no answer; each names the server
};

/// Of the members, or only of those that the client was given.
HistoryOfNodes ask_history(rpc::Client& client, bool only_named);

/// A file that two nodes have with different events, or that one lacks.
struct HistoryDifference {
  AddressRange range;
  std::string what;  // "10.0.0.1:7100 and 10.0.0.2:7100 have different events"
  bool is_missing = false;
};

/// Where a range is on several nodes, it must be the same file. What lies behind the end of a
/// node's history is not missing there: it will write that itself. Ranges of other lengths, of
/// nodes whose log.segment_bytes differ, are told, too.
std::vector<HistoryDifference> differences_of(const HistoryOfNodes& all);

/// "scavenged to 4711", or what it waits for.
std::string scavenge_text(const rpc::HistoryAnswer& answer);
void print_history(const HistoryOfNodes& all, bool json);
/// The exit code: 1 when events differ or a node lacks some.
int print_comparison(const HistoryOfNodes& all, bool json);

}  // namespace tailrace::app
