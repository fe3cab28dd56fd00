// Keys and values of every size at which a record's form changes.

#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

std::string patterned(size_t bytes, uint64_t number) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    text[i] = static_cast<char>((i * 7 + number * 31 + i / 256) % 256);
  return text;
}

/// Around the words, the longest narrow key (255), the largest narrow room (4088), blocks and
/// pages.
std::vector<size_t> key_sizes() {
  return {0, 1, 7, 8, 9, 15, 16, 254, 255, 256, 257, 4095, 4096};
}
std::vector<size_t> value_sizes() {
  return {0, 1, 7, 8, 9, 16, 63, 64, 4079, 4080, 4081, 4087, 4088, 4089, 4095, 4096, 4097, 9000};
}

// Promise: whatever the lengths, what was written is read: from the mutable region, from disk,
// after growing and shrinking in place and by copy, and after a checkpoint of each kind and an
// opening.
TEST(RecordSizes, EachIsReadAsItWasWrittenFromEveryRegion) {
  for (const CheckpointKind kind :
       {CheckpointKind::kFoldOver, CheckpointKind::kSnapshot, CheckpointKind::kIncremental}) {
    SCOPED_TRACE(name_of(kind));
    testing::FaultFileSystem disk(1);
    const StoreOptions options = tiny_options("/kv");
    auto store = open_or_die(disk, options);
    auto session = session_or_die(*store, 1);
    ASSERT_NE(session, nullptr);
    Model model;
    Serial serial = 0;
    const auto expect_all = [&] {
      std::string value;
      for (const auto& [key, known] : model) {
        const auto read = session->read(as_bytes(key), value);
        ASSERT_TRUE(read.has_value()) << key.size() << ": " << read.error().message;
        ASSERT_TRUE(value == known) << "key of " << key.size() << ", value of " << known.size()
                                    << " bytes is one of " << value.size();
      }
    };
    for (uint64_t round = 0; round < 3; ++round) {
      uint64_t number = 0;
      for (const size_t key_bytes : key_sizes()) {
        for (size_t i = 0; i < value_sizes().size(); ++i) {
          // One key for each pair of sizes, where there are so many keys; the sizes change places.
          const std::string key = patterned(key_bytes, key_bytes > 1 ? number : 0);
          const size_t bytes = value_sizes()[(number + round * 5) % value_sizes().size()];
          model[key] = patterned(bytes, number + round);
          const auto written = session->upsert(as_bytes(key), as_bytes(model[key]), ++serial);
          ASSERT_TRUE(written.has_value()) << written.error().message;
          std::string at_once;
          ASSERT_TRUE(session->read(as_bytes(key), at_once));
          ASSERT_TRUE(at_once == model[key]);
          ++number;
        }
      }
      ASSERT_NO_FATAL_FAILURE(expect_all());
      // Another length by read-modify-write, of whatever region.
      for (auto& [key, known] : model) {
        const size_t bytes = (known.size() * 3 + round) % 5000;
        const auto modify = [bytes, &known = known](const ByteSpan* present, std::string& next) {
          EXPECT_TRUE(present != nullptr && as_text(*present) == known);
          next = patterned(bytes, bytes);
          return Modification::kWrite;
        };
        ASSERT_TRUE(session->rmw(as_bytes(key), modify, ++serial));
        known = patterned(bytes, bytes);
      }
      ASSERT_NO_FATAL_FAILURE(expect_all());
      session->refresh(serial);
      const auto info = checkpoint(*store, kind, round % 2 == 0);
      ASSERT_TRUE(info.has_value()) << info.error().message;
      session.reset();
      store.reset();
      disk.crash(testing::CrashPolicy::kLoseUnsynced);
      store = open_or_die(disk, options);
      session = session_or_die(*store, 1);
      ASSERT_NE(session, nullptr);
      ASSERT_NO_FATAL_FAILURE(expect_all());
      ASSERT_TRUE(contents(*store) == model);
    }
  }
}

// Promise: the largest record fits, one byte more is refused by name and changes nothing, whichever
// operation makes it.
TEST(RecordSizes, TheLargestRecordFitsAndALargerIsRefused) {
  testing::FaultFileSystem disk(1);
  const StoreOptions options = tiny_options("/kv");
  auto store = open_or_die(disk, options);
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  const size_t most = store->max_record_bytes();
  EXPECT_GT(most, options.page_bytes * 3 / 4);
  for (const size_t key_bytes : {size_t{1}, size_t{3}, size_t{300}, most / 2, most}) {
    SCOPED_TRACE("key of " + std::to_string(key_bytes));
    const std::string key = patterned(key_bytes, 1);
    const std::string largest = patterned(most - key_bytes, 2);
    const std::string larger = largest + "x";
    const std::string absent(key_bytes, 'a');
    std::string value;
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(largest), ++serial));
    ASSERT_TRUE(session->read(as_bytes(key), value));
    ASSERT_TRUE(value == largest);
    const auto expect_refused = [](const Result<>& result) {
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument) << result.error().message;
    };
    const auto grow = [&](const ByteSpan*, std::string& next) {
      next = larger;
      return Modification::kWrite;
    };
    expect_refused(session->upsert(as_bytes(key), as_bytes(larger), ++serial));
    expect_refused(session->rmw(as_bytes(key), grow, ++serial).map([](Modification) {}));
    expect_refused(
        session->compare_and_swap(as_bytes(key), as_bytes(largest), as_bytes(larger), ++serial)
            .map([](bool) {}));
    expect_refused(
        session->insert_if_absent(as_bytes(absent), as_bytes(larger), ++serial).map([](bool) {}));
    ASSERT_TRUE(session->read(as_bytes(key), value));
    ASSERT_TRUE(value == largest);
    // From disk as well.
    for (int number = 0; number < 200; ++number) {
      ASSERT_TRUE(session->upsert(as_bytes("filling" + std::to_string(number)),
                                  as_bytes(std::string(1500, 'f')), ++serial));
    }
    ASSERT_TRUE(session->read(as_bytes(key), value));
    ASSERT_TRUE(value == largest);
    expect_refused(session->rmw(as_bytes(key), grow, ++serial).map([](Modification) {}));
  }
  EXPECT_FALSE(session->upsert(as_bytes(std::string(most + 1, 'k')), {}, ++serial));
}

}  // namespace
}  // namespace tailrace::kv
