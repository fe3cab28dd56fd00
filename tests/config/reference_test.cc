// The page of the configuration is what the table says, and the table is what files may have.
//
//   TAILRACE_REWRITE=1 build/release/tests/config_test    writes the page anew

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "config/keys.h"

namespace tailrace::config {
namespace {

TEST(ConfigurationReference, ThePageSaysWhatTheTableSays) {
  const std::string page = reference_page();
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(REFERENCE_PAGE) << page;
    return;
  }
  std::stringstream committed;
  committed << std::ifstream(REFERENCE_PAGE).rdbuf();
  EXPECT_EQ(committed.str(), page) << "run this test with TAILRACE_REWRITE=1";
}

TEST(ConfigurationReference, EveryKeyHasASentenceAndStandsThereOnce) {
  std::set<std::string> seen;
  for (const Key& key : keys()) {
    const std::string path = std::string(key.section) + "." + std::string(key.name);
    EXPECT_TRUE(seen.insert(path).second) << path;
    ASSERT_FALSE(key.sentence.empty()) << path;
    EXPECT_EQ(key.sentence.back(), '.') << path;
  }
  EXPECT_GT(seen.size(), 80u);
}

}  // namespace
}  // namespace tailrace::config
