// The rules of a checkpoint, one session at a time.

#include <chrono>

#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

class CheckpointTest : public ::testing::Test {
 protected:
  void reopen() {
    session.reset();
    store.reset();
    store = open_or_die(disk, options);
    session = std::move(*store->start_session(7));
  }
  void put(const std::string& key, const std::string& value, Serial serial) {
    const auto written = session->upsert(as_bytes(key), as_bytes(value), serial);
    ASSERT_TRUE(written.has_value()) << written.error().message;
  }
  std::string get(const std::string& key) {
    std::string value;
    return store->read(as_bytes(key), value) ? value : "(absent)";
  }

  testing::FaultFileSystem disk{1};
  StoreOptions options = [] {
    StoreOptions small = small_options("/kv");
    small.memory_bytes = 1u << 20;
    small.page_bytes = 1u << 16;
    return small;
  }();
  std::unique_ptr<Store> store = open_or_die(disk, options);
  std::unique_ptr<Session> session = std::move(*store->start_session(7));
};

class EveryKind : public CheckpointTest, public ::testing::WithParamInterface<CheckpointKind> {};

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind,
                         ::testing::Values(CheckpointKind::kFoldOver, CheckpointKind::kSnapshot,
                                           CheckpointKind::kIncremental),
                         [](const auto& kind) {
                           return kind.param == CheckpointKind::kFoldOver   ? "FoldOver"
                                  : kind.param == CheckpointKind::kSnapshot ? "Snapshot"
                                                                            : "Incremental";
                         });

// Promise: an idle session that has said it is between two serials holds no checkpoint up.
TEST_F(CheckpointTest, AnIdleSessionIsTakenAlong) {
  put("a", "1", 10);
  session->refresh(25);
  const auto info = checkpoint(*store);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(point_of(*info, 7), 25u);
  EXPECT_EQ(session->last_serial(), 25u);
}

// Promise: a session of single writes holds up nothing when it goes idle without a word, nor when
// its thread has ended; what it wrote is in, and a serial is not used twice.
TEST_F(CheckpointTest, AnIdleSessionOfSingleWritesNeedsNoRefresh) {
  auto started = store->start_session(8, {.one_write_a_serial = true});
  ASSERT_TRUE(started.has_value());
  std::thread([&] {
    ASSERT_TRUE((*started)->upsert(as_bytes("a"), as_bytes("0"), 4).has_value());
    // In place, as most often.
    ASSERT_TRUE((*started)->upsert(as_bytes("a"), as_bytes("1"), 5).has_value());
    EXPECT_FALSE((*started)->upsert(as_bytes("a"), as_bytes("2"), 5).has_value());
  }).join();
  session->refresh(1);
  auto taken = begin_checkpoint(*store);
  ASSERT_EQ(taken.wait_for(20s), std::future_status::ready) << "it waits for an idle session";
  const auto info = taken.get();
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(point_of(*info, 8), 5u);
  ASSERT_TRUE((*started)->upsert(as_bytes("a"), as_bytes("3"), 6).has_value());
  started->reset();
  reopen();
  EXPECT_EQ(get("a"), "1");
}

// Promise: equal serials are on one side of the point. The checkpoint waits for the serial's end;
// what follows is not in it.
TEST_F(CheckpointTest, WritesOfOneSerialStayTogether) {
  put("a", "old", 1);
  put("a", "1", 2);
  auto info = begin_checkpoint(*store);
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(info.wait_for(50ms), std::future_status::timeout) << "serial 2 may have more writes";
  put("b", "1", 2);
  put("a", "3", 3);
  const auto done = info.get();
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(point_of(*done, 7), 2u);
  EXPECT_EQ(store->checkpoint_progress().phase, CheckpointPhase::kRest);
  EXPECT_EQ(get("a"), "3");
  reopen();
  EXPECT_EQ(session->last_serial(), 2u);
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("b"), "1");
}

// Promise: a session in the middle of a serial may write a key that another session has already
// written in the next version: the checkpoint has the former's write, the live state the latter's.
TEST_P(EveryKind, AWriteBeneathANewerVersionIsInTheCheckpointOnly) {
  auto other = std::move(*store->start_session(8));
  put("gone", "1", 1);
  put("first", "1", 2);
  auto info = begin_checkpoint(*store, nullptr, GetParam());
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending) {
    std::this_thread::sleep_for(1ms);
  }
  ASSERT_TRUE(other->upsert(as_bytes("shared"), as_bytes("new"), 1));
  ASSERT_TRUE(other->upsert(as_bytes("gone"), as_bytes("new"), 2));
  put("shared", "within serial 2", 2);
  EXPECT_TRUE(session->erase(as_bytes("gone"), 2).value());
  // To everybody they came after those of the next version, which had returned.
  EXPECT_EQ(get("shared"), "within serial 2");
  EXPECT_EQ(get("gone"), "(absent)");
  ASSERT_TRUE(other->upsert(as_bytes("gone"), as_bytes("newest"), 3));
  EXPECT_EQ(store->live_records(), 3u);
  session->refresh(2);
  const auto done = info.get();
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->live_records, 2u);
  // A later checkpoint does not see what was beneath again.
  other->refresh(3);
  session->refresh(2);
  const auto later = checkpoint(*store, GetParam());
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->live_records, 3u);
  EXPECT_EQ(contents(*store),
            (Model{{"first", "1"}, {"shared", "within serial 2"}, {"gone", "newest"}}));

  // Damages the later one, so that the earlier is loaded.
  const std::string digits = std::to_string(later->token);
  disk.flip_bit(storage::Path("/kv/checkpoints") / (std::string(20 - digits.size(), '0') + digits) /
                    "MANIFEST",
                60, 0);
  other.reset();
  reopen();
  EXPECT_EQ(contents(*store), (Model{{"first", "1"}, {"shared", "within serial 2"}}));
}

// Promise: no read-modify-write is lost on either side of the point: one within a serial that meets
// a newer version's is in the checkpoint without that one, and in the store on top of it.
TEST_P(EveryKind, AReadModifyWriteBeneathANewerVersionIsInBoth) {
  auto other = std::move(*store->start_session(8));
  const auto append = [](Session& by, const std::string& letter, Serial serial) {
    const auto done = by.rmw(
        as_bytes("sum"),
        [&](const ByteSpan* present, std::string& next) {
          next = (present == nullptr ? "" : to_string(*present)) + letter;
          return Modification::kWrite;
        },
        serial);
    ASSERT_TRUE(done.has_value()) << done.error().message;
  };
  append(*session, "a", 1);
  put("first", "1", 2);
  auto info = begin_checkpoint(*store, nullptr, GetParam());
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending) {
    std::this_thread::sleep_for(1ms);
  }
  append(*other, "b", 1);
  append(*session, "c", 2);
  append(*other, "d", 2);
  std::string batched = "sum";
  const auto modify = [](const ByteSpan* present, std::string& next) {
    next = to_string(*present) + "e";
    return Modification::kWrite;
  };
  Operation operation;
  operation.kind = OperationKind::kRmw;
  operation.key = as_bytes(batched);
  operation.modify = modify;
  operation.serial = 2;
  ASSERT_TRUE(session->run({&operation, 1}));
  EXPECT_EQ(get("sum"), "abcde");
  session->refresh(2);
  ASSERT_TRUE(info.get().has_value());
  other.reset();
  reopen();
  EXPECT_EQ(get("sum"), "ace");
}

// Promise: a session that ends in the middle of a checkpoint does not hold it up, and its point is
// what it had done.
TEST_F(CheckpointTest, ASessionThatEndsIsWaitedForNoLonger) {
  put("a", "1", 5);
  auto info = begin_checkpoint(*store);
  EXPECT_EQ(info.wait_for(50ms), std::future_status::timeout);
  session.reset();
  const auto done = info.get();
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(point_of(*done, 7), 5u);
}

// Promise: half of an operation is never published. The second write of a serial finds the disk
// budget used up and the session gives up: checkpoints are refused from then on.
TEST_F(CheckpointTest, ATornSerialIsNeverPublished) {
  options.disk_bytes = 1u << 20;
  options.segment_bytes = 1u << 18;
  options.memory_bytes = 8u << 16;
  options.compaction.automatic = false;
  reopen();
  const std::string large(20'000, 'x');
  Serial serial = 0;
  bool failed = false;
  while (!failed) {
    ++serial;
    put("small", std::to_string(serial), serial);
    const auto written = session->upsert(as_bytes(std::to_string(serial)), as_bytes(large), serial);
    failed = !written;
    EXPECT_TRUE(written || written.error().code == ErrorCode::kResourceExhausted);
    ASSERT_LT(serial, 1000u);
  }
  session.reset();
  const auto info = checkpoint(*store);
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().code, ErrorCode::kFailedPrecondition);
  reopen();
  EXPECT_FALSE(store->recovered().has_value());
}

// Promise: the embedder's bytes come back, its error abandons the checkpoint, and the next
// succeeds.
TEST_F(CheckpointTest, TheHookDecidesAndItsBytesComeBack) {
  put("a", "1", 1);
  session->refresh(1);
  const auto refused = begin_checkpoint(*store, [](const CheckpointInfo&) -> Result<std::string> {
                         return make_error(ErrorCode::kIo, "not now");
                       }).get();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message, "not now");
  EXPECT_TRUE(store->checkpoints()->empty());
  const std::string bytes("mine\0too", 8);
  const auto done =
      begin_checkpoint(*store, [&](const CheckpointInfo& info) -> Result<std::string> {
        EXPECT_EQ(point_of(info, 7), 1u);
        return bytes;
      }).get();
  ASSERT_TRUE(done.has_value());
  reopen();
  ASSERT_TRUE(store->recovered().has_value());
  EXPECT_EQ(store->recovered()->user_metadata, bytes);
  EXPECT_EQ(store->recovered()->token, done->token);
  EXPECT_EQ(get("a"), "1");
}

// Promise: a hook that answers "cancelled" abandons its own checkpoint only.
TEST_F(CheckpointTest, AHookThatCancelsLeavesTheNextCheckpointAlone) {
  put("a", "1", 1);
  session->refresh(1);
  const auto refused = begin_checkpoint(*store, [](const CheckpointInfo&) -> Result<std::string> {
                         return make_error(ErrorCode::kCancelled, "not now");
                       }).get();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(store->checkpoint_progress().phase, CheckpointPhase::kRest);
  EXPECT_TRUE(disk.list("/kv/checkpoints")->empty()) << "what was abandoned is removed";
  session->refresh(1);
  const auto done = checkpoint(*store);
  ASSERT_TRUE(done.has_value()) << done.error().message;
}

TEST_F(CheckpointTest, OnlyOneAtATime) {
  put("a", "1", 1);
  auto info = begin_checkpoint(*store);
  const auto second = store->start_checkpoint({});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kFailedPrecondition);
  session->refresh(1);
  EXPECT_TRUE(info.get().has_value());
}

TEST_F(CheckpointTest, SerialsOnlyAscend) {
  put("a", "1", 5);
  EXPECT_EQ(session->upsert(as_bytes("a"), as_bytes("2"), 4).error().code,
            ErrorCode::kInvalidArgument);
  session->refresh(9);
  EXPECT_EQ(session->upsert(as_bytes("a"), as_bytes("2"), 9).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(store->start_session(7).error().code, ErrorCode::kAlreadyExists);
}

// Promise: as many checkpoints are kept as asked for, however many are taken (FASTER once stopped
// at a fixed number of versions).
TEST_F(CheckpointTest, ManyCheckpointsAndOnlyTheNewestKept) {
  Serial serial = 0;
  for (int times = 0; times < 500; ++times) {
    ++serial;
    put("key" + std::to_string(times % 10), std::to_string(times), serial);
    session->refresh(serial);
    ASSERT_TRUE(checkpoint(*store).has_value());
  }
  const auto kept = store->checkpoints();
  ASSERT_TRUE(kept.has_value());
  ASSERT_EQ(kept->size(), 2u);
  EXPECT_EQ((*kept)[1].version, 500u);
  EXPECT_EQ(disk.list("/kv/checkpoints")->size(), 2u);
  reopen();
  EXPECT_EQ(get("key9"), "499");
}

// Promise: another owner's checkpoint, and one of a newer format, are refused and left alone.
TEST_F(CheckpointTest, AnotherOwnersOrANewerFormatIsRefused) {
  put("a", "1", 1);
  session->refresh(1);
  ASSERT_TRUE(checkpoint(*store).has_value());
  session.reset();
  store.reset();
  StoreOptions other = options;
  other.owner = "somebody else";
  const auto refused = Store::open(disk, other);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find(options.owner), std::string::npos);

  reopen();
  EXPECT_EQ(get("a"), "1");
}

// Promise: one process at a time.
TEST_F(CheckpointTest, ASecondStoreInTheDirectoryIsRefused) {
  const auto second = Store::open(disk, options);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kInUse);
}

// Promise: a store may be closed while a checkpoint waits; the checkpoint is told.
TEST_F(CheckpointTest, ClosingCancelsACheckpointThatWaits) {
  put("a", "1", 1);
  session->refresh(1);
  std::promise<void> entered;
  std::promise<void> go_on;
  auto info = begin_checkpoint(*store, [&](const CheckpointInfo&) -> Result<std::string> {
    entered.set_value();
    go_on.get_future().wait();
    return make_error(ErrorCode::kCancelled, "closing");
  });
  entered.get_future().wait();
  session.reset();
  go_on.set_value();
  store.reset();
  EXPECT_EQ(info.get().error().code, ErrorCode::kCancelled);
}

// Promise: a snapshot whose mutable region does not fit into the memory given is said to be so, and
// is not damaged by it. A fold-over fits into any.
TEST_F(CheckpointTest, TooLittleMemoryForASnapshotIsSaid) {
  options.memory_bytes = 2u << 20;
  reopen();
  for (Serial serial = 1; serial <= 300; ++serial) {
    put("key" + std::to_string(serial), std::string(2000, 'x'), serial);
  }
  session->refresh(300);
  ASSERT_TRUE(checkpoint(*store, CheckpointKind::kSnapshot).has_value());
  session.reset();
  store.reset();
  StoreOptions smaller = options;
  smaller.memory_bytes = 4u << 16;
  const auto refused = Store::open(disk, smaller);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("memory"), std::string::npos);
  reopen();
  EXPECT_EQ(store->live_records(), 300u);
  session->refresh(301);
  ASSERT_TRUE(checkpoint(*store).has_value());
  options = smaller;
  reopen();
  EXPECT_EQ(store->live_records(), 300u);
  EXPECT_EQ(get("key7"), std::string(2000, 'x'));
}

// Promise: progress is seen from the request on, never exceeds the whole, and ends in REST.
TEST_F(CheckpointTest, ProgressIsSeen) {
  put("a", "1", 1);
  session->refresh(1);
  std::promise<void> entered;
  std::promise<void> go_on;
  auto info = begin_checkpoint(*store, [&](const CheckpointInfo&) -> Result<std::string> {
    entered.set_value();
    go_on.get_future().wait();
    return std::string();
  });
  EXPECT_NE(store->checkpoint_progress().phase, CheckpointPhase::kRest);
  entered.get_future().wait();
  const CheckpointProgress progress = store->checkpoint_progress();
  EXPECT_EQ(progress.phase, CheckpointPhase::kWaitFlush);
  EXPECT_GT(progress.bytes, 0u);
  EXPECT_GT(progress.fraction, 0.9);
  EXPECT_LE(progress.fraction, 1.0);
  go_on.set_value();
  ASSERT_TRUE(info.get().has_value());
  EXPECT_EQ(store->checkpoint_progress().phase, CheckpointPhase::kRest);
}

// Promise: writers go on while a checkpoint waits for its hook, and what they write is not in it.
TEST_F(CheckpointTest, WritersGoOnMeanwhile) {
  put("a", "1", 1);
  put("b", "1", 2);
  session->refresh(2);
  std::promise<void> entered;
  std::promise<void> go_on;
  auto info = begin_checkpoint(*store, [&](const CheckpointInfo&) -> Result<std::string> {
    entered.set_value();
    go_on.get_future().wait();
    return std::string();
  });
  entered.get_future().wait();
  put("a", "2", 3);
  put("c", "2", 4);
  ASSERT_TRUE(session->erase(as_bytes("b"), 5).value());
  put("a", "3", 6);
  EXPECT_EQ(get("a"), "3");
  go_on.set_value();
  const auto done = info.get();
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->live_records, 2u);
  EXPECT_EQ(store->live_records(), 2u);
  EXPECT_EQ(contents(*store), (Model{{"a", "3"}, {"c", "2"}}));
  reopen();
  EXPECT_EQ(session->last_serial(), 2u);
  EXPECT_EQ(contents(*store), (Model{{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(store->live_records(), 2u);
}

}  // namespace
}  // namespace tailrace::kv
