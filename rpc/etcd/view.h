#pragma once
// What the two keys of an election say, followed as they change.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/address.h"
#include "rpc/etcd/client.h"
#include "rpc/etcd/timer.h"

namespace tailrace::rpc {

/// The keys of one cluster. `handover` and `leader` are neighbours, so that one range has both as
/// of one revision and one watch follows both.
struct EtcdKeys {
  EtcdKeys(const std::string& prefix, const std::string& cluster);
  std::string handover, leader;
  std::string range_end;  // of the range from `handover` on that holds these two
  std::string epoch_floor, members;
};

struct LeaderKey {
  int64_t create_revision = 0;  // the epoch
  int64_t lease = 0;
  NodeId node;  // 0: the value is none of ours
};

struct HandoverKey {
  int64_t mod_revision = 0;
  NodeId to;
};

struct LeaderView {
  int64_t revision = 0;  // everything up to here is known
  std::optional<LeaderKey> leader;
  std::optional<HandoverKey> handover;
};

/// The node that a key's JSON value names in that field; 0 when it names none.
NodeId node_in_value(const std::string& value, const char* field);

/// On the io thread. A watch tells at once; a range from time to time is for what a watch can miss
/// without noticing, and the only way in which a watch is begun again.
class EtcdView {
 public:
  /// `changed` comes after every news, also after a range that brought none.
  EtcdView(asio::io_context& io, EtcdClient& client, const EtcdKeys& keys,
           std::chrono::milliseconds poll_interval, std::function<void()> changed);

  void start() { refresh(); }
  void stop();
  /// Asks anew, soon.
  void refresh();
  /// What a transaction of this node has done or seen; ignored when something newer is known.
  void accept(LeaderView view);
  void accept(const EtcdRange& range);

  /// Nothing before the first contact.
  const std::optional<LeaderView>& current() const { return current_; }

 private:
  void refreshed(Result<EtcdRange> range, int64_t known_before);
  void watch();
  void take(EtcdWatchPart part);
  void apply(const EtcdKeyValue& pair, bool deleted, LeaderView& to) const;
  LeaderView view_of(const EtcdRange& range) const;

  EtcdClient& client_;
  const EtcdKeys& keys_;
  const std::chrono::milliseconds poll_interval_;
  const std::function<void()> changed_;
  EtcdTimer timer_;
  std::optional<LeaderView> current_;
  std::shared_ptr<EtcdClient::Watch> watch_;
  size_t watch_endpoint_ = 0;
  bool stopped_ = false, asking_ = false, ask_again_ = false;
};

}  // namespace tailrace::rpc
