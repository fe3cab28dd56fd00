#include "app/cli/log_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"
#include "core/utf8.h"

namespace tailrace::app {

namespace {

// File names may be any bytes; a report must not fail over them.
std::string printable(std::string text) {
  for (char& each : text) {
    if (static_cast<unsigned char>(each) < 0x20 || static_cast<unsigned char>(each) > 0x7e)
      each = '?';
  }
  return text;
}

std::string_view in_words(fasterlog::Place place) {
  switch (place) {
    case fasterlog::Place::kFile:
      return "file";
    case fasterlog::Place::kBelowProven:
      return "below proven";
    case fasterlog::Place::kBelowEnd:
      return "behind proven, whole batches follow";
    case fasterlog::Place::kBeyond:
      return "beyond the log's end";
  }
  return "unknown";
}

}  // namespace

nlohmann::ordered_json to_json(const fasterlog::CheckReport& report) {
  nlohmann::ordered_json out;
  out["damaged"] = report.damaged();
  out["in_use"] = report.in_use;
  if (report.metadata_error) {
    out["metadata_error"] = printable(report.metadata_error->message);
    out["possible_page_bytes"] = report.possible_page_bytes;
  } else {
    out["owner"] = printable(report.metadata.owner);
    out["proven"] = report.metadata.proven.value;
  }
  out["page_bytes"] = report.metadata.page_bytes;
  out["segment_bytes"] = report.metadata.segment_bytes;
  out["begin"] = report.checked_from.value;
  out["durable"] = report.durable.value;
  out["last_batch_end"] = report.last_batch_end.value;
  out["checked_to"] = report.checked_to.value;
  out["segments"] = report.segments;
  out["records"] = report.records;
  out["batches"] = report.batches;
  out["sound_bytes"] = report.sound_bytes;
  out["bad_bytes"] = report.bad_bytes;
  out["records_outside_batches"] = report.records_outside;
  out["batches_behind_damage"] = report.batches_behind_damage;
  out["epochs"] = nlohmann::ordered_json::array();
  for (const auto& epoch : report.epochs)
    out["epochs"].push_back({{"epoch", epoch.epoch.value}, {"start", epoch.start.value}});
  out["findings"] = nlohmann::ordered_json::array();
  for (const fasterlog::Finding& finding : report.findings) {
    nlohmann::ordered_json each = {{"where", fasterlog::name_of(finding.place)},
                                   {"file", printable(finding.file)},
                                   {"reason", printable(finding.reason)}};
    if (finding.place != fasterlog::Place::kFile) {
      each["first"] = finding.first.value;
      each["end"] = finding.end.value;
      each["offset"] = finding.offset;
      each["only_zeros_belong_there"] = finding.holds_nothing;
    }
    out["findings"].push_back(std::move(each));
  }
  out["notes"] = nlohmann::ordered_json::array();
  for (const std::string& note : report.notes)
    out["notes"].push_back(printable(note));
  return out;
}

nlohmann::ordered_json to_json(const fasterlog::RepairPlan& plan) {
  nlohmann::ordered_json out;
  out["steps"] = nlohmann::ordered_json::array();
  for (const std::string& step : plan.steps)
    out["steps"].push_back(printable(step));
  out["cut"] = plan.cut ? nlohmann::ordered_json(plan.cut->value) : nlohmann::ordered_json();
  out["kept_records"] = plan.kept_records;
  out["lost_records"] = plan.lost_records;
  out["changed"] = plan.changed;
  out["removed"] = nlohmann::ordered_json::array();
  for (const std::string& name : plan.removed)
    out["removed"].push_back(printable(name));
  out["check"] = to_json(plan.report);
  return out;
}

std::string name_of(fasterlog::RecordKind kind) {
  if (kind == fasterlog::RecordKind::kEpochStart) return "epoch_start";
  if (kind == fasterlog::RecordKind::kConfiguration) return "configuration";
  if (kind == fasterlog::RecordKind::kData) return "data";
  return std::to_string(static_cast<int>(kind));
}

std::string one_line(std::string_view payload) {
  const bool plain =
      is_utf8(payload) && std::none_of(payload.begin(), payload.end(), [](char each) {
        return static_cast<unsigned char>(each) < 0x20 || each == 0x7f;
      });
  return plain ? std::string(payload) : "base64:" + base64(payload);
}

std::string to_text(const fasterlog::Finding& finding) {
  if (finding.place == fasterlog::Place::kFile)
    return fmt::format("{}: {}", finding.file, finding.reason);
  return fmt::format("{} to {} ({}), {} at byte {}: {}", finding.first.value, finding.end.value,
                     in_words(finding.place), finding.file, finding.offset, finding.reason);
}

}  // namespace tailrace::app
