#pragma once
// Who may lead, and in which epoch.
//
// A coordinator proposes; it proves nothing. A grant is the permission to ask a majority of voters
// for their promise (core.h), and only those promises make a leader: a lease that lies, or two
// nodes that are told the same, cost time and never data.

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
/// stop(). One start and one stop. Before there is contact nothing is told at all.
class Coordinator {
 public:
  using Listener = std::function<void(Grant)>;

  virtual ~Coordinator() = default;
  /// Every grant to this node has an epoch above `known`, the highest that it has promised or holds
  /// in its log, and above every epoch granted before, also to an earlier process of this node.
  /// A leader of this node whose grant was lost (a lease ran out) is granted a new epoch when
  /// nobody else has taken the lead.
  ///
  /// The listener is told each change once. Silence is no change: a coordinator that cannot be
  /// reached takes nothing back. What is told may have been overtaken by raise(), resign() or
  /// set_candidacy() on the way, so a grant at or below what this node knows is to be ignored.
  virtual void start(Epoch known, Listener listener) = 0;
  /// Takes at most about a second; others may lead afterwards.
  virtual void stop() = 0;
  /// This node has heard of a higher epoch: its next grant is above it. What it holds below is
  /// exchanged for a new epoch, unless it is kNever or another node is quicker; no resign() is
  /// needed, which would have it stand back. (Static: only promote() grants a new one.)
  virtual void raise(Epoch known) = 0;
  /// At first kNever. A leader that becomes kNever keeps what it holds until it resigns or loses
  /// it.
  virtual void set_candidacy(Candidacy candidacy) = 0;
  /// Gives up the leadership granted in `epoch`; nothing when it is no longer held. Whoever else
  /// wants to lead lets `successor` (0: none in particular) go first, for a while; and so does this
  /// node, which leads again if nobody comes. It is told of its end like of any other change, and
  /// tried again until the coordinator has heard of it.
  virtual void resign(Epoch epoch, NodeId successor) = 0;
  /// An operator's order that this node is to lead. kUnsupported where the coordinator decides
  /// alone; its message says what to do instead.
  virtual Result<> promote() = 0;

  /// Any thread.
  virtual CoordinatorStatus status() const = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::replication
