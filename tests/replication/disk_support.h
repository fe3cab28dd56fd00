#pragma once
// Nodes whose votes are of disks, for the tests of disks, of lives and of the cluster's version.

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {

inline constexpr uint64_t kOwnDisk = 9, kDiskOfTwo = 7, kDiskOfThree = 7;
inline constexpr AddressRange kRecordAt{Address{64}, Address{192}};

inline Members voters_with_disks() {
  Members members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  members[0].incarnation = kOwnDisk;
  members[1].incarnation = kDiskOfTwo;
  members[2].incarnation = kDiskOfThree;
  return members;
}

/// A log [64, 192) of epoch 1 that is a record of these members.
inline LogPosition log_with(const Members& members, uint32_t version = kClusterVersion) {
  LogPosition log = log_of(64, 192, {{Epoch{1}, Address{64}}});
  fasterlog::ConfigurationTable table;
  MembersRecord record{members, version};
  if (knows(version, Feature::kClusterIdentity)) record.identity = {1, 2};
  table.push_back({kRecordAt.first, kRecordAt.end, Epoch{1}, encode_members(record)});
  log.configurations = std::make_shared<const fasterlog::ConfigurationTable>(std::move(table));
  return log;
}

inline Given by_disk(uint64_t starts = 1) {
  Given given;
  given.members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  given.log = log_with(voters_with_disks());
  given.promise.epoch = Epoch{1};
  given.promise.starts = starts;
  return given;
}

inline Introduction of(uint64_t incarnation, uint64_t starts, uint64_t run) {
  Introduction result;
  result.version = kClusterVersion;
  result.life = {incarnation, starts, run};
  return result;
}

inline void sealed_by(Driven& core, NodeId voter, uint64_t incarnation, Epoch owed_epoch = {},
                      Address owed = {}) {
  core.receive(voter, Sealed{core.state().epoch, Epoch{1}, Address{64}, Address{192}, incarnation,
                             Vote::kFull, owed_epoch, owed});
}

/// Leads epoch 5 by node 2's word; both have the epoch-start record.
inline Driven serving_by_disk(Given given) {
  Driven core(kOne, std::move(given));
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo);
  core.enqueue_epoch_start();
  core.durable(228, Epoch{5});
  core.subscribe(kTwo, 228, Epoch{5}, Vote::kFull, kDiskOfTwo);
  core.acknowledge(kTwo, 228);
  EXPECT_TRUE(core.state().leadership.serving);
  return core;
}

}  // namespace tailrace::replication
