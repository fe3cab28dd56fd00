// A full store: commands are refused before they are in the log, because what is committed must be
// applied.

#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include "core/random.h"
#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::statemachine {
namespace {

class StoreFull : public ::testing::Test {
 protected:
  void open(const StateMachineOptions& options = quiet()) {
    auto log = fasterlog::Log::open(gate_, small_log("/log"));
    ASSERT_TRUE(log) << log.error().message;
    log_ = std::move(*log);
    ASSERT_TRUE(log_->become_writer(Epoch{1}));
    auto replica = Replica::open(gate_, *log_, small_store("/kv"), options);
    ASSERT_TRUE(replica) << replica.error().message;
    replica_ = std::move(*replica);
    listener_ = log_->add_durable_listener([this](Address durable, const Error*) {
      if (commit_) replica_->commit(durable);
    });
    replica_->machine().start();
  }
  void TearDown() override {
    gate_.let_go();
    listener_.reset();
  }
  StateMachine& machine() { return replica_->machine(); }

  Result<> admit(const OwnedCommand& command) {
    std::vector<std::byte> bytes;
    encode(command.view(), bytes);
    return machine().admit(cost_of(command.view(), bytes.size(), 64u << 10), 0);
  }
  /// As the leader does: asks first.
  Result<> offer(const OwnedCommand& command) {
    std::vector<std::byte> bytes;
    encode(command.view(), bytes);
    TAILRACE_RETURN_IF_ERROR(admit(command));
    const auto range = log_->enqueue(kCommandRecord, bytes, soon());
    if (!range) return tl::unexpected(range.error());
    return {};
  }
  /// Offers what `next` makes until it is refused although all before is applied; returns how many
  /// were taken.
  int offer_until_refused(const std::function<OwnedCommand(int)>& next) {
    int last_refused = -1;
    for (int i = 0; i < 200'000;) {
      const auto taken = offer(next(i));
      if (taken) {
        ++i;
        continue;
      }
      EXPECT_TRUE(taken.error().code == ErrorCode::kResourceExhausted ||
                  taken.error().code == ErrorCode::kWouldBlock)
          << taken.error().message;
      if (HasFailure() || last_refused == i) return i;
      last_refused = i;
      settle();
    }
    ADD_FAILURE() << "never refused";
    return 0;
  }
  void settle() {
    ASSERT_TRUE(log_->wait_durable(log_->tail(), soon()));
    const auto applied = replica_->apply_to(log_->durable());
    ASSERT_TRUE(applied) << applied.error().message;
    ASSERT_FALSE(machine().failure()) << machine().failure()->message;
  }

  testing::FaultFileSystem disk_{1};
  testing::GateFileSystem gate_{disk_};
  std::unique_ptr<fasterlog::Log> log_;
  fasterlog::Log::ListenerHandle listener_;
  std::unique_ptr<Replica> replica_;
  std::atomic<bool> commit_{true};
};

class StoreFullOfValues : public StoreFull, public ::testing::WithParamInterface<size_t> {};

TEST_P(StoreFullOfValues, TheLeaderRefusesBeforeTheApplierFails) {
  open();
  const std::string value(GetParam(), 'v');
  const auto put_number = [&](int i) { return put("k" + std::to_string(i), value); };
  const int taken = offer_until_refused(put_number);
  settle();
  EXPECT_GT(static_cast<size_t>(taken) * (GetParam() + 40), 1'000'000u) << "refused far too early";
  EXPECT_FALSE(offer(put_number(taken)));
  EXPECT_EQ(replica_->pairs().size(), static_cast<size_t>(taken));
  // The reserve is for what frees room.
  for (int i = 0; i < taken; i += 2) {
    const auto erased = offer(erase("k" + std::to_string(i)));
    ASSERT_TRUE(erased) << erased.error().message;
    if (i % 1000 == 0) settle();
  }
  settle();
  EXPECT_TRUE(admit(put_number(0)));
  EXPECT_TRUE(offer(put_number(0)));
  settle();
}

// The last one nearly fills a page of the log.
INSTANTIATE_TEST_SUITE_P(Bytes, StoreFullOfValues, ::testing::Values(10, 4000, 60'000));

TEST_F(StoreFull, SessionsCountToo) {
  open();
  offer_until_refused([](int i) { return in_session(1000 + i, 1, put("k", "v")); });
  settle();
  EXPECT_GT(machine().session_count(), 5000u);
}

// Values that grow leave garbage, and more of it while a checkpoint is written. Where only the
// checkpoints that are kept hold the disk space back, new ones are taken.
TEST_F(StoreFull, UpdatesGoOnForeverWhileCheckpointsAreTaken) {
  StateMachineOptions options = quiet();
  options.checkpoint_interval = std::chrono::hours(1);
  open(options);
  Random random(1);
  Model model;
  std::future<Result<Address>> checkpoint;
  for (int i = 0, refused = 0; i < (kSanitized ? 4000 : 15'000); ++i) {
    if (i % 500 == 0) {
      if (checkpoint.valid()) {
        const auto taken = wait(std::move(checkpoint));
        ASSERT_TRUE(taken) << taken.error().message;
      }
      checkpoint = request_checkpoint(machine());
    }
    const std::string key = "k" + std::to_string(random.below(200));
    const OwnedCommand command = put(key, std::string(random.below(4000), 'v'));
    while (!offer(command)) {
      ASSERT_LT(++refused, 20'000) << "room is never made";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_FALSE(machine().failure()) << machine().failure()->message;
    }
    model.apply(command);
  }
  ASSERT_TRUE(wait(std::move(checkpoint)));
  settle();
  EXPECT_EQ(replica_->pairs(), model.pairs());
}

// A small command can make a session's whole entry be written anew, and while a checkpoint is
// written nothing is moved. That must neither fail nor wait for a disk: the commands are committed.
TEST_F(StoreFull, WhatWasAdmittedIsAppliedWhileACheckpointHangs) {
  open();
  uint64_t serial = 0;
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const auto taken = offer(in_session(7, ++serial, add("n", 1)));
      ASSERT_TRUE(taken) << taken.error().message;
    }
  };
  send(1000);
  settle();
  gate_.hold("/index");
  auto checkpoint = request_checkpoint(machine());
  ASSERT_TRUE(gate_.wait_held());
  commit_ = false;
  send(1000);
  ASSERT_TRUE(log_->wait_durable(log_->tail(), soon()));
  commit_ = true;
  replica_->commit(log_->durable());
  // Far more than the store has room for is written now: the garbage is taken back although a
  // checkpoint is being written.
  settle();
  gate_.let_go();
  const auto taken = wait(std::move(checkpoint));
  EXPECT_TRUE(taken || taken.error().code == ErrorCode::kResourceExhausted)
      << taken.error().message;
  const auto next = wait(request_checkpoint(machine()));
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_EQ(replica_->pairs(), (Pairs{{"n", "2000"}}));
}

TEST_F(StoreFull, AStoreWhosePagesCannotHoldASessionIsRefusedAtTheStart) {
  auto log = fasterlog::Log::open(disk_, small_log("/log"));
  ASSERT_TRUE(log);
  kv::StoreOptions store = small_store("/kv");
  store.page_bytes = 64u << 10;
  const auto replica = Replica::open(disk_, **log, store, quiet());
  ASSERT_FALSE(replica);
  EXPECT_EQ(replica.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(replica.error().message.find("page_bytes"), std::string::npos);
}

}  // namespace
}  // namespace tailrace::statemachine
