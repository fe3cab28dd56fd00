#pragma once
// What a log must hold, kept in plain maps: the other side of log_model_test.cc.

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fasterlog/log.h"

namespace tailrace::fasterlog {

struct ModelRecord {
  Address end;
  std::string payload;
  RecordKind kind = RecordKind::kData;
  Epoch epoch;
  AddressRange batch;  // what was enqueued together
};

/// Enqueued and not cut; what is durable only the log knows, and `acknowledged` is what it
/// promised.
struct LogModel {
  std::map<Address, ModelRecord> records;
  std::optional<ConfigurationRecord> in_force;  // at begin
  Address begin = kFirstAddress;
  Address acknowledged = kFirstAddress;
  /// Truncations whose call failed: they have happened, or not.
  std::optional<Address> begin_in_doubt;  // begin may be as far as that
  std::optional<Address> cut_in_doubt;    // the end may be as low as that

  void add(Address first, ModelRecord record) {
    // Addresses of what a crash or a cut took are used again.
    ASSERT_TRUE(records.empty() || records.rbegin()->second.end <= first);
    records.emplace(first, std::move(record));
  }

  static ConfigurationRecord configuration_of(const std::pair<const Address, ModelRecord>& each) {
    const auto& [address, record] = each;
    const ByteSpan payload = as_bytes(record.payload);
    return {address, record.end, record.epoch, {payload.begin(), payload.end()}};
  }
  void check_configurations(const Log& log) const {
    ConfigurationTable expected;
    if (in_force) expected.push_back(*in_force);
    for (const auto& each : records) {
      if (each.second.kind == RecordKind::kConfiguration)
        expected.push_back(configuration_of(each));
    }
    ASSERT_TRUE(*log.configurations() == expected) << "the table is not that of the records";
  }

  /// All records of a scan, in its order, are those of the model from `from` on, without a gap.
  void check_record(const Record& record, Address& expected_from) const {
    const auto next = records.lower_bound(expected_from);
    ASSERT_NE(next, records.end())
        << "a record at " << record.address.value << " that was never enqueued, or cut";
    ASSERT_EQ(next->first.value, record.address.value)
        << "a record is missing, or at another place";
    check_content(record);
    expected_from = record.end;
  }
  void check_content(const Record& record) const {
    const auto found = records.find(record.address);
    ASSERT_NE(found, records.end()) << "no such record: " << record.address.value;
    const ModelRecord& model = found->second;
    ASSERT_EQ(record.end.value, model.end.value);
    ASSERT_EQ(static_cast<int>(record.kind), static_cast<int>(model.kind));
    ASSERT_EQ(record.epoch.value, model.epoch.value);
    ASSERT_TRUE(to_string(record.payload) == model.payload)
        << "other bytes at address " << record.address.value;
  }

  void drop_before(Address to) {
    begin = to;
    begin_in_doubt.reset();
    while (!records.empty() && records.begin()->first < to) {
      ASSERT_LE(records.begin()->second.batch.end, to) << "a truncation took half of a batch";
      if (records.begin()->second.kind == RecordKind::kConfiguration)
        in_force = configuration_of(*records.begin());
      records.erase(records.begin());
    }
  }
  void drop_after(Address to) {
    acknowledged = to;
    cut_in_doubt.reset();
    while (!records.empty() && records.rbegin()->first >= to) {
      ASSERT_GE(records.rbegin()->second.batch.first, to) << "half of a batch is left";
      records.erase(std::prev(records.end()));
    }
    if (!records.empty()) {
      ASSERT_LE(records.rbegin()->second.end, to) << "half of a record is left";
    }
  }

  /// `log` was opened after a crash, or a close: compares, and takes over what a crash decided.
  void take_over(Log& log, std::optional<Error>& failed) {
    const Address least_end = cut_in_doubt ? std::min(*cut_in_doubt, acknowledged) : acknowledged;
    ASSERT_GE(log.durable().value, least_end.value) << "what was acknowledged is missing";
    ASSERT_EQ(log.tail().value, log.durable().value);
    ASSERT_GE(log.begin().value, begin.value) << "what was truncated came back";
    ASSERT_LE(log.begin().value, std::max(begin, begin_in_doubt.value_or(begin)).value);
    drop_before(log.begin());
    if (::testing::Test::HasFatalFailure()) return;
    drop_after(log.durable());
    if (::testing::Test::HasFatalFailure()) return;
    check_all(log, {}, failed);
  }

  /// Every durable record of the log is in the model and the other way round; `failed` gets the
  /// error of a read that a broken disk refuses.
  void check_all(Log& log, Log::ScanOptions options, std::optional<Error>& failed) const {
    ASSERT_NO_FATAL_FAILURE(check_configurations(log));
    const Address durable = log.durable();
    const auto scanner = log.scan(log.begin(), options);
    Address expected = begin;
    Address mark_end = log.begin();
    for (;;) {
      auto record = scanner->next(Address::max());
      if (!record) {
        failed = record.error();
        return;
      }
      if (!*record) break;
      if ((*record)->kind == RecordKind::kCommitMark) {
        auto mark = parse_commit_mark(**record);
        ASSERT_TRUE(mark.has_value());
        ASSERT_EQ(mark->batch_begin.value, mark_end.value);
        mark_end = (*record)->end;
        continue;
      }
      check_record(**record, expected);
      if (::testing::Test::HasFatalFailure()) return;
    }
    const auto next = records.lower_bound(expected);
    if (next != records.end()) {
      ASSERT_GE(next->first.value, durable.value) << "a durable record is not shown";
      ASSERT_GE(next->second.batch.first, expected) << "half of a batch is shown";
    }
  }
};

}  // namespace tailrace::fasterlog
