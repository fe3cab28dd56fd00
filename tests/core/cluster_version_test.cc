// The page of the cluster's versions is what the table says.
//
//   TAILRACE_REWRITE=1 build/release/tests/core_test    writes the page anew
#include "core/cluster_version.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace tailrace {
namespace {

std::string where(WrittenTo to) {
  switch (to) {
    case WrittenTo::kMembersRecord:
      return "record of the members ([members.md](../formats/members.md))";
    case WrittenTo::kPromiseFile:
      return "`PROMISE` ([promise.md](../formats/promise.md))";
    case WrittenTo::kCommand:
      return "command ([command.md](../formats/command.md))";
  }
  return {};
}

std::string page() {
  std::stringstream out;
  out << "# Cluster versions\n\n"
         "<!-- Written by core_test from core/cluster_version.h: TAILRACE_REWRITE=1 -->\n\n"
         "A cluster's version is what all its members know. What a row names is written from its\n"
         "version on, and not before: an older program would stop where it meets it. This program\n"
         "goes on with clusters of versions "
      << kOldestClusterVersion << " to " << kClusterVersion
      << ".\n"
         "[releases.md](../operating/releases.md) says when a cluster goes over to a newer one.\n\n"
         "| from | what | where an older program would meet it |\n|---|---|---|\n";
  for (const FeatureInfo& feature : kFeatures)
    out << "| " << feature.since << " | " << feature.what << " | " << where(feature.to) << " |\n";
  return out.str();
}

TEST(ClusterVersions, ThePageSaysWhatTheTableSays) {
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(VERSIONS_PAGE) << page();
    return;
  }
  std::stringstream committed;
  committed << std::ifstream(VERSIONS_PAGE).rdbuf();
  EXPECT_EQ(committed.str(), page()) << "run this test with TAILRACE_REWRITE=1";
}

TEST(ClusterVersions, EachIsKnownFromItsVersionOn) {
  for (const FeatureInfo& feature : kFeatures) {
    EXPECT_GT(feature.since, kOldestClusterVersion) << feature.what;
    EXPECT_FALSE(knows(feature.since - 1, feature.feature)) << feature.what;
    EXPECT_TRUE(knows(feature.since, feature.feature)) << feature.what;
    EXPECT_TRUE(knows(kClusterVersion, feature.feature)) << feature.what;
  }
}

}  // namespace
}  // namespace tailrace
