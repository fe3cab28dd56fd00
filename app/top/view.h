#pragma once
// What `tailrace top` shows, as figures: out of two snapshots, without a clock, a terminal or a
// network. The screen (screen.h) and the JSON (view_json.h) are made from it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/top/rates.h"
#include "app/top/snapshot.h"

namespace tailrace::app::top {

/// In each second; nothing where it is not known.
struct Rates {
  Figure writes, reads, events, errors, record_bytes;
};

struct NodeRow {
  NodeId node;  // 0: not known
  std::string server;
  bool answered = false;
  bool asked = true;  // false: another node names it, and top did not ask it
  std::string role;
  std::string health;    // "ok", or a word for what is wrong
  bool is_well = false;  // the health is "ok"
  std::string vote;
  Number lag_bytes;  // as the leader says; nothing of the leader, and while it does not know
  Figure lag_s;
  Figure applied_bytes;  // in each second
  Rates rates;
  Figure cpu_share;  // 1: one processor
  Number in_flight, connections, tails, resident_bytes, disk_free_bytes, disk_capacity_bytes;
  Number store_used_bytes, store_capacity_bytes, live_records;
  Figure uptime_s;
  /// All 0 when it did not answer.
  Address begin, checkpointed, applied, committed, durable, tail;
};

struct StageRow {
  std::string name;
  Figure rate;  // how many were measured in each second
  std::optional<Quantile> p50, p99;
};

/// Who needs the oldest part of the leader's log, or that of another node where none leads.
struct Truncation {
  NodeId node;                       // whose log
  std::vector<std::string> anchors;  // one, or some that need the same
  Address address;                   // the log is needed from here on
  uint64_t below_applied_bytes = 0;
  std::string next;  // the anchor that would hold it without these; empty: there is none
  uint64_t below_next_bytes = 0;
};

struct View {
  int64_t unix_time_ms = 0;
  std::string identity;  // of the cluster; empty: not known
  NodeId leader;         // that serves; 0: none
  Epoch epoch;
  uint32_t version = 0;
  Rates rates;                   // of all nodes
  std::vector<NodeRow> nodes;    // by their numbers; those that are not known come last
  Address begin, tail;           // of all logs
  std::vector<StageRow> stages;  // of the leader; empty: not known
  std::optional<Truncation> truncation;
  std::vector<std::string> problems;  // in words, the worst first
};

/// `before`: nothing at the first time; then rates and quantiles are not known.
View view_of(const Snapshot* before, const Snapshot& now);

}  // namespace tailrace::app::top
