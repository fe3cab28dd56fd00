#pragma once

#include <nlohmann/json_fwd.hpp>

#include "app/top/view.h"

namespace tailrace::app::top {

/// One object; null is what is not known. Sizes are in bytes, times in seconds, rates in each
/// second.
nlohmann::ordered_json to_json(const View& view);

}  // namespace tailrace::app::top
