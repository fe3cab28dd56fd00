// The page of the configuration is what the table says, and the table is what files may have.
//
//   TAILRACE_REWRITE=1 build/release/tests/config_test    writes the page anew

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "config/keys.h"
#include "tests/support/temporary_directory.h"

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

/// A file with this section, which has one key.
std::string with_key(const Key& key, const std::string& value) {
  std::string text = "cluster: c\nnode: 1\ndata_dir: /d\n";
  return text + std::string(key.section) + ": {" + std::string(key.name) + ": " + value + "}\n";
}

// Promise: a time of 0 is taken only where the page says what it means. Everywhere else it would
// close each connection at once, or have a node miss all others.
TEST(ConfigurationReference, NoTimeIsZeroUnlessThePageSaysSo) {
  const testing::TemporaryDirectory directory;
  const std::string file = (directory.path() / "node.yaml").string();
  const auto load = [&](const Key& key, const std::string& value) {
    std::ofstream(file) << with_key(key, value);
    return load_node_config(file);
  };
  size_t refused = 0;
  for (const Key& key : keys()) {
    if (key.form != Form::kTime && key.form != Form::kTimeOrNever) continue;
    const std::string path = std::string(key.section) + "." + std::string(key.name);
    EXPECT_LT(key.least, key.most) << path;
    if (key.form == Form::kTimeOrNever || key.least == 0) {
      EXPECT_NE(key.sentence.find(" 0 s: "), std::string::npos) << path;
      EXPECT_TRUE(load(key, "0 s")) << path;
    }
    // Other keys are read by code of their own.
    if (key.least == 0 || key.target == nullptr) continue;
    const bool in_seconds = key.least % 1000 == 0;
    const std::string low = key.form == Form::kTime ? "0 s" : in_seconds ? "999 ms" : "1 ms";
    const auto config = load(key, low);
    ASSERT_FALSE(config) << path;
    EXPECT_EQ(config.error().message.find(file + ":4: " + path + " is " + low + "; it must be "),
              0u)
        << config.error().message;
    ++refused;
  }
  EXPECT_GE(refused, 14u);
}

/// The keys that a section takes, by what it says to one that it does not know.
std::set<std::string> known_in(const std::string& section, const std::string& text) {
  const testing::TemporaryDirectory directory;
  const std::string file = (directory.path() / "node.yaml").string();
  std::ofstream(file) << text;
  const auto config = load_node_config(file);
  EXPECT_FALSE(config) << section;
  const std::string message = config ? "" : config.error().message;
  const std::string before =
      "unknown key '" + (section.empty() ? "" : section + ".") + "qqqqqqqqqqqq'; valid here:";
  const size_t at = message.find(before);
  EXPECT_NE(at, std::string::npos) << section << ": " << message;
  std::set<std::string> names;
  if (at == std::string::npos) return names;
  std::istringstream words(message.substr(at + before.size()));
  for (std::string word; words >> word;)
    names.insert(word);
  return names;
}

TEST(ConfigurationReference, TheTableHasTheKeysThatFilesMayHave) {
  const std::string head = "cluster: c\nnode: 1\ndata_dir: /d\n", odd = "qqqqqqqqqqqq: 1";
  const std::string member = "id: 1, peer: 'a:1', client: 'a:2'";
  const std::string members = "  members:\n    - {" + member + "}\n";
  const std::string etcd = "kind: etcd, endpoints: ['https://e:1']";
  const std::string of_static = "replication:\n  coordinator: {leader: 1}\n";
  std::set<std::string> sections;
  for (const Key& key : keys())
    sections.insert(std::string(key.section));
  for (const std::string& section : sections) {
    std::string text = head;
    // What a section has besides its keys: the ones below it.
    std::set<std::string> below;
    if (section.empty()) {
      text += odd + "\n";
      below = {"storage", "log",         "store",  "state_machine",
               "history", "replication", "server", "metrics"};
    } else if (section == "store.compaction") {
      text += "store: {compaction: {" + odd + "}}\n";
    } else if (section == "replication") {
      text += of_static + members + "  " + odd + "\n";
      below = {"coordinator", "members"};
    } else if (section == "replication.members[]") {
      text += of_static + "  members:\n    - {" + member + ", " + odd + "}\n";
    } else if (section == "replication.coordinator") {
      text += "replication:\n  coordinator: {" + etcd + ", " + odd + "}\n" + members;
      below = {"tls"};
    } else if (section == "replication.coordinator.tls") {
      text += "replication:\n  coordinator: {" + etcd + ", tls: {" + odd + "}}\n" + members;
    } else {
      text += section + ": {" + odd + "}\n";
      if (section == "store") below = {"compaction"};
    }
    const std::string shown =
        section == "replication.members[]" ? "replication.members[0]" : section;
    std::set<std::string> in_table = below;
    for (const Key& key : keys())
      if (key.section == section) in_table.insert(std::string(key.name));
    EXPECT_EQ(known_in(shown, text), in_table) << section;
  }
}

}  // namespace
}  // namespace tailrace::config
