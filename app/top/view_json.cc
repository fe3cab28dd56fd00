#include "app/top/view_json.h"

#include <nlohmann/json.hpp>

namespace tailrace::app::top {
namespace {

using Json = nlohmann::ordered_json;

template <typename Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

Json seconds_or_null(const std::optional<Quantile>& time) {
  return time ? Json(time->seconds) : Json();
}

Json rates_json(const Rates& rates) {
  return {{"writes", or_null(rates.writes)},
          {"reads", or_null(rates.reads)},
          {"events", or_null(rates.events)},
          {"errors", or_null(rates.errors)},
          {"record_bytes", or_null(rates.record_bytes)}};
}

Json node_json(const NodeRow& row) {
  Json out = {{"node", row.node.value},
              {"server", row.server},
              {"answered", row.answered},
              {"role", row.answered ? Json(row.role) : Json()},
              {"health", row.health},
              {"vote", row.answered ? Json(row.vote) : Json()},
              {"lag_bytes", or_null(row.lag_bytes)},
              {"lag_seconds", or_null(row.lag_s)}};
  if (row.answered)
    out["watermarks"] = {{"begin", row.begin.value},     {"checkpointed", row.checkpointed.value},
                         {"applied", row.applied.value}, {"committed", row.committed.value},
                         {"durable", row.durable.value}, {"tail", row.tail.value}};
  else
    out["watermarks"] = nullptr;
  out["per_second"] = rates_json(row.rates);
  out["per_second"]["applied_bytes"] = or_null(row.applied_bytes);
  out["cpu_share"] = or_null(row.cpu_share);
  out["in_flight"] = or_null(row.in_flight);
  out["connections"] = or_null(row.connections);
  out["tails"] = or_null(row.tails);
  out["resident_bytes"] = or_null(row.resident_bytes);
  out["disk_free_bytes"] = or_null(row.disk_free_bytes);
  out["disk_capacity_bytes"] = or_null(row.disk_capacity_bytes);
  out["store_used_bytes"] = or_null(row.store_used_bytes);
  out["store_capacity_bytes"] = or_null(row.store_capacity_bytes);
  out["live_records"] = or_null(row.live_records);
  out["uptime_seconds"] = or_null(row.uptime_s);
  return out;
}

Json truncation_json(const Truncation& truncation) {
  const bool has_next = !truncation.next.empty();
  return {{"node", truncation.node.value},
          {"anchors", truncation.anchors},
          {"address", truncation.address.value},
          {"below_applied_bytes", truncation.below_applied_bytes},
          {"next_anchor", has_next ? Json(truncation.next) : Json()},
          {"below_next_bytes", has_next ? Json(truncation.below_next_bytes) : Json()}};
}

}  // namespace

Json to_json(const View& view) {
  Json out = {{"time_ms", view.unix_time_ms},    {"cluster_identity", view.identity},
              {"leader", view.leader.value},     {"epoch", view.epoch.value},
              {"cluster_version", view.version}, {"per_second", rates_json(view.rates)}};
  out["nodes"] = Json::array();
  for (const NodeRow& row : view.nodes)
    out["nodes"].push_back(node_json(row));
  out["stages"] = Json::array();
  for (const StageRow& stage : view.stages)
    out["stages"].push_back({{"stage", stage.name},
                             {"measured_per_second", or_null(stage.rate)},
                             {"p50_seconds", seconds_or_null(stage.p50)},
                             {"p99_seconds", seconds_or_null(stage.p99)}});
  out["truncation"] = view.truncation ? truncation_json(*view.truncation) : Json();
  out["problems"] = view.problems;
  return out;
}

}  // namespace tailrace::app::top
