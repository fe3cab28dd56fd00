// The store against std::map, by seeds. TAILRACE_SEED=N replays one, TAILRACE_SEEDS=N tries so
// many.

#include <deque>
#include <set>

#include "core/random.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

constexpr uint64_t kSeeds = 60;
constexpr int kSteps = 2500;

/// One session's work on a disk that loses its power, compared with a map after each step.
class ModelRun {
 public:
  explicit ModelRun(uint64_t seed) : random_(seed), disk_(seed) {
    options_ = small_options("/kv");
    options_.page_bytes = 1u << 15;
    options_.segment_bytes = options_.page_bytes << random_.below(4);
    in_memory_ = random_.chance(1, 3);
    options_.memory_bytes = in_memory_ ? 8u << 20 : options_.page_bytes * (4 + random_.below(12));
    options_.index_buckets = 1u << random_.below(8);
    options_.index_grows = random_.chance(1, 2);
    constexpr double kMutable[] = {0.9, 0.5, 0.2};
    options_.mutable_fraction = kMutable[random_.below(3)];
    options_.copy_reads_to_tail = random_.chance(1, 2);
    options_.checkpoints_kept = static_cast<uint32_t>(1 + random_.below(3));
    options_.check_log_at_open = random_.chance(3, 4);
    options_.compaction.automatic = random_.chance(3, 4);
    options_.compaction.least_log_bytes = 256u << 10;
    keys_ = 20 + random_.below(600);
    at_points_[0] = {};
  }

  void run() {
    ASSERT_NO_FATAL_FAILURE(open());
    for (int step = 0; step < kSteps; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      ASSERT_NO_FATAL_FAILURE(take_step());
      if (::testing::Test::HasFailure()) return;
      if (power_is_cut_) {
        ASSERT_NO_FATAL_FAILURE(open());
      }
    }
    session_->refresh(serial_);
    expect_contents();
    ASSERT_NO_FATAL_FAILURE(restart());
  }

 private:
  // --- what is written ---

  std::string any_key() {
    // Also empty and binary keys, and a few long ones.
    if (random_.chance(1, 50)) return "";
    if (random_.chance(1, 60)) return std::string(254 + random_.below(4), 'k');
    if (random_.chance(1, 200)) return std::string(4000 + random_.below(2), 'K');
    return std::string("k\0", 2) + std::to_string(random_.below(keys_));
  }
  std::string any_value() {
    std::string text(random_.below(1 + (random_.chance(1, 10) ? 6000 : 60)), '\0');
    if (random_.chance(1, 20))
      text.resize(4084 + random_.below(9));  // about the longest narrow one
    for (char& letter : text)
      letter = static_cast<char>(random_.below(256));
    return text;
  }
  const std::string* known(const std::string& key) const {
    const auto at = model_.find(key);
    return at == model_.end() ? nullptr : &at->second;
  }

  /// An operation, what it will answer, and the map after it.
  struct Planned {
    Operation operation;
    std::string key, value, expected, result;
    std::function<Modification(const ByteSpan*, std::string&)> function;
    bool done = false;
    std::optional<std::string> answer;  // in *result
    bool modifies = false;
    Modification decision = Modification::kKeep;
  };
  void plan(Planned& planned, Serial serial) {
    planned.key = any_key();
    planned.value = any_value();
    const std::string* present = known(planned.key);
    Operation& operation = planned.operation;
    operation.serial = serial;
    const std::string key = planned.key;
    switch (random_.below(10)) {
      case 0:
      case 1:
        operation.kind = OperationKind::kRead;
        planned.done = present != nullptr;
        if (present != nullptr) planned.answer = *present;
        break;
      case 2:
      case 3:
      case 4:
        operation.kind = OperationKind::kUpsert;
        planned.done = true;
        model_[key] = planned.value;
        break;
      case 5:
        operation.kind = OperationKind::kErase;
        planned.done = model_.erase(key) > 0;
        break;
      case 6:
        operation.kind = OperationKind::kInsertIfAbsent;
        planned.done = present == nullptr;
        if (present != nullptr) planned.answer = *present;
        if (present == nullptr) model_[key] = planned.value;
        break;
      case 7:
        operation.kind = OperationKind::kCompareAndSwap;
        planned.expected = present != nullptr && random_.chance(3, 4) ? *present : "other";
        planned.done = present != nullptr && *present == planned.expected;
        if (present != nullptr && !planned.done) planned.answer = *present;
        if (planned.done) model_[key] = planned.value;
        break;
      default: {
        operation.kind = OperationKind::kRmw;
        planned.modifies = true;
        const auto decision = static_cast<Modification>(random_.below(3));
        planned.decision = decision;
        const bool appends = random_.chance(1, 2);
        planned.function = [piece = planned.value, decision, appends](const ByteSpan* was,
                                                                      std::string& next) {
          if (appends && was != nullptr && was->size() < 8000) next = to_string(*was);
          next += piece;
          return decision;
        };
        planned.done = decision == Modification::kWrite ||
                       (decision == Modification::kErase && present != nullptr);
        std::string next;
        const ByteSpan view = present == nullptr ? ByteSpan{} : as_bytes(*present);
        planned.function(present == nullptr ? nullptr : &view, next);
        if (decision == Modification::kWrite) model_[key] = next;
        if (decision == Modification::kErase) model_.erase(key);
      }
    }
    operation.key = as_bytes(planned.key);
    operation.value = as_bytes(planned.value);
    operation.expected = as_bytes(planned.expected);
    operation.result = &planned.result;
    if (planned.modifies) operation.modify = planned.function;
    note_value(planned.key);
  }

  void single() {
    Planned planned;
    plan(planned, ++serial_);
    Operation& one = planned.operation;
    Result<bool> done = false;
    switch (one.kind) {
      case OperationKind::kRead: {
        const auto read = session_->read(one.key, planned.result);
        if (!read && read.error().code != ErrorCode::kNotFound) done = tl::unexpected(read.error());
        if (read) done = true;
        break;
      }
      case OperationKind::kUpsert:
        done = session_->upsert(one.key, one.value, serial_).map([] { return true; });
        break;
      case OperationKind::kErase:
        done = session_->erase(one.key, serial_);
        break;
      case OperationKind::kRmw:
        done = session_->rmw(one.key, one.modify, serial_).map([&](Modification decision) {
          return decision == planned.decision && planned.done;
        });
        break;
      case OperationKind::kInsertIfAbsent:
        done = session_->insert_if_absent(one.key, one.value, serial_, one.result);
        break;
      case OperationKind::kCompareAndSwap:
        done = session_->compare_and_swap(one.key, one.expected, one.value, serial_, one.result);
        break;
    }
    if (failed(done.map([](bool) {}))) return;
    one.done = *done;
    expect_answer(planned);
  }

  void batch() {
    std::deque<Planned> all(1 + random_.below(random_.chance(1, 4) ? 80 : 20));
    std::vector<Operation> operations;
    for (Planned& planned : all) {
      // Some of one serial; not of the one before the batch, which refresh() may have ended.
      if (&planned == &all.front() || random_.chance(3, 4)) ++serial_;
      plan(planned, serial_);
    }
    for (Planned& planned : all)
      operations.push_back(planned.operation);
    size_t count = 0;
    if (failed(session_->run(operations, &count))) return;
    ASSERT_EQ(count, operations.size());
    for (size_t i = 0; i < operations.size(); ++i) {
      all[i].operation.done = operations[i].done;
      expect_answer(all[i]);
    }
  }

  static void expect_answer(const Planned& planned) {
    const auto kind = static_cast<int>(planned.operation.kind);
    ASSERT_EQ(planned.operation.done, planned.done)
        << "kind " << kind << " on '" << planned.key.substr(0, 20) << "' (" << planned.key.size()
        << "), decision " << static_cast<int>(planned.decision) << ", serial "
        << planned.operation.serial;
    if (planned.answer) {
      ASSERT_TRUE(planned.result == *planned.answer)
          << "kind " << kind << " on '" << planned.key.substr(0, 20) << "' answers "
          << planned.result.size() << " bytes, not " << planned.answer->size();
    }
  }

  // --- reads that wait ---

  struct PendingRead {
    std::string key;
    std::vector<std::optional<std::string>> values;  // since it was asked for
    bool called = false;
  };
  void note_value(const std::string& key) {
    for (const auto& pending : pending_) {
      if (pending->key != key) continue;
      const std::string* now = known(key);
      pending->values.push_back(now == nullptr ? std::nullopt : std::optional(*now));
    }
  }
  void read_async() {
    auto pending = std::make_shared<PendingRead>();
    pending->key = any_key();
    pending_.push_back(pending);
    note_value(pending->key);
    session_->read_async(
        as_bytes(pending->key), [this, pending](Result<bool> found, const std::string& value) {
          pending->called = true;
          if (failed(found.map([](bool) {}))) return;
          for (const auto& possible : pending->values) {
            if (*found == possible.has_value() && (!*found || value == *possible)) return;
          }
          ADD_FAILURE() << "an asynchronous read of '" << pending->key.substr(0, 20) << "' says "
                        << (*found ? std::to_string(value.size()) + " bytes" : "absent")
                        << ", which it never was of " << pending->values.size();
        });
    collect();
  }
  void collect() {
    std::erase_if(pending_, [](const auto& pending) { return pending->called; });
    ASSERT_EQ(session_->pending(), pending_.size());
  }

  // --- steps ---

  void take_step() {
    const uint64_t dice = random_.below(1000);
    if (dice < 700) {
      single();
    } else if (dice < 850) {
      batch();
    } else if (dice < 920) {
      for (uint64_t count = 1 + random_.below(4); count > 0 && !power_is_cut_; --count)
        read_async();
    } else if (dice < 935) {
      session_->poll();
      collect();
    } else if (dice < 945) {
      if (failed(session_->wait_pending())) return;
      collect();
      ASSERT_TRUE(pending_.empty());
    } else if (dice < 960) {
      take_checkpoint();
    } else if (dice < 967) {
      const auto extent = store_->log_extent();
      const uint64_t length = std::max<uint64_t>(extent.read_only - extent.begin, 1);
      failed(store_->compact(extent.begin + random_.below(length)).map([](LogAddress) {}));
    } else if (dice < 970) {
      if (store_->index_buckets() < 4096) failed(store_->grow_index());
    } else if (dice < 976) {
      scan();
    } else if (dice < 980) {
      session_->refresh(serial_);
      expect_contents();
    } else if (dice < 990) {
      other_reads();
    } else if (dice < 994) {
      session_->refresh(serial_);
      ASSERT_NO_FATAL_FAILURE(restart());
    } else {
      disk_.fail_at(disk_.operations() + random_.below(40), testing::FaultKind::kPowerCut);
      power_may_be_cut_ = true;
    }
  }

  void take_checkpoint() {
    session_->refresh(serial_);
    const auto kind = static_cast<CheckpointKind>(1 + random_.below(4));
    if (kind != CheckpointKind::kIndexOnly) at_points_[serial_] = model_;
    const auto info = checkpoint(*store_, kind, random_.chance(1, 2));
    if (failed(info.map([](const CheckpointInfo&) {}))) return;
    if (kind == CheckpointKind::kIndexOnly) return;
    ASSERT_EQ(point_of(*info, 1), serial_);
    published_ = serial_;
    if (in_memory_) {
      ASSERT_EQ(info->live_records, model_.size());
    }
    const auto validated = store_->validate_checkpoint(info->token);
    if (!power_may_be_cut_) {
      ASSERT_TRUE(validated.has_value()) << validated.error().message;
    }
  }

  void scan() {
    session_->refresh(serial_);
    const Model then = model_;
    auto scan = store_->start_scan();
    if (failed(scan.map([](auto&&) {}))) return;
    Model seen;
    for (bool more = true; more;) {
      const auto next = (*scan)->next(
          1 + random_.below(100), 1 + random_.below(1u << 18), [&](ByteSpan key, ByteSpan value) {
            EXPECT_TRUE(seen.emplace(to_string(key), to_string(value)).second);
          });
      if (failed(next.map([](bool) {}))) return;
      more = *next;
      // What is written meanwhile is not in it.
      for (uint64_t count = random_.below(4); count > 0 && !power_is_cut_; --count)
        ASSERT_NO_FATAL_FAILURE(single());
      if (power_is_cut_) return;
    }
    EXPECT_TRUE(seen == then) << "a scan shows " << seen.size() << " pairs, there were "
                              << then.size();
  }

  void other_reads() {
    const std::string key = any_key();
    const std::string* present = known(key);
    std::string value;
    const auto outcome = store_->try_read(as_bytes(key), value);
    if (outcome == Store::ReadOutcome::kFound) {
      ASSERT_TRUE(present != nullptr && value == *present);
    } else if (outcome == Store::ReadOutcome::kAbsent) {
      ASSERT_EQ(present, nullptr);
    }
    const auto read = store_->read(as_bytes(key), value);
    if (!read && read.error().code != ErrorCode::kNotFound && failed(read)) return;
    ASSERT_EQ(read.has_value(), present != nullptr);
    if (read) {
      ASSERT_TRUE(value == *present);
    }
    std::promise<std::pair<Result<bool>, std::string>> promise;
    store_->read_async(as_bytes(key), [&](Result<bool> found, std::string text) {
      promise.set_value({std::move(found), std::move(text)});
    });
    const auto [found, text] = promise.get_future().get();
    if (failed(found.map([](bool) {}))) return;
    ASSERT_EQ(*found, present != nullptr);
    if (*found) {
      ASSERT_TRUE(text == *present);
    }
  }

  void expect_contents() {
    Model now;
    const auto visited = store_->for_each([&](ByteSpan key, ByteSpan value) {
      EXPECT_TRUE(now.emplace(to_string(key), to_string(value)).second) << "a key came twice";
    });
    if (failed(visited)) return;
    EXPECT_TRUE(now == model_) << "there are " << now.size() << " pairs, not " << model_.size();
    if (in_memory_ && !power_may_be_cut_) {
      EXPECT_EQ(store_->live_records(), model_.size());
    }
    EXPECT_LE(store_->used_bytes(), store_->capacity_bytes());
  }

  // --- ends and beginnings ---

  /// Whether the power was cut; any other error is a failure of the test.
  bool failed(const Result<>& result) {
    if (result || closing_) return !result;
    EXPECT_TRUE(power_may_be_cut_) << result.error().message;
    power_is_cut_ = true;
    return true;
  }

  void restart() {
    session_.reset();
    store_.reset();
    disk_.crash(testing::CrashPolicy::kProcessEnds);
    power_is_cut_ = true;
    open();
  }

  void open() {
    const bool first = session_ == nullptr && store_ == nullptr && !power_is_cut_;
    closing_ = true;  // reads that wait are told so
    session_.reset();
    store_.reset();
    pending_.clear();
    closing_ = false;
    if (!first) {
      constexpr testing::CrashPolicy kPolicies[] = {
          testing::CrashPolicy::kLoseUnsynced, testing::CrashPolicy::kKeepAll,
          testing::CrashPolicy::kRandom, testing::CrashPolicy::kProcessEnds};
      disk_.crash(kPolicies[random_.below(4)]);
    }
    power_is_cut_ = power_may_be_cut_ = false;
    store_ = open_or_die(disk_, options_);
    ASSERT_NE(store_, nullptr);
    session_ = session_or_die(*store_, 1);
    ASSERT_NE(session_, nullptr);
    std::string notes;
    for (const std::string& note : store_->recovery_notes())
      notes += "\n" + note;
    const Serial point = session_->last_serial();
    ASSERT_EQ(point, store_->recovered() ? point_of(*store_->recovered(), 1) : 0);
    ASSERT_GE(point, published_) << "a published checkpoint was lost" << notes;
    ASSERT_TRUE(at_points_.contains(point)) << "no checkpoint was taken at " << point;
    model_ = at_points_[point];
    at_points_ = {{point, model_}};
    published_ = point;
    serial_ = std::max(serial_, point);
    expect_contents();
    for (int times = 0; times < 20; ++times) {
      const std::string key = any_key();
      std::string value;
      const auto read = session_->read(as_bytes(key), value);
      ASSERT_EQ(read.has_value(), known(key) != nullptr) << key;
      if (read) {
        ASSERT_TRUE(value == *known(key));
      }
    }
  }

  Random random_;
  testing::FaultFileSystem disk_;
  StoreOptions options_;
  bool in_memory_ = false;
  uint64_t keys_ = 0;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Session> session_;
  Serial serial_ = 0;
  Model model_;
  std::map<Serial, Model> at_points_;  // that a checkpoint was taken or tried at
  Serial published_ = 0;
  std::vector<std::shared_ptr<PendingRead>> pending_;
  bool power_may_be_cut_ = false;
  bool power_is_cut_ = false;
  bool closing_ = false;
};

// Promise: whatever sequence of operations, each answers as a map would; what a checkpoint holds
// and a later open finds is exactly the state at its point; also while compaction moves records,
// the index grows and records are on disk, and after a power cut at any moment.
TEST(StoreModel, AgreesWithAMapWhateverHappens) {
  for_seeds(kSeeds, [](uint64_t seed) { ModelRun(seed).run(); });
}

}  // namespace
}  // namespace tailrace::kv
