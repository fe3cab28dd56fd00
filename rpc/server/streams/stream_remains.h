#pragma once
// Where events of a stream still are on this node, readable or not: for whoever must erase them.
// Internal.

#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "history/history.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

struct StreamRemains {
  std::string what;    // "event file PATH: 3 events"
  AddressRange range;  // of the log, where the bytes are of it
};

/// Event files that nobody reads, as history is not kept any more.
using LeftFiles = std::function<Result<std::vector<storage::Path>>()>;

/// In event files, and what was put aside of them; in the log; in the files of segments that were
/// truncated or hold bytes of such. What only may have events is told, too. `history` may be null,
/// and then `left_files` may be given. Reads the index of each event file. kCancelled once `wanted`
/// says no.
Result<std::vector<StreamRemains>> find_remains(
    const statemachine::StateMachine& machine, const fasterlog::Log& log, history::History* history,
    const LeftFiles& left_files, const std::string& stream, const std::function<bool()>& wanted);

}  // namespace tailrace::rpc
