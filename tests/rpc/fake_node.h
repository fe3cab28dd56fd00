#pragma once
// A node in memory, so that the service is tested alone: a log, a state machine that applies it, a
// replication that the test sets, and a server in front of them.

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/cluster_version.h"
#include "core/mutex.h"
#include "replication/node.h"
#include "replication/protocol/membership.h"
#include "rpc/server/server.h"
#include "tests/rpc/fake_log.h"
#include "tests/rpc/fake_state_machine.h"

namespace tailrace::rpc::testing {

class FakeReplication : public replication::Node {
 public:
  FakeReplication() {
    replication::NodeStatus status;
    status.self = NodeId{1};
    status.role = replication::Role::kLeader;
    status.epoch = Epoch{1};
    status.leader = NodeId{1};
    status.serving = true;
    status.alone = true;
    // An append is records of its own; tests of transactions set a newer one.
    status.cluster_version = tailrace::since(Feature::kTxn) - 1;
    set(status);
  }
  Result<> start() override { return {}; }
  void stop() override {}
  void tick() override {}
  std::shared_ptr<const replication::NodeStatus> status() const override {
    const MutexLock lock(mutex_);
    return status_;
  }
  void set(replication::NodeStatus status) {
    const MutexLock lock(mutex_);
    status_ = std::make_shared<const replication::NodeStatus>(std::move(status));
  }
  void set_role_listener(std::function<void(const replication::NodeStatus&)>) override {}
  void set_restart_listener(std::function<void()>) override {}
  void set_fatal_listener(std::function<void(const Error&)>) override {}
  void confirm_leadership(SteadyTime, Confirmed done) override {
    done(make_error(ErrorCode::kNotLeader, "the test's node asks nobody"));
  }
  void transfer(NodeId, Done done) override { done({}); }
  void promote(Done done) override { done({}); }
  void change_members(replication::MemberChange change, Done done) override {
    changes.push_back(std::move(change));
    done({});
  }
  std::vector<replication::MemberChange> changes;
  void register_metrics(observability::MetricRegistry&) override {}

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const replication::NodeStatus> status_ TAILRACE_GUARDED_BY(mutex_);
};

/// All of it, and a server on a free port.
struct FakeNode {
  explicit FakeNode(ServerOptions options = {}) : marks(log), machine(log, marks) {
    log.listener_ = [this] { machine.notify(); };
    machine.start();
    serve(std::move(options));
  }
  ~FakeNode() { stop_serving(); }

  void serve(ServerOptions options) {
    options.listen = "127.0.0.1:" + std::to_string(port);
    auto created = Server::create(options, {&log, &machine, &marks, &anchors, &node});
    if (!created) throw std::runtime_error(created.error().message);
    server = std::move(*created);
    port = server->port();
    machine.set_applied_listener([this, to = server.get()](auto batch) { to->on_applied(batch); });
    server->start();
  }
  void stop_serving() {
    if (!server) return;
    machine.stop();
    server->drain_and_stop(std::chrono::milliseconds(0));
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }

  FakeLog log;
  statemachine::Watermarks marks;
  statemachine::AnchorRegistry anchors;
  FakeReplication node;
  FakeStateMachine machine;
  int port = 0;
  std::unique_ptr<Server> server;
};

}  // namespace tailrace::rpc::testing
