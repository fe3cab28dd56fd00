// The configurations that a log keeps at hand (Log::configurations): what is in its records, and
// the one in force at begin, whatever becomes of the records.

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/record.h"
#include "fasterlog/offline/repair.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

class Configurations : public ::testing::Test {
 protected:
  std::unique_ptr<Log> open(LogOptions options = saved_log_options()) {
    auto log = Log::open(*disk_, std::move(options));
    EXPECT_TRUE(log.has_value()) << (log ? "" : log.error().message);
    return log ? std::move(*log) : nullptr;
  }
  std::unique_ptr<Log> open_writer(LogOptions options = saved_log_options()) {
    auto log = open(std::move(options));
    EXPECT_TRUE(log && log->become_writer(Epoch{1}).has_value());
    return log;
  }
  static AddressRange enqueue(Log& log, const std::string& text,
                              RecordKind kind = RecordKind::kData) {
    const auto range = log.enqueue(kind, as_bytes(text));
    EXPECT_TRUE(range.has_value()) << (range ? "" : range.error().message);
    return range.value_or(AddressRange{});
  }
  /// A record of data that is a batch of its own.
  static AddressRange append(Log& log, const std::string& text = "data") {
    const AddressRange range = enqueue(log, text);
    EXPECT_TRUE(log.wait_durable(range.end).has_value());
    return range;
  }
  /// Such a configuration; as the table is to have it.
  static ConfigurationRecord configure(Log& log, const std::string& text, Epoch epoch = Epoch{1}) {
    const AddressRange range = enqueue(log, text, RecordKind::kConfiguration);
    EXPECT_TRUE(log.wait_durable(range.end).has_value());
    return record_of(range, text, epoch);
  }
  static ConfigurationRecord record_of(AddressRange range, const std::string& text,
                                       Epoch epoch = Epoch{1}) {
    const ByteSpan bytes = as_bytes(text);
    return {range.first, range.end, epoch, {bytes.begin(), bytes.end()}};
  }
  std::unique_ptr<Log> reopen_after_crash(std::unique_ptr<Log> log,
                                          CrashPolicy policy = CrashPolicy::kLoseUnsynced) {
    disk_->fail_at(disk_->operations(), FaultKind::kPowerCut);
    log.reset();
    disk_->crash(policy);
    return open();
  }
  std::unique_ptr<Log> reopen_after_close(std::unique_ptr<Log> log) {
    EXPECT_TRUE(log->close().has_value());
    log.reset();
    return open();
  }

  std::optional<FaultFileSystem> disk_{std::in_place, 1};
};

// Enqueued is in the table; durable is in it after a close and after a power cut.
TEST_F(Configurations, WhatIsDurableIsThereAgainAfterACloseAndACrash) {
  LogOptions options = saved_log_options();
  options.commit = CommitPolicy::on_request();
  auto log = open_writer(options);
  EXPECT_TRUE(log->configurations()->empty());
  append(*log);
  const ConfigurationRecord first = configure(*log, "first");
  ASSERT_TRUE(log->become_writer(Epoch{3}).has_value());
  std::vector<Address> addresses;
  const RecordView batch[] = {{RecordKind::kData, as_bytes("a")},
                              {RecordKind::kConfiguration, {}},
                              {RecordKind::kConfiguration, as_bytes("third")},
                              {RecordKind::kData, as_bytes("b")}};
  const auto range = log->try_enqueue_batch(batch, &addresses);
  ASSERT_TRUE(range.has_value());
  const ConfigurationTable all = {first, record_of({addresses[1], addresses[2]}, "", Epoch{3}),
                                  record_of({addresses[2], addresses[3]}, "third", Epoch{3})};
  EXPECT_LE(log->durable(), range->first);
  EXPECT_EQ(*log->configurations(), all) << "what is not durable yet included";
  ASSERT_TRUE(log->wait_durable(range->end).has_value());
  log = reopen_after_close(std::move(log));
  EXPECT_EQ(*log->configurations(), all);
  ASSERT_TRUE(log->become_writer(Epoch{3}).has_value());
  log = reopen_after_crash(std::move(log));
  EXPECT_EQ(*log->configurations(), all);
  EXPECT_EQ(read_log_metadata(*disk_, "/log")->configurations, all);
}

TEST_F(Configurations, ATableThatWasTakenNeverChanges) {
  auto log = open_writer();
  const ConfigurationRecord first = configure(*log, "first");
  const auto before = log->configurations();
  configure(*log, "second");
  EXPECT_EQ(*before, ConfigurationTable{first});
  EXPECT_EQ(log->configurations()->size(), 2u);
}

// Whoever opens the log knows the configuration in force at its begin, although its record is gone.
TEST_F(Configurations, TruncationPastARecordKeepsTheOneInForce) {
  for (const bool crashes : {false, true}) {
    SCOPED_TRACE(crashes ? "crash" : "close");
    disk_.emplace(1);
    const auto again = [&](std::unique_ptr<Log> log) {
      return crashes ? reopen_after_crash(std::move(log)) : reopen_after_close(std::move(log));
    };
    auto log = open_writer();
    configure(*log, "first");
    const ConfigurationRecord second = configure(*log, "second");
    const Address between = append(*log).first;
    const ConfigurationRecord third = configure(*log, "third");
    append(*log);
    ASSERT_TRUE(log->truncate_before(between).has_value());
    ASSERT_GT(log->begin(), second.start);
    EXPECT_EQ(*log->configurations(), (ConfigurationTable{second, third}));
    log = again(std::move(log));
    EXPECT_EQ(*log->configurations(), (ConfigurationTable{second, third}));

    // The record right at begin is not in force there yet.
    ASSERT_TRUE(log->truncate_before(third.start).has_value());
    ASSERT_EQ(log->begin(), third.start);
    EXPECT_EQ(*log->configurations(), (ConfigurationTable{second, third}));
    ASSERT_TRUE(log->truncate_before(log->durable()).has_value());
    ASSERT_GE(log->begin(), third.end);
    EXPECT_EQ(*log->configurations(), ConfigurationTable{third});
    for (int i = 0; i < 2; ++i) {
      log = again(std::move(log));
      EXPECT_EQ(*log->configurations(), ConfigurationTable{third});
      // And a cut to the very begin does not take it.
      ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
      configure(*log, "cut");
      ASSERT_TRUE(log->truncate_after(log->begin()).has_value());
      EXPECT_EQ(*log->configurations(), ConfigurationTable{third});
    }
  }
}

TEST_F(Configurations, ACutTakesBackWhatItDrops) {
  auto log = open_writer();
  append(*log);
  const ConfigurationRecord kept = configure(*log, "kept");
  const ConfigurationRecord cut = configure(*log, "cut");
  configure(*log, "cut too");
  ASSERT_TRUE(log->truncate_after(cut.start).has_value());
  EXPECT_EQ(*log->configurations(), ConfigurationTable{kept});
  log = reopen_after_crash(std::move(log));
  EXPECT_EQ(*log->configurations(), ConfigurationTable{kept});
  ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
  const ConfigurationRecord other = configure(*log, "another in its place");
  EXPECT_EQ(*log->configurations(), (ConfigurationTable{kept, other}));
  log = reopen_after_close(std::move(log));
  EXPECT_EQ(*log->configurations(), (ConfigurationTable{kept, other}));
}

// Whatever a power cut leaves of a cut: the table is that of the records that are there.
TEST_F(Configurations, ACutThatIsInterruptedLeavesTheTableOfWhatIsThere) {
  size_t old_ones = 0, new_ones = 0;
  for (uint64_t at = 0; at < 12; ++at) {
    SCOPED_TRACE("power cut at operation " + std::to_string(at));
    disk_.emplace(at);
    auto log = open_writer();
    configure(*log, "before begin");
    const ConfigurationRecord in_force = configure(*log, "in force");
    ASSERT_TRUE(log->truncate_before(append(*log).first).has_value());
    const ConfigurationRecord kept = configure(*log, "kept");
    const ConfigurationRecord cut = configure(*log, "cut");
    disk_->fail_at(disk_->operations() + at, FaultKind::kPowerCut);
    (void)log->truncate_after(cut.start);
    log = reopen_after_crash(std::move(log), CrashPolicy::kRandom);
    ASSERT_NE(log, nullptr);
    const bool there = log->durable() >= cut.end;
    ConfigurationTable expected = {in_force, kept};
    if (there) expected.push_back(cut);
    EXPECT_EQ(*log->configurations(), expected);
    ++(there ? old_ones : new_ones);
  }
  EXPECT_GT(old_ones, 0u);
  EXPECT_GT(new_ones, 0u);
}

TEST_F(Configurations, ACopyHasTheTableOfItsSource) {
  LogOptions at_copy = saved_log_options();
  at_copy.directory = "/copy";
  auto copy = open(at_copy);
  ASSERT_TRUE(copy->become_copy().has_value());
  auto log = open_writer();
  append(*log);
  configure(*log, "first");
  const ConfigurationRecord second = configure(*log, "second");
  std::vector<std::byte> bytes;
  ASSERT_TRUE(log->read_raw(copy->tail(), 1 << 20, bytes).has_value());
  // One byte wrong: refused as a whole, and not a record of it noted.
  bytes.back() ^= std::byte{1};
  ASSERT_FALSE(copy->try_append_raw(copy->tail(), bytes).has_value());
  EXPECT_TRUE(copy->configurations()->empty());
  bytes.back() ^= std::byte{1};
  ASSERT_TRUE(copy->try_append_raw(copy->tail(), bytes).has_value());
  EXPECT_EQ(*copy->configurations(), *log->configurations());
  ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
  ASSERT_TRUE(copy->truncate_before(copy->tail()).has_value());
  EXPECT_EQ(*copy->configurations(), ConfigurationTable{second});
  const ConfigurationRecord third = configure(*log, "third");
  ASSERT_TRUE(log->read_raw(copy->tail(), 1 << 20, bytes).has_value());
  ASSERT_TRUE(copy->try_append_raw(copy->tail(), bytes).has_value());
  ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
  ASSERT_TRUE(copy->close().has_value());
  EXPECT_EQ(*open(at_copy)->configurations(), (ConfigurationTable{second, third}));
}

// A configuration whose batch never got its mark was never there.
TEST_F(Configurations, OneOfAnUnfinishedBatchIsNotRecovered) {
  auto log = open_writer();
  const ConfigurationRecord first = configure(*log, "first");
  disk_->fail_next("write", path_of(0), FaultKind::kShort);
  std::vector<Address> addresses;
  const std::string large(40'000, 'x');
  const RecordView batch[] = {{RecordKind::kConfiguration, as_bytes("unfinished")},
                              {RecordKind::kData, as_bytes(large)}};
  ASSERT_TRUE(log->try_enqueue_batch(batch, &addresses).has_value());
  EXPECT_FALSE(log->wait_durable(log->tail()).has_value());
  log = reopen_after_crash(std::move(log), CrashPolicy::kKeepAll);
  ASSERT_NE(log, nullptr);
  ASSERT_GE(log->recovery().discarded_end, addresses[1]) << "its record does not stand on the disk";
  EXPECT_EQ(*log->configurations(), ConfigurationTable{first});
}

TEST_F(Configurations, ALogThatBeginsLaterIsToldOfTheOneInForce) {
  auto source = open_writer();
  configure(*source, "first");
  const ConfigurationRecord second = configure(*source, "second");
  const Address begin = source->mark_end_at(append(*source).first).value();
  const ConfigurationRecord third = configure(*source, "third");
  const auto create = [&](ConfigurationTable table) {
    LogOptions options = saved_log_options();
    options.directory = "/copy";
    return Log::create_at(*disk_, options, begin, source->epoch_table(), std::move(table));
  };
  ConfigurationRecord unaligned = second, other_length = second, long_one = second;
  unaligned.start = unaligned.start + 1;
  other_length.payload.resize(100);
  long_one.payload.resize(kMostConfigurationBytes + 1);
  long_one.start = kFirstAddress;
  long_one.end = kFirstAddress + record_bytes(long_one.payload.size());
  for (const ConfigurationTable& table :
       {ConfigurationTable{third}, {second, second}, {unaligned}, {other_length}, {long_one}}) {
    const auto refused = create(table);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
  ASSERT_TRUE(create({second}).has_value());
  LogOptions at_copy = saved_log_options();
  at_copy.directory = "/copy";
  for (int i = 0; i < 2; ++i) {
    auto copy = open(at_copy);
    EXPECT_EQ(*copy->configurations(), ConfigurationTable{second});
    ASSERT_TRUE(copy->become_copy().has_value());
    if (i == 1) {
      std::vector<std::byte> bytes;
      ASSERT_TRUE(source->read_raw(begin, 1 << 20, bytes).has_value());
      ASSERT_TRUE(copy->try_append_raw(begin, bytes).has_value());
      EXPECT_EQ(*copy->configurations(), (ConfigurationTable{second, third}));
    }
    ASSERT_TRUE(copy->close().has_value());
  }
}

// What META could not hold is refused where it would come in.
TEST_F(Configurations, OneThatIsTooLongIsWrittenByNobody) {
  LogOptions options = saved_log_options(1u << 20);
  options.page_bytes = 256u << 10;
  auto log = open_writer(options);
  const std::string most(kMostConfigurationBytes, 'm'), more = most + "m";
  const RecordView batch[] = {{RecordKind::kData, as_bytes("a")},
                              {RecordKind::kConfiguration, as_bytes(more)}};
  for (const auto& refused : {log->try_enqueue(RecordKind::kConfiguration, as_bytes(more)),
                              log->try_enqueue_batch(batch)}) {
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(refused.error().message.find("65536"), std::string::npos) << refused.error().message;
  }
  append(*log, more);
  EXPECT_TRUE(log->configurations()->empty());
  const ConfigurationRecord record = configure(*log, most);
  EXPECT_EQ(*log->configurations(), ConfigurationTable{record});

  options.directory = "/copy";
  auto copy = open(options);
  ASSERT_TRUE(copy->become_copy().has_value());
  std::vector<std::byte> bytes(record_bytes(more.size()) + kLeastMarkBytes);
  std::copy_n(as_bytes(more).begin(), more.size(), bytes.begin() + kHeaderBytes);
  seal_record(bytes.data(), kFirstAddress, Epoch{1}, RecordKind::kConfiguration,
              static_cast<uint32_t>(more.size()));
  write_commit_mark(bytes.data() + record_bytes(more.size()),
                    kFirstAddress + record_bytes(more.size()), kLeastMarkBytes, Epoch{1},
                    {kFirstAddress, 1});
  const auto taken = copy->try_append_raw(kFirstAddress, bytes);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, ErrorCode::kCorruption);
  EXPECT_NE(taken.error().message.find("address 64"), std::string::npos) << taken.error().message;
}

// A repaired log knows the configurations of what it kept, also the one whose record is truncated.
TEST_F(Configurations, RepairKeepsThoseBeforeItsCut) {
  auto log = open_writer();
  configure(*log, "gone");
  const ConfigurationRecord in_force = configure(*log, "in force");
  ASSERT_TRUE(log->truncate_before(append(*log).first).has_value());
  const ConfigurationRecord kept = configure(*log, "kept");
  const AddressRange damaged = append(*log);
  configure(*log, "behind the damage");
  ASSERT_TRUE(log->close().has_value());
  log.reset();
  auto files = files_of(*disk_);
  files[path_of(0)][damaged.first.value + 25] ^= std::byte{1};
  const auto disk = disk_with(files);
  ASSERT_FALSE(Log::open(*disk, saved_log_options()).has_value());
  const auto done =
      repair_log(*disk, "/log", {}, [](const RepairPlan&) { return std::string("{}"); });
  ASSERT_TRUE(done.has_value()) << done.error().message;
  auto again = Log::open(*disk, saved_log_options());
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(*(*again)->configurations(), (ConfigurationTable{in_force, kept}));
}

// Writers note theirs in any order, while readers look and the log is truncated at both ends: in
// the end, and at each look, the table is in order, and it is that of the records.
TEST_F(Configurations, ManyWritersAndTruncationsLeaveTheTableOfTheRecords) {
  auto log = open_writer();
  configure(*log, "first");
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 3; ++writer)
    threads.emplace_back([&, writer] {
      for (int i = 0; i < 300; ++i) {
        const std::string text = std::to_string(writer) + "/" + std::to_string(i);
        const auto kind = i % 4 == 0 ? RecordKind::kConfiguration : RecordKind::kData;
        const auto range = log->enqueue(kind, as_bytes(text));
        // While the end is cut, nothing is taken.
        if (range) continue;
        ASSERT_EQ(range.error().code, ErrorCode::kFailedPrecondition);
        std::this_thread::yield();
        --i;
      }
    });
  std::thread looks([&] {
    while (!stop.load()) {
      const auto table = log->configurations();
      EXPECT_TRUE(are_possible(*table, Address::max()));
    }
  });
  for (int i = 0; i < 20; ++i) {
    const Address begin = log->begin();
    const Address to = begin + (log->durable() - begin) / 3;
    if (i % 5 == 4) {
      EXPECT_TRUE(log->truncate_after(log->durable()).has_value());
    } else {
      EXPECT_TRUE(log->truncate_before(to).has_value());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (std::thread& each : threads)
    each.join();
  stop.store(true);
  looks.join();
  const ConfigurationRecord last = configure(*log, "last");
  EXPECT_EQ(log->configurations()->back(), last);
  const auto expect_the_records = [](Log& of) {
    ConfigurationTable held;
    const auto scanner = of.scan(of.begin());
    for (;;) {
      const auto record = scanner->next(Address::max());
      ASSERT_TRUE(record.has_value());
      if (!*record) break;
      if ((*record)->kind == RecordKind::kConfiguration)
        held.push_back(
            record_of({(*record)->address, (*record)->end}, to_string((*record)->payload)));
    }
    ConfigurationTable table = *of.configurations();
    if (!table.empty() && table.front().end <= of.begin()) table.erase(table.begin());
    EXPECT_EQ(table, held);
  };
  expect_the_records(*log);
  const ConfigurationTable before = *log->configurations();
  log = reopen_after_crash(std::move(log));
  expect_the_records(*log);
  EXPECT_EQ(*log->configurations(), before);
}

}  // namespace
}  // namespace tailrace::fasterlog
