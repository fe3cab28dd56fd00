#pragma once
// What a check of a log's files found, and what a repair does, as JSON and as text.

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "fasterlog/offline/repair.h"

namespace tailrace::app {

nlohmann::ordered_json to_json(const fasterlog::CheckReport& report);
nlohmann::ordered_json to_json(const fasterlog::RepairPlan& plan);

/// "epoch_start", "data", or the number of an embedder's own kind.
std::string name_of(fasterlog::RecordKind kind);

/// Bytes that keep their line: as they are, or in base64.
std::string one_line(std::string_view payload);

/// One line: the addresses, where they lie, the file and the reason.
std::string to_text(const fasterlog::Finding& finding);

}  // namespace tailrace::app
