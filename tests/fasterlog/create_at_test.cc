// A log that begins where another one's checkpoint ends: Log::create_at() and mark_end_at().

#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

class CreateAt : public LogFixture {
 protected:
  /// Epochs 2 and 5, a dozen records in each, every one a batch of its own.
  std::unique_ptr<Log> source() {
    auto log = open_writer(options("source"), Epoch{2});
    for (int i = 0; i < 12; ++i)
      ends_.push_back(append(*log, "old " + std::to_string(i)).end);
    EXPECT_TRUE(log->become_writer(Epoch{5}).has_value());
    for (int i = 0; i < 12; ++i)
      ends_.push_back(append(*log, "new " + std::to_string(i)).end);
    return log;
  }
  static std::vector<EpochStart> epochs_before(const Log& log, Address begin) {
    std::vector<EpochStart> all = log.epoch_table();
    std::erase_if(all, [&](const EpochStart& epoch) { return epoch.start >= begin; });
    return all;
  }
  std::vector<Address> ends_;
};

// What a copied log takes is the source's bytes at the source's addresses, and it is there again
// after a restart, wherever it begins.
TEST_F(CreateAt, TakesTheBytesFromThereOnAndKeepsThem) {
  const auto log = source();
  for (size_t at = 0; at < ends_.size(); ++at) {
    const auto begin = log->mark_end_at(ends_[at]);
    ASSERT_TRUE(begin.has_value()) << begin.error().message;
    EXPECT_LE(*begin, ends_[at]) << "the mark that ends the record's batch stands behind it";
    const std::string name = "copy " + std::to_string(at);
    const auto made = Log::create_at(storage::posix_file_system(), options(name.c_str()), *begin,
                                     epochs_before(*log, *begin));
    ASSERT_TRUE(made.has_value()) << made.error().message;
    std::vector<std::byte> bytes;
    ASSERT_TRUE(log->read_raw(*begin, 1u << 20, bytes).has_value());
    {
      const auto copy = open(options(name.c_str()));
      ASSERT_NE(copy, nullptr);
      EXPECT_EQ(copy->begin(), *begin);
      EXPECT_EQ(copy->durable(), *begin);
      // It knows the epoch of what came before, and no older one.
      if (*begin == kFirstAddress) {
        EXPECT_TRUE(copy->epoch_table().empty());
      } else {
        ASSERT_EQ(copy->epoch_table().size(), 1u);
        EXPECT_EQ(copy->epoch_table().back(), epochs_before(*log, *begin).back());
      }
      ASSERT_TRUE(copy->become_copy().has_value());
      ASSERT_TRUE(copy->try_append_raw(*begin, bytes).has_value());
      ASSERT_TRUE(copy->wait_durable(log->durable()).has_value());
      EXPECT_EQ(payloads(*copy), payloads(*log, *begin));
    }
    const auto again = open(options(name.c_str()));
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(again->begin(), *begin);
    EXPECT_EQ(again->durable(), log->durable());
    EXPECT_EQ(payloads(*again), payloads(*log, *begin));
    std::vector<EpochStart> table = log->epoch_table();
    while (table.size() > 1 && table[1].start < *begin)
      table.erase(table.begin());
    EXPECT_EQ(again->epoch_table(), table);
    // And it can lead.
    ASSERT_TRUE(again->become_writer(Epoch{6}).has_value());
    append(*again, "more");
  }
}

// An empty copy survives being opened and closed, with the epoch of what it does not hold.
TEST_F(CreateAt, StaysEmptyAndKnowsItsEpoch) {
  const auto log = source();
  const Address begin = log->durable();
  ASSERT_TRUE(
      Log::create_at(storage::posix_file_system(), options(), begin, epochs_before(*log, begin))
          .has_value());
  for (int i = 0; i < 2; ++i) {
    const auto copy = open();
    ASSERT_NE(copy, nullptr);
    EXPECT_EQ(copy->begin(), begin);
    EXPECT_EQ(copy->tail(), begin);
    EXPECT_EQ(copy->last_epoch(), Epoch{5});
    ASSERT_TRUE(copy->close().has_value());
  }
}

TEST_F(CreateAt, ChangesNoLogThatIsThere) {
  (void)source();
  const auto refused =
      Log::create_at(storage::posix_file_system(), options("source"), Address{4096}, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(open(options("source"))->begin(), kFirstAddress);
}

TEST_F(CreateAt, RefusesImpossiblePlaces) {
  for (const auto& [begin, epochs] : std::vector<std::pair<Address, std::vector<EpochStart>>>{
           {Address{0}, {}}, {Address{4097}, {}}, {Address{4096}, {{Epoch{3}, Address{4096}}}}}) {
    const auto refused = Log::create_at(storage::posix_file_system(), options(), begin, epochs);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(CreateAt, AMarksEndIsLookedForWhereTheLogIs) {
  const auto log = source();
  ASSERT_TRUE(log->truncate_before(ends_[3]).has_value());
  EXPECT_EQ(log->mark_end_at(log->begin()).value(), log->begin());
  EXPECT_EQ(log->mark_end_at(log->begin() - 8).error().code, ErrorCode::kTruncated);
  EXPECT_EQ(log->mark_end_at(log->durable() + 8).error().code, ErrorCode::kOutOfRange);
  EXPECT_EQ(log->mark_end_at(log->durable()).value(), log->durable());
}

}  // namespace
}  // namespace tailrace::fasterlog
