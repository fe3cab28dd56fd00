#pragma once
// The versions of a cluster: from which one on each thing is written that an older program does not
// know. A cluster's version is what all its members know; the record of the members says it
// (replication/protocol/membership.h), and nothing newer enters a log or a file before. Everything
// that depends on it asks this table; tests/core/cluster_version_test.cc compares it with
// docs/reference/versions.md.
//
// To add something: a row of a new version behind the others (its number is kClusterVersion from
// then on), and `knows(cluster_version, Feature::…)` where it is written. A program that knows less
// than its cluster stops, and says so; so what is only read, or only said in answer to a question,
// needs no row.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tailrace {

enum class Feature : uint8_t {
  kDisksOfVotes,
  kPromiseCountsStarts,
  kRules,
  kCompare,
  kSessionLimits,
  kClusterIdentity,
  kPromiseNamesCluster,
  kInsert,
  kTxn,
  kPositions,
  kScavenge,
  kLast = kScavenge,
};

/// Where an older program would meet it.
enum class WrittenTo : uint8_t { kMembersRecord, kPromiseFile, kCommand };

struct FeatureInfo {
  Feature feature;
  uint32_t since;  // the cluster's version
  WrittenTo to;
  std::string_view what;
};

// clang-format off
inline constexpr std::array kFeatures{
    FeatureInfo{Feature::kDisksOfVotes,        2, WrittenTo::kMembersRecord, "layout 2: the disk that votes for each voter"},
    FeatureInfo{Feature::kPromiseCountsStarts, 2, WrittenTo::kPromiseFile,   "version 3: the disk's starts, and the lives of others that were seen (a new disk has it from the beginning)"},
    FeatureInfo{Feature::kRules,               2, WrittenTo::kCommand,       "`rules`: by what state is applied"},
    FeatureInfo{Feature::kCompare,             2, WrittenTo::kCommand,       "`compare`: all nodes digest their states"},
    FeatureInfo{Feature::kSessionLimits,       3, WrittenTo::kCommand,       "`rules` of version 2: limits of what all sessions take"},
    FeatureInfo{Feature::kClusterIdentity,     4, WrittenTo::kMembersRecord, "layout 3: which cluster it is"},
    FeatureInfo{Feature::kPromiseNamesCluster, 4, WrittenTo::kPromiseFile,   "version 4: which cluster the disk belongs to"},
    FeatureInfo{Feature::kInsert,              4, WrittenTo::kCommand,       "`insert`: a compare-and-swap against an absent key"},
    FeatureInfo{Feature::kTxn,                 5, WrittenTo::kCommand,       "`txn`: checks and effects on keys and streams, together"},
    FeatureInfo{Feature::kPositions,           5, WrittenTo::kCommand,       "`rules` of version 3: keys remember where they were last modified"},
    FeatureInfo{Feature::kScavenge,            6, WrittenTo::kCommand,       "`scavenge`: event files are to be without dead events"},
};
// clang-format on

/// A row for each, in the order of the enum, and versions that do not descend.
constexpr bool features_are_in_order() {
  for (size_t row = 0; row < kFeatures.size(); ++row) {
    if (static_cast<size_t>(kFeatures[row].feature) != row) return false;
    if (row > 0 && kFeatures[row].since < kFeatures[row - 1].since) return false;
  }
  return kFeatures.size() == static_cast<size_t>(Feature::kLast) + 1;
}
static_assert(features_are_in_order());

/// The oldest version of a cluster whose log this program can go on with, and the newest.
inline constexpr uint32_t kOldestClusterVersion = 1;
inline constexpr uint32_t kClusterVersion = kFeatures.back().since;

constexpr uint32_t since(Feature feature) {
  return kFeatures[static_cast<size_t>(feature)].since;
}
/// Whether all members of a cluster of that version know it.
constexpr bool knows(uint32_t cluster_version, Feature feature) {
  return cluster_version >= since(feature);
}

}  // namespace tailrace
