#pragma once
// Copies of the files that a repair will change, beside the log.

#include <string>
#include <vector>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

/// Makes `directory`.repair-N, N the first number that is free, and copies these files of
/// `directory` into it, with `report` as report.json. All of it is durable when it returns the new
/// directory. Blocks that the disk cannot read are zeros in the copy.
Result<storage::Path> copy_for_repair(storage::FileSystem& file_system,
                                      const storage::Path& directory,
                                      const std::vector<std::string>& names,
                                      const std::string& report);

}  // namespace tailrace::fasterlog
