#include "tests/kv/prefix/prefix_run.h"

#include <chrono>
#include <deque>
#include <future>

namespace tailrace::kv {

namespace {

constexpr uint64_t kMostBuckets = 1u << 15;

std::string point_list(const std::vector<SessionPoint>& points) {
  std::string text;
  for (const SessionPoint& point : points)
    text += " " + std::to_string(point.session) + ":" + std::to_string(point.point);
  return text;
}

}  // namespace

PrefixShape prefix_shape(uint64_t seed, bool larger_than_memory) {
  PrefixShape shape;
  shape.seed = seed;
  shape.sessions = 4 + seed % 2;
  if (larger_than_memory) {
    shape.keys = 4000;
    shape.value_bytes = 250;
    shape.shared_keys = 200;  // so that they go to disk as well
  }
  return shape;
}

StoreOptions prefix_store_options(const storage::Path& directory, uint64_t seed,
                                  bool larger_than_memory) {
  Random random(seed);
  StoreOptions options;
  options.directory = directory;
  options.owner = "prefix";
  options.page_bytes = 1u << (15 + random.below(3));
  options.segment_bytes = options.page_bytes << random.below(5);
  options.memory_bytes =
      larger_than_memory ? options.page_bytes * (5 + random.below(12)) : uint64_t{64} << 20;
  options.index_buckets = 1u << (2 + random.below(10));
  options.index_grows = random.chance(3, 4);
  constexpr double kMutable[] = {0.9, 0.5, 0.2};
  options.mutable_fraction = kMutable[random.below(3)];
  options.huge_pages = false;
  options.copy_reads_to_tail = random.chance(1, 3);
  options.checkpoints_kept = static_cast<uint32_t>(1 + random.below(3));
  options.compaction.least_log_bytes = larger_than_memory ? 4u << 20 : 16u << 20;
  return options;
}

std::string prefix_difference(Store& store, const std::vector<SessionModel>& models,
                              uint64_t seed) {
  PrefixCheck check(models);
  const auto visited =
      store.for_each([&](ByteSpan key, ByteSpan value) { check.pair(key, value); });
  if (!visited) return "for_each: " + visited.error().message;
  std::string told = check.finish();
  if (!told.empty()) return told;
  // What the index leads to, present keys and absent ones.
  Random random(seed);
  std::string value;
  for (const SessionModel& model : models) {
    for (int times = 0; times < 500; ++times) {
      const std::string key = model.any_key(random) + (random.chance(1, 4) ? "/twin" : "");
      const auto known = model.pairs().find(key);
      const auto found = store.read(as_bytes(key), value);
      if (!found && found.error().code != ErrorCode::kNotFound) return found.error().message;
      const bool should_be = known != model.pairs().end();
      if (found.has_value() != should_be || (should_be && value != known->second)) {
        return "a read of " + key + " says " + (found ? "'" + value + "'" : "absent") +
               " and for_each said " + (should_be ? "'" + known->second + "'" : "absent");
      }
    }
  }
  return "";
}

PrefixRun::PrefixRun(Store& store, const PrefixShape& shape, std::vector<SessionModel> models,
                     PrefixRunOptions options)
    : store_(store),
      shape_(shape),
      options_(std::move(options)),
      begun_(models),
      models_(std::move(models)) {
  for (SessionModel& model : models_)
    threads_.emplace_back([this, &model] { work(model); });
  if (options_.checkpoints) threads_.emplace_back([this] { take_checkpoints(); });
  if (options_.upkeep) threads_.emplace_back([this] { keep_up(); });
}

PrefixRun::~PrefixRun() {
  finish();
}

std::string PrefixRun::finish() {
  stop_ = true;
  for (auto& thread : threads_)
    thread.join();
  threads_.clear();
  const MutexLock lock(mutex_);
  return first_error_;
}

void PrefixRun::wrong(const std::string& what) {
  const MutexLock lock(mutex_);
  if (first_error_.empty()) first_error_ = what;
  failed_ = true;
}

bool PrefixRun::good(const std::string& what, const Result<>& result) {
  if (result) return true;
  if (!options_.may_fail) wrong(what + ": " + result.error().message);
  failed_ = true;
  return false;
}

void PrefixRun::pause(Random& random, uint64_t most_us) const {
  uint64_t left = random.below(most_us + 1);
  while (left > 0 && !stop_ && !failed_) {
    const uint64_t piece = std::min<uint64_t>(left, 5000);
    std::this_thread::sleep_for(std::chrono::microseconds(piece));
    left -= piece;
  }
}

void PrefixRun::work(SessionModel& model) {
  Random random(options_.seed * 31 + model.session());
  const Serial begun = model.serial();
  std::unique_ptr<Session> session;
  bool was_idle = false;
  while (!stop_ && !failed_) {
    if (session == nullptr) {
      auto started = store_.start_session(model.session());
      if (!good("start_session", started.map([](auto&&) {}))) return;
      session = std::move(*started);
      if (session->last_serial() != model.serial()) {
        wrong("session " + std::to_string(model.session()) + " goes on after " +
              std::to_string(session->last_serial()) + " and its last serial was " +
              std::to_string(model.serial()));
        return;
      }
    }
    if (model.serial() >= begun + options_.most_serials) {
      if (!was_idle) ++idle_;
      was_idle = true;
      session->refresh(model.serial());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    const uint64_t dice = random.below(1000);
    if (dice < 100) {
      read_some(*session, model, random);
    } else if (dice < 102) {
      session->refresh(model.serial());
      pause(random, 3000);
    } else if (dice < 103) {
      session.reset();  // in the middle of a serial or not: it counts as done
    } else if (dice < 200) {
      write_batch(*session, model, 1 + random.below(20));
    } else {
      write_one_by_one(*session, model);
    }
  }
}

void PrefixRun::write_one_by_one(Session& session, SessionModel& model) {
  const auto& writes = model.advance();
  const Serial serial = model.serial();
  for (const PrefixWrite& write : writes) {
    const auto modify = [&](const ByteSpan* present, std::string& next) {
      return write.modify(model.session(), shape_.sessions, present, next);
    };
    Result<bool> done = true;
    const ByteSpan key = as_bytes(write.key);
    switch (write.kind) {
      case PrefixWrite::Kind::kUpsert:
        done = session.upsert(key, as_bytes(write.value), serial).map([] { return true; });
        break;
      case PrefixWrite::Kind::kErase:
        done = session.erase(key, serial);
        break;
      case PrefixWrite::Kind::kInsert:
        done = session.insert_if_absent(key, as_bytes(write.value), serial);
        break;
      case PrefixWrite::Kind::kSwap:
        done =
            session.compare_and_swap(key, as_bytes(write.expected), as_bytes(write.value), serial);
        break;
      case PrefixWrite::Kind::kAppend:
      case PrefixWrite::Kind::kAdd:
        done = session.rmw(key, modify, serial).map([](Modification decision) {
          return decision != Modification::kKeep;
        });
        break;
    }
    if (!good("write of " + write.key, done.map([](bool) {}))) return;
    if (*done != write.done) {
      wrong("session " + std::to_string(model.session()) + ", serial " + std::to_string(serial) +
            ": kind " + std::to_string(static_cast<int>(write.kind)) + " on " + write.key +
            " was " + (*done ? "done" : "not done"));
      return;
    }
  }
}

void PrefixRun::write_batch(Session& session, SessionModel& model, uint64_t serials) {
  std::deque<PrefixWrite> writes;
  std::deque<std::function<Modification(const ByteSpan*, std::string&)>> functions;
  std::vector<Operation> operations;
  for (; serials > 0; --serials) {
    for (const PrefixWrite& one : model.advance()) {
      const PrefixWrite& write = writes.emplace_back(one);
      Operation operation;
      switch (write.kind) {
        case PrefixWrite::Kind::kUpsert:
          operation.kind = OperationKind::kUpsert;
          break;
        case PrefixWrite::Kind::kErase:
          operation.kind = OperationKind::kErase;
          break;
        case PrefixWrite::Kind::kInsert:
          operation.kind = OperationKind::kInsertIfAbsent;
          break;
        case PrefixWrite::Kind::kSwap:
          operation.kind = OperationKind::kCompareAndSwap;
          break;
        case PrefixWrite::Kind::kAppend:
        case PrefixWrite::Kind::kAdd:
          operation.kind = OperationKind::kRmw;
          functions.emplace_back(
              [&write, &model, this](const ByteSpan* present, std::string& next) {
                return write.modify(model.session(), shape_.sessions, present, next);
              });
          operation.modify = functions.back();
          break;
      }
      operation.key = as_bytes(write.key);
      operation.value = as_bytes(write.value);
      operation.expected = as_bytes(write.expected);
      operation.serial = model.serial();
      operations.push_back(operation);
    }
  }
  if (!good("batch", session.run(operations))) return;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].done == writes[i].done) continue;
    wrong("session " + std::to_string(model.session()) + ", serial " +
          std::to_string(operations[i].serial) + " in a batch: kind " +
          std::to_string(static_cast<int>(writes[i].kind)) + " on " + writes[i].key + " was " +
          (operations[i].done ? "done" : "not done"));
    return;
  }
}

void PrefixRun::read_some(Session& session, const SessionModel& model, Random& random) {
  const auto check = [&](const std::string& key, Result<bool> found, const std::string& value) {
    if (!good("read of " + key, found.map([](bool) {}))) return;
    const auto known = model.pairs().find(key);
    const bool should_be = known != model.pairs().end();
    if (*found != should_be || (should_be && value != known->second)) {
      wrong("session " + std::to_string(model.session()) + " after serial " +
            std::to_string(model.serial()) + " reads " + key + " as " +
            (*found ? "'" + value + "'" : "absent") + ", not " +
            (should_be ? "'" + known->second + "'" : "absent"));
    }
  };
  if (random.chance(1, 2)) {
    const std::string key = model.any_key(random);
    std::string value;
    const auto found = session.read(as_bytes(key), value);
    if (found || found.error().code == ErrorCode::kNotFound) {
      check(key, found.has_value(), value);
    } else {
      good("read of " + key, found);
    }
    return;
  }
  size_t called = 0;
  const size_t count = 1 + random.below(8);
  for (size_t i = 0; i < count; ++i) {
    const std::string key = model.any_key(random);
    session.read_async(as_bytes(key), [&, key](Result<bool> found, const std::string& value) {
      ++called;
      check(key, std::move(found), value);
    });
  }
  if (!good("wait_pending", session.wait_pending())) return;
  if (called != count) wrong("reads that did not complete");
}

void PrefixRun::take_checkpoints() {
  Random random(options_.seed * 31 + 1001);
  while (!stop_ && !failed_) {
    pause(random, options_.most_pause_us);
    CheckpointRequest request;
    const uint64_t dice = random.below(10);
    request.kind = dice < 4   ? CheckpointKind::kFoldOver
                   : dice < 6 ? CheckpointKind::kSnapshot
                   : dice < 9 ? CheckpointKind::kIncremental
                              : CheckpointKind::kIndexOnly;
    request.with_index = random.chance(1, 2);
    auto promise = std::make_shared<std::promise<Result<CheckpointInfo>>>();
    auto future = promise->get_future();
    request.hooks.before_publish = [this](const CheckpointInfo& info) -> Result<std::string> {
      if (options_.before_publish) options_.before_publish();
      return "points" + point_list(info.points);
    };
    request.hooks.done = [promise](const Result<CheckpointInfo>& info) {
      promise->set_value(info);
    };
    const CheckpointKind kind = request.kind;
    if (!good("start_checkpoint", store_.start_checkpoint(std::move(request)))) return;
    const auto info = future.get();
    if (!good("checkpoint", info.map([](const CheckpointInfo&) {}))) return;
    ++published_;
    if (kind != CheckpointKind::kIndexOnly && options_.published) options_.published(*info);
  }
}

void PrefixRun::keep_up() {
  Random random(options_.seed * 31 + 1002);
  while (!stop_ && !failed_) {
    pause(random, options_.most_pause_us * 2);
    const uint64_t dice = random.below(10);
    if (dice < 4) {
      const auto extent = store_.log_extent();
      const LogAddress until =
          extent.begin + random.below(std::max<uint64_t>(extent.read_only - extent.begin, 1));
      if (!good("compact", store_.compact(until).map([](LogAddress) {}))) return;
    } else if (dice < 6) {
      if (store_.index_buckets() >= kMostBuckets) continue;
      if (!good("grow_index", store_.grow_index())) return;
    } else if (dice < 8) {
      scan(random);
    } else {
      // From a thread that has no session: only that it works.
      std::string value;
      for (int times = 0; times < 50; ++times) {
        const auto& model = begun_[random.below(begun_.size())];
        const auto found = store_.read(as_bytes(model.any_key(random)), value);
        if (!found && found.error().code != ErrorCode::kNotFound && !good("read", found)) return;
      }
    }
  }
}

void PrefixRun::scan(Random& random) {
  auto scan = store_.start_scan();
  if (!good("start_scan", scan.map([](auto&&) {}))) return;
  std::vector<SessionModel> models = begun_;
  for (SessionModel& model : models) {
    bool known = model.serial() == 0;
    for (const SessionPoint& point : (*scan)->points()) {
      if (point.session != model.session()) continue;
      known = point.point >= model.serial();
      model.advance_to(point.point);
    }
    if (!known) {
      wrong("a scan has the points" + point_list((*scan)->points()) + " and session " +
            std::to_string(model.session()) + " was at " + std::to_string(model.serial()));
      return;
    }
  }
  PrefixCheck check(models);
  for (bool more = true; more && !failed_;) {
    const auto next = (*scan)->next(1 + random.below(500), 1 + random.below(1u << 20),
                                    [&](ByteSpan key, ByteSpan value) { check.pair(key, value); });
    if (!good("scan", next.map([](bool) {}))) return;
    more = *next;
  }
  if (failed_) return;
  const std::string told = check.finish();
  if (!told.empty()) wrong("a scan shows what never was: " + told);
  ++scans_;
}

}  // namespace tailrace::kv
