#pragma once
// What a check of a log's files found, and what a repair does, as JSON and as text.

#include <nlohmann/json_fwd.hpp>

#include "fasterlog/repair.h"

namespace tailrace::app {

nlohmann::ordered_json to_json(const fasterlog::CheckReport& report);
nlohmann::ordered_json to_json(const fasterlog::RepairPlan& plan);

/// One line: the addresses, where they lie, the file and the reason.
std::string to_text(const fasterlog::Finding& finding);

}  // namespace tailrace::app
