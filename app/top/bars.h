#pragma once
// Bars of characters.

#include "app/top/lines.h"
#include "app/top/view.h"

namespace tailrace::app::top {

// What a character of a log's bar says of the part of the log that it stands for: how far all of it
// has come. So the smallest difference shows in the last character before it.
inline constexpr char kCheckpointedMark = '#', kAppliedMark = '=', kCommittedMark = '-',
                      kDurableMark = '.', kTailMark = '~';

/// Adds the node's log on an axis from `begin` to `tail`, as `width` characters. Blanks: there is
/// no log.
void add_log_bar(Line& to, const NodeRow& node, Address begin, Address tail, size_t width);

/// Adds a bar of `width` characters: '#' up to the share `full` of it, and '-' from there up to the
/// share `also`.
void add_share_bar(Line& to, double full, double also, size_t width);

}  // namespace tailrace::app::top
