#include <thread>

#include "fasterlog/format/log_metadata.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

class SuffixTruncation : public LogFixture {
 protected:
  /// `count` records of about `bytes` each, each durable before the next: each its own batch, which
  /// ends with a commit mark behind the record.
  static std::vector<AddressRange> fill(Log& log, int count, size_t bytes = 20) {
    std::vector<AddressRange> ranges;
    for (int i = 0; i < count; ++i)
      ranges.push_back(append(log, std::to_string(i) + std::string(bytes, 'x')));
    return ranges;
  }
};

TEST_F(SuffixTruncation, DropsWhatLiesBehindAndGoesOnWriting) {
  auto log = open_writer(options());
  const auto ranges = fill(*log, 10);
  const auto to = log->truncate_after(ranges[5].first);
  ASSERT_TRUE(to.has_value()) << to.error().message;
  EXPECT_LE(*to, ranges[5].first);
  EXPECT_GE(*to, ranges[4].end);
  EXPECT_EQ(log->durable(), *to);
  EXPECT_EQ(log->tail(), *to);
  EXPECT_EQ(payloads(*log).size(), 5u);
  std::vector<std::byte> buffer;
  EXPECT_EQ(log->read(ranges[7].first, buffer).error().code, ErrorCode::kOutOfRange);

  append(*log, "new");
  const auto now = payloads(*log);
  ASSERT_EQ(now.size(), 6u);
  EXPECT_EQ(now.back(), "new");
  ASSERT_TRUE(log->close().has_value());
  log = open();
  EXPECT_EQ(payloads(*log), now);
}

TEST_F(SuffixTruncation, AnAddressInsideARecordOrABatchLandsOnTheBatchBefore) {
  auto log = open_writer(options());
  const auto ranges = fill(*log, 3);
  const auto to = log->truncate_after(Address{ranges[2].first.value + 8});
  ASSERT_TRUE(to.has_value());
  EXPECT_LE(*to, ranges[2].first);
  EXPECT_EQ(payloads(*log).size(), 2u);
  // And the whole log's end, which changes nothing.
  const auto same = log->truncate_after(log->tail());
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(*same, *to);
}

TEST_F(SuffixTruncation, ReachesOverPagesAndSegmentsAndFreesThem) {
  auto log = open_writer(options());
  const auto ranges = fill(*log, 200, 8000);  // 1.6 MB: several segments, more than the memory
  const uint64_t before = log->disk_bytes();
  const auto to = log->truncate_after(ranges[10].first);
  ASSERT_TRUE(to.has_value()) << to.error().message;
  EXPECT_LT(log->disk_bytes(), before);
  EXPECT_EQ(payloads(*log).size(), 10u);
  const auto more = fill(*log, 150, 8000);
  const auto now = payloads(*log);
  EXPECT_EQ(now.size(), 160u);
  ASSERT_TRUE(log->close().has_value());
  log = open();
  EXPECT_EQ(payloads(*log), now);
}

TEST_F(SuffixTruncation, ToTheBeginLeavesAnEmptyLogThatWorks) {
  auto log = open_writer(options());
  fill(*log, 10);
  const auto to = log->truncate_after(log->begin());
  ASSERT_TRUE(to.has_value()) << to.error().message;
  EXPECT_EQ(*to, kFirstAddress);
  EXPECT_TRUE(payloads(*log).empty());
  append(*log, "first");
  EXPECT_EQ(payloads(*log), std::vector<std::string>{"first"});
  ASSERT_TRUE(log->close().has_value());
  log = open();
  EXPECT_EQ(payloads(*log), std::vector<std::string>{"first"});
}

TEST_F(SuffixTruncation, RefusesAddressesOutsideTheLog) {
  auto log = open_writer(options());
  const auto ranges = fill(*log, 10);
  ASSERT_TRUE(log->truncate_before(ranges[5].first).has_value());
  EXPECT_EQ(log->truncate_after(ranges[2].first).error().code, ErrorCode::kOutOfRange);
  EXPECT_EQ(log->truncate_after(log->tail() + 8).error().code, ErrorCode::kOutOfRange);
  EXPECT_EQ(payloads(*log).size(), 5u);
}

TEST_F(SuffixTruncation, EpochsThatBeganBehindAreForgotten) {
  auto log = open_writer(options(), Epoch{3});
  append(*log, "three");
  ASSERT_TRUE(log->become_writer(Epoch{5}).has_value());
  const AddressRange five = append(*log, "five");
  ASSERT_EQ(log->epoch_table().size(), 2u);
  ASSERT_TRUE(log->become_copy().has_value());
  ASSERT_TRUE(log->truncate_after(five.first).has_value());
  ASSERT_EQ(log->epoch_table().size(), 1u);
  EXPECT_EQ(log->epoch_table()[0].epoch, Epoch{3});
  ASSERT_TRUE(log->close().has_value());
  log = open();
  EXPECT_EQ(log->last_epoch(), Epoch{3});
  // An epoch between the two is possible now, as it is for a copy of another leader.
  ASSERT_TRUE(log->become_writer(Epoch{4}).has_value());
  append(*log, "four");
  EXPECT_EQ(payloads(*log), (std::vector<std::string>{"three", "four"}));
}

// An address alone says nothing of a record: after a cut another epoch's may stand there.
TEST_F(SuffixTruncation, TheEpochOfAnAddressIsThatOfTheRecordWhichStandsThereNow) {
  auto log = open_writer(options(), Epoch{3});
  const AddressRange three = append(*log, "three");
  ASSERT_TRUE(log->become_writer(Epoch{5}).has_value());
  const AddressRange five = append(*log, "five");
  EXPECT_EQ(log->epoch_before(log->begin()), Epoch{});
  EXPECT_EQ(log->epoch_before(three.end), Epoch{3});
  EXPECT_EQ(log->epoch_before(five.first), Epoch{3});
  EXPECT_EQ(log->epoch_before(five.end), Epoch{5});
  ASSERT_TRUE(log->become_copy().has_value());
  ASSERT_TRUE(log->truncate_after(five.first).has_value());
  ASSERT_TRUE(log->become_writer(Epoch{6}).has_value());
  append(*log, "the six");
  EXPECT_EQ(log->epoch_before(five.end), Epoch{6});
}

TEST_F(SuffixTruncation, AnEpochInWhichNothingIsLeftDoesNotHinderACopyOfAnEarlierOne) {
  auto leader = open_writer(options("leader"), Epoch{1});
  append(*leader, "one");
  std::vector<std::byte> bytes;
  ASSERT_TRUE(leader->read_raw(leader->begin(), 1 << 20, bytes).has_value());
  const Address common = leader->durable();
  append(*leader, "two");
  std::vector<std::byte> rest;
  ASSERT_TRUE(leader->read_raw(common, 1 << 20, rest).has_value());
  for (const bool writes : {false, true}) {
    SCOPED_TRACE(writes);
    auto copy = open(options(writes ? "cut" : "unwritten"));
    ASSERT_TRUE(copy->become_copy().has_value());
    ASSERT_TRUE(copy->try_append_raw(copy->tail(), bytes).has_value());
    ASSERT_TRUE(copy->become_writer(Epoch{2}).has_value());
    if (writes) append(*copy, "only here");
    ASSERT_TRUE(copy->become_copy().has_value());
    if (writes) {
      ASSERT_TRUE(copy->truncate_after(common).has_value());
      ASSERT_TRUE(copy->become_copy().has_value());
    }
    const auto taken = copy->try_append_raw(common, rest);
    ASSERT_TRUE(taken.has_value()) << taken.error().message;
    ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
    EXPECT_EQ(copy->epoch_table(), leader->epoch_table());
    EXPECT_EQ(copy->last_epoch(), Epoch{1});
    EXPECT_EQ(payloads(*copy), payloads(*leader));
  }
}

TEST_F(SuffixTruncation, TheLastEpochIsKnownWhenAllOfItsRecordsAreTruncated) {
  auto log = open_writer(options(), Epoch{3});
  append(*log, "three");
  ASSERT_TRUE(log->become_writer(Epoch{5}).has_value());
  ASSERT_TRUE(log->truncate_before(log->durable()).has_value());
  ASSERT_TRUE(log->close().has_value());
  log = open();
  EXPECT_EQ(log->last_epoch(), Epoch{3}) << "nothing was written in epoch 5";
  ASSERT_TRUE(log->become_writer(Epoch{5}).has_value());
  append(*log, "five");
  EXPECT_EQ(log->epoch_table(),
            (std::vector<EpochStart>{{Epoch{3}, kFirstAddress}, {Epoch{5}, log->begin()}}))
      << "the record that ended at begin was one of epoch 3";
  ASSERT_TRUE(log->truncate_after(log->begin()).has_value());
  ASSERT_TRUE(log->become_copy().has_value());
  EXPECT_EQ(log->last_epoch(), Epoch{3});
}

TEST_F(SuffixTruncation, ACopyTakesOtherBytesInThePlaceOfThoseThatWereCut) {
  auto leader = open_writer(options("leader"), Epoch{2});
  append(*leader, "common");
  std::vector<std::byte> common;
  ASSERT_TRUE(leader->read_raw(leader->begin(), 1 << 20, common).has_value());
  auto copy = open(options("copy"));
  ASSERT_TRUE(copy->become_copy().has_value());
  ASSERT_TRUE(copy->try_append_raw(copy->tail(), common).has_value());
  ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
  const Address divergence = copy->tail();
  ASSERT_TRUE(copy->become_writer(Epoch{3}).has_value());
  append(*copy, "only here");
  ASSERT_TRUE(leader->become_writer(Epoch{4}).has_value());
  append(*leader, "everywhere");

  ASSERT_TRUE(copy->become_copy().has_value());
  const auto to = copy->truncate_after(divergence);
  ASSERT_TRUE(to.has_value());
  EXPECT_EQ(*to, divergence);
  std::vector<std::byte> rest;
  ASSERT_TRUE(leader->read_raw(divergence, 1 << 20, rest).has_value());
  ASSERT_TRUE(copy->try_append_raw(divergence, rest).has_value());
  ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
  EXPECT_EQ(payloads(*copy), payloads(*leader));
}

TEST_F(SuffixTruncation, AScannerBeyondTheCutSaysSoAndOneBeforeItGoesOn) {
  auto log = open_writer(options());
  const auto ranges = fill(*log, 10);
  const auto before = log->scan(log->begin());
  const auto beyond = log->scan(log->begin());
  ASSERT_TRUE(before->next(Address::max()).has_value());
  for (int i = 0; i < 8; ++i)
    ASSERT_TRUE(beyond->next(Address::max()).has_value());
  ASSERT_TRUE(log->truncate_after(ranges[5].first).has_value());
  append(*log, "new");
  const auto refused = beyond->next(Address::max());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfRange);
  std::vector<std::string> rest;
  for (;;) {
    auto record = before->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) break;
    rest.push_back(to_string((*record)->payload));
  }
  // The four up to the cut and the new one; what it had read ahead beyond the cut is not shown.
  ASSERT_EQ(rest.size(), 5u);
  EXPECT_EQ(rest.back(), "new");
}

TEST_F(SuffixTruncation, WhoWaitsBeyondTheCutIsNotForgotten) {
  LogOptions with = options();
  with.commit = CommitPolicy::on_request();
  auto log = open_writer(with);
  const auto ranges = fill(*log, 10);
  const SteadyTime deadline = system_clock().now() + std::chrono::seconds(20);
  const auto scanner = log->scan(log->durable());
  std::thread scans([&] {
    EXPECT_TRUE(scanner->wait(deadline).has_value()) << "a scanner slept through the cut";
    EXPECT_EQ(scanner->next(Address::max()).error().code, ErrorCode::kOutOfRange);
  });
  const Address wanted = log->tail() + 100;
  std::thread waits([&] {
    EXPECT_TRUE(log->wait_durable(wanted, deadline).has_value())
        << "nothing is flushed for a waiter from before the cut";
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(log->truncate_after(ranges[5].first).has_value());
  scans.join();
  while (log->tail() < wanted)
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes("more")).has_value());
  waits.join();
}

TEST_F(SuffixTruncation, ALogThatGoesOnAfterOneDoesNotCountAsClosed) {
  auto log = open_writer(options());
  fill(*log, 3);
  ASSERT_TRUE(log->truncate_after(log->tail()).has_value());
  auto metadata = read_log_metadata(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(metadata.has_value());
  EXPECT_FALSE(metadata->clean);
  ASSERT_TRUE(log->close().has_value());
  metadata = read_log_metadata(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(metadata.has_value());
  EXPECT_TRUE(metadata->clean);
}

TEST_F(SuffixTruncation, ScannersRunWhileTheEndIsCutAndWrittenAgain) {
  auto log = open_writer(options());
  append(*log, "stays");
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        const auto scanner = log->scan(log->begin());
        for (;;) {
          auto record = scanner->next(Address::max());
          if (!record) {
            // The one answer that a cut may give.
            EXPECT_EQ(record.error().code, ErrorCode::kOutOfRange) << record.error().message;
            break;
          }
          if (!*record) break;
          const std::string text = to_string((*record)->payload);
          EXPECT_TRUE(text == "stays" || text.starts_with("round")) << text;
        }
      }
    });
  }
  for (int round = 0; round < 30; ++round) {
    const Address keep = log->durable();
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(log->enqueue(RecordKind::kData,
                               as_bytes("round " + std::to_string(round) + std::string(3000, 'z')))
                      .has_value());
    }
    ASSERT_TRUE(log->truncate_after(keep).has_value());
    EXPECT_EQ(log->durable(), keep);
  }
  stop.store(true);
  for (std::thread& reader : readers)
    reader.join();
  EXPECT_EQ(payloads(*log), std::vector<std::string>{"stays"});
}

}  // namespace
}  // namespace tailrace::fasterlog
