#include "app/verbs/history/history_report.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

HistoryOfNodes ask_history(rpc::Client& client, bool only_named) {
  HistoryOfNodes all;
  for (const auto& [server, status] : only_named ? client.status() : client.cluster_status()) {
    auto answer = status ? client.history(server)
                         : Result<rpc::HistoryAnswer>(tl::unexpected(status.error()));
    if (answer)
      all.nodes.emplace_back(server, std::move(*answer));
    else
      all.silent.push_back(with_context(server, std::move(answer).error()));
  }
  return all;
}

namespace {

std::string different(const std::string& one, const rpc::HistoryFile& its, const std::string& other,
                      const rpc::HistoryFile& theirs) {
  if (its.revision == theirs.revision)
    return fmt::format("{} and {} have different events", printable(one), printable(other));
  return fmt::format(
      "{} has left out {} dead events, {} has left out {}: one is not scavenged as "
      "far as the other yet (tailrace history status)",
      printable(one), its.revision, printable(other), theirs.revision);
}

}  // namespace

std::vector<HistoryDifference> differences_of(const HistoryOfNodes& all) {
  std::vector<HistoryDifference> found;
  for (size_t i = 0; i < all.nodes.size(); ++i) {
    const auto& [server, one] = all.nodes[i];
    std::map<Address, const rpc::HistoryFile*> own;
    for (const rpc::HistoryFile& file : one.listed)
      own[file.range.first] = &file;
    for (size_t k = 0; k < all.nodes.size(); ++k) {
      if (k == i) continue;
      const auto& [other_server, other] = all.nodes[k];
      for (const rpc::HistoryFile& theirs : other.listed) {
        // Each pair is compared once, and each lack told by the one that lacks.
        const auto behind = own.upper_bound(theirs.range.first);
        const rpc::HistoryFile* const mine =
            behind == own.begin() ? nullptr : std::prev(behind)->second;
        const bool overlaps = (mine != nullptr && mine->range.end > theirs.range.first) ||
                              (behind != own.end() && behind->first < theirs.range.end);
        if (mine != nullptr && mine->range == theirs.range) {
          if (i < k && !mine->holds_the_same(theirs))
            found.push_back({theirs.range, different(server, *mine, other_server, theirs)});
        } else if (overlaps) {
          if (i < k)
            found.push_back(
                {theirs.range, fmt::format("{} and {} have files of other ranges: their "
                                           "log.segment_bytes differ",
                                           printable(server), printable(other_server))});
        } else if (one.kept && theirs.range.end <= one.range.end) {
          found.push_back(
              {theirs.range,
               fmt::format("{} lacks what {} has", printable(server), printable(other_server)),
               true});
        }
      }
    }
  }
  for (const auto& [server, answer] : all.nodes)
    if (answer.kept && answer.missing_bytes > 0)
      found.push_back({answer.range,
                       fmt::format("{} has no event files for {} bytes of this log",
                                   printable(server), answer.missing_bytes),
                       true});
  return found;
}

std::string scavenge_text(const rpc::HistoryAnswer& answer) {
  if (answer.scavenged_to >= answer.scavenge_to)
    return fmt::format("scavenged to {}", answer.scavenged_to.value);
  std::string text = fmt::format("not scavenged to {} yet", answer.scavenge_to.value);
  if (!answer.scavenge_trouble.empty()) return text + ": " + printable(answer.scavenge_trouble);
  if (answer.range.end < answer.scavenge_to)
    return text + fmt::format(": its history reaches {}, and waits for a checkpoint",
                              answer.range.end.value);
  return text;
}

namespace {

nlohmann::ordered_json json_of(const std::string& server, const rpc::HistoryAnswer& answer) {
  nlohmann::ordered_json node = {{"server", server}, {"kept", answer.kept}};
  if (!answer.kept) return node;
  node["begin"] = answer.range.first.value;
  node["complete"] = answer.range.end.value;
  node["files"] = answer.files;
  node["bytes"] = answer.bytes;
  node["missing_bytes"] = answer.missing_bytes;
  if (!answer.trouble.empty()) node["trouble"] = answer.trouble;
  node["scavenge_to"] = answer.scavenge_to.value;
  node["scavenged_to"] = answer.scavenged_to.value;
  node["removed_events"] = answer.removed_events;
  if (!answer.scavenge_trouble.empty()) node["scavenge_trouble"] = answer.scavenge_trouble;
  return node;
}

void print_node(const std::string& server, const rpc::HistoryAnswer& answer) {
  if (!answer.kept)
    return print_out("{}  keeps no events (history.keep is none)\n", printable(server));
  print_out("{}  log {} to {}  {} files  {} bytes", printable(server), answer.range.first.value,
            answer.range.end.value, answer.files, answer.bytes);
  if (answer.missing_bytes > 0) print_out("  {} bytes of log missing", answer.missing_bytes);
  if (!answer.trouble.empty()) print_out("  held back: {}", printable(answer.trouble));
  if (answer.scavenge_to != Address{}) print_out("  {}", scavenge_text(answer));
  print_out("\n");
}

}  // namespace

void print_history(const HistoryOfNodes& all, bool json) {
  if (!json) {
    for (const auto& [server, answer] : all.nodes)
      print_node(server, answer);
    return;
  }
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const auto& [server, answer] : all.nodes)
    out.push_back(json_of(server, answer));
  print_out("{}\n", json_text(nlohmann::ordered_json{{"nodes", out}}, 2));
}

namespace {

/// Who has less than the others because its log still has the rest.
std::string not_written_yet(const HistoryOfNodes& all) {
  Address most;
  for (const auto& [server, answer] : all.nodes)
    if (answer.kept) most = std::max(most, answer.range.end);
  std::string behind;
  for (const auto& [server, answer] : all.nodes)
    if (answer.kept && answer.range.end < most)
      behind += fmt::format("{}{} still has the log from {} on, which is in no file of its own yet",
                            behind.empty() ? ", as far as they were compared: " : "; ",
                            printable(server), answer.range.end.value);
  return behind;
}

}  // namespace

int print_comparison(const HistoryOfNodes& all, bool json) {
  const auto differences = differences_of(all);
  if (json) {
    nlohmann::ordered_json out = {{"histories_agree", differences.empty()}};
    out["nodes"] = nlohmann::ordered_json::array();
    for (const auto& [server, answer] : all.nodes)
      out["nodes"].push_back(json_of(server, answer));
    out["differences"] = nlohmann::ordered_json::array();
    for (const HistoryDifference& each : differences)
      out["differences"].push_back({{"from", each.range.first.value},
                                    {"to", each.range.end.value},
                                    {"missing", each.is_missing},
                                    {"what", each.what}});
    print_out("{}\n", json_text(out, 2));
  } else {
    print_history(all, false);
  }
  for (const HistoryDifference& each : differences)
    print_error("tailrace: log from {} to {}: {}\n", each.range.first.value, each.range.end.value,
                each.what);
  if (!differences.empty()) return kNegative;
  if (all.nodes.size() == 1)
    print_error("tailrace: one node was asked: there is nothing to compare it with\n");
  else if (!json)
    print_error("tailrace: {} nodes have the same event files{}\n", all.nodes.size(),
                not_written_yet(all));
  return kDone;
}

}  // namespace tailrace::app
