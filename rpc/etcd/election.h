#pragma once
// One node's part in the election of a leader by a key in etcd.
//
// A view says whose the key is, a lease keeps ours, and evaluate() draws the consequences after
// each change of either. Whatever is done goes through transactions that compare what was seen, so
// that an outdated view and an answer that never came cost a round, and no more.

#include <functional>
#include <optional>
#include <string>

#include "core/random.h"
#include "observability/metrics.h"
#include "replication/coordinator.h"
#include "rpc/etcd/client.h"
#include "rpc/etcd/coordinator.h"
#include "rpc/etcd/lease.h"
#include "rpc/etcd/timer.h"
#include "rpc/etcd/view.h"

namespace tailrace::rpc {

/// On the io thread, but for what says otherwise.
class EtcdElection {
 public:
  struct Events {
    std::function<void(replication::Grant)> told;
    /// What keeps this node from leading, or from seeing who leads; empty: nothing does.
    std::function<void(const std::string&)> problem;
  };

  EtcdElection(asio::io_context& io, EtcdClient& client, const EtcdCoordinatorOptions& options,
               Events events);

  void start(Epoch known);
  void raise(Epoch known);
  void set_candidacy(replication::Candidacy candidacy);
  void resign(Epoch epoch, NodeId successor);
  /// Gives the lease back, and with it the lead; `done` when etcd has answered.
  void stop(std::function<void()> done);

  double lease_remaining_s() const { return lease_.remaining_s(); }  // any thread
  const observability::Counter& grants() const { return grants_; }

 private:
  using Milliseconds = std::chrono::milliseconds;

  // What is true, and whom that concerns.
  void evaluate();
  bool is_ours(const LeaderKey& key) const;
  void tell(replication::Grant grant);
  void set_problem(const std::string& problem);
  void register_member();

  // Becoming the leader.
  void consider();
  void campaign();
  void remove_stale_key(const LeaderKey& key);
  void raise_floor(int64_t revision);
  void win();
  void campaign_failed(const Error& error);

  // Ceasing to be.
  void give_up(int64_t epoch);
  void hand_over();
  void remove_leader_key(int64_t epoch, int64_t handover_lease);
  void after_removal(Result<EtcdTransactionResult> result);

  void accept_removal(const EtcdTransactionResult& result);
  void retry_later();
  EtcdOperation range_of_both() const;
  std::string value_of_leader() const;

  const EtcdCoordinatorOptions options_;
  const EtcdKeys keys_;
  const Events events_;
  EtcdClient& client_;
  EtcdLease lease_;
  EtcdView view_;
  EtcdTimer campaign_timer_, retry_timer_;
  Random random_;
  const uint64_t process_;  // distinguishes the processes of one node in the keys' values
  observability::Counter grants_;

  struct Resignation {
    int64_t epoch;
    NodeId successor;
  };
  bool running_ = false;
  int64_t known_ = 0;  // the next grant is above this
  int64_t held_ = 0;   // the epoch of our grant; 0: none
  replication::Candidacy candidacy_ = replication::Candidacy::kNever;
  std::optional<replication::Grant> told_;
  std::optional<Resignation> resigning_;
  std::optional<SteadyTime> free_since_;  // nobody else holds the key
  SteadyTime held_back_until_, retry_at_;
  SteadyTime campaign_at_;  // what the timer was armed for, without the random delay
  bool campaigning_ = false, removing_ = false;
  std::function<void()>
      finish_;  // of a stop, once the removal that is on its way has come to its end
  bool registered_ = false, registering_ = false;
  std::string problem_;
};

}  // namespace tailrace::rpc
