#pragma once
// What the tests of the hybrid log share: a small log, and records whose bytes follow from a
// number.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "kv/log/cold_reader.h"
#include "kv/log/format.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/segments.h"
#include "storage/file_system.h"

namespace tailrace::kv {

constexpr uint64_t kTestPage = 32u << 10;

inline HybridLog::Options small_log(uint64_t pages = 4, uint64_t page_bytes = kTestPage) {
  HybridLog::Options options;
  options.directory = "/store/log";
  options.memory_bytes = pages * page_bytes;
  options.page_bytes = page_bytes;
  options.segment_bytes = 4 * page_bytes;
  options.huge_pages = false;
  return options;
}

/// The record of a number: its key says the number, its length and bytes follow from it.
inline std::string key_of(uint64_t number) {
  return "key " + std::to_string(number);
}
inline std::string value_of(uint64_t number, size_t most_bytes) {
  Random random(number + 1);
  std::string value(random.below(most_bytes + 1), '\0');
  random.fill(std::as_writable_bytes(std::span(value)));
  return value;
}

/// A log of numbered records.
struct TestLog {
  storage::FileSystem& file_system;
  HybridLog::Options options;
  size_t most_value_bytes = 600;
  storage::EpochProtection protection;
  LogProbe probe;
  std::unique_ptr<HybridLog> log;
  std::map<LogAddress, uint64_t> written;  // by the test's own thread

  explicit TestLog(storage::FileSystem& disk, const HybridLog::Options& wanted)
      : file_system(disk), options(wanted) {}

  void create() {
    auto made = HybridLog::create(file_system, options, protection, probe);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    log = std::move(*made);
  }
  Result<> recover(const HybridLog::Start& start, const HybridLog::Loading& loading = {}) {
    auto made = HybridLog::recover(file_system, options, protection, probe, start, loading);
    if (!made) return tl::unexpected(made.error());
    log = std::move(*made);
    return {};
  }

  /// Any thread.
  Result<LogAddress> append_record(uint64_t number) {
    const std::string key = key_of(number);
    const std::string value = value_of(number, most_value_bytes);
    const uint64_t bytes = Record::bytes_for(key.size(), value.size());
    for (;;) {
      {
        const storage::EpochProtection::Guard guard(protection);
        if (const auto address = log->allocate(bytes)) {
          Record* record = log->record(*address);
          record->initialise(0, 0, 1, as_bytes(key), value.size());
          record->set_first_value(as_bytes(value));
          return *address;
        }
      }
      TAILRACE_RETURN_IF_ERROR(log->wait_for_room(bytes));
    }
  }
  Result<> append(uint64_t number) {
    const auto address = append_record(number);
    if (!address) return tl::unexpected(address.error());
    written[*address] = number;
    return {};
  }
  void append_all(uint64_t from, uint64_t to) {
    for (uint64_t number = from; number < to; ++number) {
      const auto appended = append(number);
      ASSERT_TRUE(appended.has_value()) << appended.error().message;
    }
  }
  LogAddress fold() {
    const auto sealed = log->seal_tail(true);
    EXPECT_TRUE(sealed.has_value());
    const auto durable = log->make_durable(*sealed);
    EXPECT_TRUE(durable.has_value()) << durable.error().message;
    return *sealed;
  }

  void expect_record(Record* record, uint64_t number) {
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(to_string(record->key()), key_of(number));
    EXPECT_EQ(to_string(record->stable_value()), value_of(number, most_value_bytes)) << number;
  }

  /// All of `written` in [from, until) comes in order, and nothing else.
  Result<> expect_walk(LogAddress from, LogAddress until) {
    auto walker = LogWalker::create(file_system, *log, from, until);
    if (!walker) return tl::unexpected(walker.error());
    auto expected = written.lower_bound(from);
    const auto end = written.lower_bound(until);
    for (;;) {
      auto item = (*walker)->next();
      if (!item) return tl::unexpected(item.error());
      if (!*item) break;
      EXPECT_NE(expected, end);
      if (expected == end) return {};
      EXPECT_EQ((*item)->address, expected->first);
      expect_record((*item)->record, expected->second);
      ++expected;
    }
    EXPECT_EQ(expected, end);
    return {};
  }

  /// Reads the records below head, `ahead` at a time. The first error.
  Result<uint64_t> read_cold(LogAddress from, size_t depth, size_t ahead) {
    auto reader = ColdReader::create(file_system, *log, depth);
    if (!reader) return tl::unexpected(reader.error());
    const LogAddress head = log->head();
    auto next = written.lower_bound(from);
    uint64_t done = 0;
    std::vector<ColdReader::Completion> completions;
    for (;;) {
      while ((*reader)->in_flight() < ahead && next != written.end() && next->first < head) {
        (*reader)->start(next->first, next->second);
        ++next;
      }
      if ((*reader)->in_flight() == 0) return done;
      TAILRACE_RETURN_IF_ERROR((*reader)->poll(completions, std::chrono::seconds(10)));
      for (auto& completion : completions) {
        if (completion.error) return tl::unexpected(*completion.error);
        EXPECT_FALSE(completion.gone);
        EXPECT_EQ(written.at(completion.address), completion.token);
        expect_record(completion.record, completion.token);
        ++done;
      }
    }
  }
};

inline storage::Path segment_path(const HybridLog::Options& options, LogAddress address) {
  return options.directory / segment_file_name(align_down(address, options.segment_bytes));
}

inline HybridLog::Start start_of(const TestLog& log) {
  return {log.log->begin(), log.log->flushed(), log.log->tail()};
}

}  // namespace tailrace::kv
