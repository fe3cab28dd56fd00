#include "rpc/peer/hello.h"

#include <fmt/format.h>

#include "core/host_port.h"

namespace tailrace::rpc {

Result<> check_peer(const PeerIdentity& theirs, const PeerIdentity& ours) {
  TAILRACE_RETURN_IF_ERROR(check_protocol_version(theirs.protocol_version));
  if (theirs.cluster.empty() && theirs.node == NodeId{})
    return make_error(ErrorCode::kFailedPrecondition,
                      "this port is for the other nodes of the cluster; clients use the address of "
                      "server.listen");
  if (theirs.cluster != ours.cluster)
    return make_error(
        ErrorCode::kFailedPrecondition,
        fmt::format("node {} says that it belongs to cluster '{}', which is not this node's",
                    theirs.node.value, printable(theirs.cluster)));
  if (!replication::may_be_of_one_cluster(theirs.introduction.identity, ours.introduction.identity))
    return make_error(
        ErrorCode::kFailedPrecondition,
        fmt::format("node {} belongs to another cluster that is named '{}' as well: it has the "
                    "identity {}. Give one of the two another name, and correct the addresses",
                    theirs.node.value, ours.cluster, text_of(theirs.introduction.identity)));
  if (theirs.node == ours.node)
    return make_error(ErrorCode::kFailedPrecondition,
                      fmt::format("two nodes of cluster '{}' call themselves node {}", ours.cluster,
                                  ours.node.value));
  return {};
}

}  // namespace tailrace::rpc
