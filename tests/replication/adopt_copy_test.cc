// A copy of the leader's state that ends below the log of the node that takes it.

#include <chrono>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "driver_cluster.h"
#include "statemachine/state_copy.h"
#include "storage/crc32c.h"
#include "tests/statemachine/harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

/// Plays a leader of a later epoch in an idle cluster: its log and the other's parted before its
/// own begins, and it has one checkpoint.
class IdleLeader final : public TransportHandler {
 public:
  IdleLeader(LinkedTransport& transport, statemachine::StateCopySource& source)
      : transport_(transport), source_(source) {}

  Introduction introduction() const override { return {}; }
  Acquaintance acquaintance(NodeId, const Introduction&) const override {
    return Acquaintance::kDisk;
  }
  bool may_send_batches(NodeId) const override { return true; }
  void on_connected(NodeId peer, const Introduction&) override {
    transport_.send(peer, Leading{kEpoch, Address{}});
  }
  void on_disconnected(NodeId, const std::string&) override {}
  void on_message(NodeId peer, Message message) override {
    if (std::holds_alternative<Subscribe>(message)) {
      ++refused;
      transport_.send(peer,
                      Refuse{RefusalReason::kNeedsCheckpoint, kEpoch, transport_.self, "parted"});
    } else if (const auto* ask = std::get_if<AskCheckpoint>(&message)) {
      const bool enough = source_.plan().applied >= ask->at_least;
      transport_.send(peer, enough ? OfferCheckpoint{source_.plan(), ""}
                                   : OfferCheckpoint{{}, "a checkpoint is being taken"});
    } else if (const auto* read = std::get_if<ReadCheckpoint>(&message)) {
      auto bytes = std::make_shared<std::vector<std::byte>>(read->bytes);
      ASSERT_TRUE(source_.read(read->offset, *bytes));
      const uint32_t checksum = crc32c(*bytes);
      transport_.send(
          peer, CheckpointPart{read->fingerprint, read->offset, checksum, std::move(bytes), ""});
    }
  }

  int refused = 0;

 private:
  static constexpr Epoch kEpoch{9};
  LinkedTransport& transport_;
  statemachine::StateCopySource& source_;
};

class AdoptCopyTest : public ::testing::Test {
 protected:
  AdoptCopyTest() {
    const storage::Path root = sides[1]->directory.path();
    sides[1]->log_options = statemachine::small_log(root / "log");
    sides[1]->store_options = statemachine::small_store(root / "kv");
    sides[1]->make();
    sides[1]->node->set_restart_listener([this] { restarted = true; });
    auto opened = statemachine::Node::open(disk, {});
    EXPECT_TRUE(opened);
    source_node = std::move(*opened);
    for (int i = 0; i < 20; ++i)
      (void)source_node->answer(statemachine::put("k" + std::to_string(i), "v"));
    EXPECT_TRUE(source_node->checkpoint() && source_node->settle());
    auto copy = source_node->machine().open_copy("test/1", 0);
    EXPECT_TRUE(copy) << copy.error().message;
    source = std::move(*copy);
  }
  ~AdoptCopyTest() override {
    sides[0]->transport.set_handler(nullptr);
    for (const auto& side : sides)
      side->node->stop();
    executor.posted.clear();
  }
  Address copy_end() const { return source->plan().log.end; }
  void settle() {
    for (int i = 0; i < 12; ++i) {
      executor.run();
      for (const auto& side : sides)
        side->log->flush();
    }
  }
  void pass(milliseconds time) {
    clock.passed += time;
    for (const auto& side : sides)
      side->node->tick();
    executor.run();
  }
  /// Node 1 leads, and node 2 has on its disk, and has acknowledged, more than the copy will hold.
  void write_beyond_the_copy(bool committed) {
    for (const auto& side : sides)
      ASSERT_TRUE(side->node->start());
    settle();
    for (int i = 0; i < 6; ++i) {
      pass(milliseconds(250));
      settle();
    }
    while (sides[0]->log->tail() <= copy_end())
      ASSERT_TRUE(sides[0]->enqueue(std::string(900, 'x')));
    sides[0]->log->begin_flush();
    executor.run();
    sides[1]->log->flush();
    executor.run();
    if (committed) settle();
    ASSERT_GT(sides[1]->log->durable(), copy_end());
    ASSERT_EQ(sides[1]->watermarks->committed() > copy_end(), committed);
    sides[0]->node->stop();
    executor.run();
  }
  /// Until node 2 is to start anew, or for a while.
  void follow(IdleLeader& leader, milliseconds most) {
    sides[0]->transport.set_handler(&leader);
    const auto until = std::chrono::steady_clock::now() + most;
    while (!restarted && std::chrono::steady_clock::now() < until) {
      pass(milliseconds(50));
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  testing::FaultFileSystem disk{1};
  std::unique_ptr<statemachine::Node> source_node;
  std::unique_ptr<statemachine::StateCopySource> source;
  HandExecutor executor;
  HandClock clock;
  Network network{executor};
  std::vector<std::unique_ptr<Side>> sides = [this] {
    std::vector<std::unique_ptr<Side>> two;
    for (uint32_t i = 1; i <= 2; ++i)
      two.push_back(std::make_unique<Side>(i, executor, network, clock, 2));
    return two;
  }();
  bool restarted = false;
};

// Its own tail was never committed and is in no other log: in a cluster where nothing is written
// the leader's end never passes it, and to wait for that would be for ever.
TEST_F(AdoptCopyTest, ACopyThatEndsBelowANodesOwnPartedTailIsTaken) {
  write_beyond_the_copy(false);
  IdleLeader leader(sides[0]->transport, *source);
  follow(leader, std::chrono::seconds(20));
  EXPECT_GT(leader.refused, 0);
  ASSERT_TRUE(restarted) << sides[1]->status()->copy.problem;
  const storage::Path root = sides[1]->directory.path();
  const auto installed = statemachine::install_state_copy(
      storage::posix_file_system(), {root, sides[1]->log_options, sides[1]->store_options});
  ASSERT_TRUE(installed && *installed);
  auto log = fasterlog::Log::open(storage::posix_file_system(), sides[1]->log_options);
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ((*log)->durable(), copy_end());
}

// What it knows to be committed it never gives up.
TEST_F(AdoptCopyTest, ACopyThatEndsBelowWhatIsCommittedIsNotTaken) {
  write_beyond_the_copy(true);
  IdleLeader leader(sides[0]->transport, *source);
  follow(leader, milliseconds(300));
  EXPECT_GT(leader.refused, 0);
  EXPECT_FALSE(restarted);
}

}  // namespace
}  // namespace tailrace::replication
