#pragma once
// `replication.members` of a node's file, and whether all its addresses can be listened on at once.
// Private to config/.

#include <string>

#include "config/yaml_reader.h"
#include "replication/node.h"

namespace tailrace::config {

/// The sequence under `members` of `reader`. Each address belongs to one member, and to one of its
/// two ports.
void read_members(YamlReader& reader, replication::NodeOptions& node);
/// A node listens three times, and not twice on one port of one address. `peers` may be empty: the
/// node's own `peer` then.
void check_listeners(YamlReader& top, const replication::NodeOptions& node, std::string peers,
                     const std::string& clients, const std::string& metrics);

}  // namespace tailrace::config
