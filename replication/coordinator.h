#pragma once
// Who may lead, and in which epoch.
//
// A coordinator proposes; it proves nothing. A grant is the permission to ask a majority of voters
// for their promise (core.h), and only those promises make a leader: a lease that lies, or two nodes
// that are told the same, cost time and never data.

#include <functional>
#include <string>

#include "core/address.h"
#include "core/result.h"
#include "observability/metrics.h"

namespace tailrace::replication {

/// What the coordinator says now.
struct Grant {
  NodeId leader;  // 0: nobody, as far as it knows
  Epoch epoch;    // of that leadership; always set when `leader` is this node
  bool operator==(const Grant&) const = default;
};

/// How eager this node is to lead.
enum class Candidacy : uint8_t {
  kNever,  // a learner, a node without its disk, one that is stopping
  kLater,  // it hears from a leader: only when nobody has taken the lead for a while
  kNow,    // at the first chance
};

struct CoordinatorStatus {
  bool reachable = true;  // it answered the last time it was asked
  std::string problem;    // why not, empty if well
  double seconds_since_contact = 0;
};

/// All but status() on the executor, and so is the listener called: during start() or later, until
/// stop().
class Coordinator {
 public:
  using Listener = std::function<void(Grant)>;

  virtual ~Coordinator() = default;
  /// Every grant to this node has an epoch above `known`, the highest that it has promised or holds
  /// in its log, and above every epoch granted before, also to an earlier process of this node.
  /// A leader of this node whose grant was lost (a lease ran out) is granted a new epoch when
  /// nobody else has taken the lead.
  virtual void start(Epoch known, Listener listener) = 0;
  virtual void stop() = 0;
  /// This node has heard of a higher epoch: its next grant is above it.
  virtual void raise(Epoch known) = 0;
  /// At first kNever.
  virtual void set_candidacy(Candidacy candidacy) = 0;
  /// Gives up the leadership granted in `epoch`; nothing when it is no longer held. Whoever else
  /// wants to lead lets `successor` (0: none in particular) go first.
  virtual void resign(Epoch epoch, NodeId successor) = 0;
  /// An operator's order that this node is to lead. kUnsupported where the coordinator decides
  /// alone; its message says what to do instead.
  virtual Result<> promote() = 0;

  /// Any thread.
  virtual CoordinatorStatus status() const = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::replication
