#include "config/node_config.h"

#include <fstream>

#include <gtest/gtest.h>

#include "config/yaml_reader.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::config {
namespace {

constexpr const char* kGood =
    "cluster: c\n"
    "node: 2\n"
    "data_dir: /d\n"
    "replication:\n"
    "  coordinator: {kind: static, leader: 1}\n"
    "  members:\n"
    "    - {id: 1, peer: 'a:1', client: 'a:2'}\n"
    "    - {id: 2, peer: 'b:1', client: 'b:2', voter: false}\n";

class NodeConfigTest : public ::testing::Test {
 protected:
  Result<NodeConfig> load(const std::string& text) {
    std::ofstream(file_) << text;
    return load_node_config(file_);
  }
  /// The text is refused with a message that has all these parts.
  void expect_refused(const std::string& text, const std::vector<std::string>& parts) {
    const auto config = load(text);
    ASSERT_FALSE(config) << text;
    for (const std::string& part : parts) {
      EXPECT_NE(config.error().message.find(part), std::string::npos)
          << part << " is not in: " << config.error().message;
    }
  }

  testing::TemporaryDirectory directory_;
  std::string file_ = (directory_.path() / "node.yaml").string();
};

TEST_F(NodeConfigTest, FillsEachModulesOptions) {
  const auto config =
      load(std::string(kGood) + "log: {page_bytes: 8 MiB, buffer_pages: 8}\n" +
           "state_machine: {session_ttl: 2 h, sessions: 5000, answers_bytes: 2 MiB, "
           "answer_value_bytes: 100, retention_bytes: 10 GiB}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node.self, NodeId{2});
  EXPECT_EQ(config->node.leader, NodeId{1});
  ASSERT_EQ(config->node.members.size(), 2u);
  EXPECT_FALSE(config->node.members[1].voter);
  EXPECT_EQ(config->peers.listen, "b:1");
  EXPECT_EQ(config->log.page_bytes, 8u << 20);
  EXPECT_EQ(config->log.directory, storage::Path("/d/log"));
  EXPECT_EQ(config->log.owner, "c/2");
  EXPECT_EQ(config->state_machine.session_ttl, std::chrono::hours(2));
  const statemachine::SessionLimits limits{5000, 100, 2u << 20};
  EXPECT_EQ(config->state_machine.session_limits, limits);
  EXPECT_EQ(config->state_machine.retention_bytes, 10ull << 30);
}

// Promise: where a node listens and where others are told that it is are two things; the second is
// never one that nobody can connect to.
TEST_F(NodeConfigTest, ListensElsewhereThanItAdvertises) {
  // kGood ends within `replication`.
  const auto config =
      load(std::string(kGood) + "  listen: '0.0.0.0:7200'\nserver: {listen: '[::]:7100'}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->peers.listen, "0.0.0.0:7200");
  EXPECT_EQ(config->server.listen, "[::]:7100");
  EXPECT_EQ(config->node.members[1].peer_address, "b:1");
  auto moved = *config;
  place_in_directory(moved, "/elsewhere");
  EXPECT_EQ(moved.peers.listen, "0.0.0.0:7200");
  expect_refused(std::string(kGood) + "  listen: nowhere\n", {"replication.listen", "HOST:PORT"});
  for (const std::string key : {"peer", "client"}) {
    const std::string other = key == "peer" ? "client" : "peer";
    for (const std::string address : {"0.0.0.0:7", "[::]:7", "c:0"})
      expect_refused(
          std::string(kGood) + "    - {id: 3, " + other + ": 'c:9', " + key + ": '" + address +
              "'}\n",
          {"members[2]." + key, address, key == "peer" ? "replication.listen" : "server.listen"});
  }
  const std::string alone = "cluster: c\nnode: 1\ndata_dir: /d\n";
  expect_refused(alone + "replication: {listen: '0.0.0.0:7200'}\n",
                 {"replication.listen", "name the members"});
  EXPECT_EQ(single_node_config("/d").node.members[0].client_address, "");
  EXPECT_EQ(single_node_config("/d", "a:1").node.members[0].client_address, "a:1");
}

// What clients may cost has a default that fits the frames, and is not made to fit in silence.
TEST_F(NodeConfigTest, MemoryForClientsFitsTheFrames) {
  EXPECT_EQ(load(kGood)->server.memory_bytes, 256u << 20);
  const std::string alone = "cluster: c\nnode: 1\ndata_dir: /d\n";
  EXPECT_EQ(load(alone + "server: {max_frame_bytes: 128 MiB}\n")->server.memory_bytes, 512u << 20);
  const auto small = load(alone + "server: {max_frame_bytes: 128 MiB, memory_bytes: 256 MiB}\n");
  ASSERT_FALSE(small);
  EXPECT_NE(small.error().message.find("four times max_frame_bytes"), std::string::npos);
  EXPECT_EQ(load(alone + "storage: {io: posix}\n")->io, storage::IoChoice::kPosix);
  EXPECT_FALSE(load(alone + "storage: {io: fast}\n"));
}

TEST_F(NodeConfigTest, FillsTheStoresOptions) {
  const auto config = load(std::string(kGood) +
                           "store:\n"
                           "  memory_bytes: 128 MiB\n"
                           "  disk_bytes: 4 GiB\n"
                           "  segment_bytes: 64 MiB\n"
                           "  index_grows: false\n"
                           "  copy_reads_to_tail: true\n"
                           "  check_log_at_open: false\n"
                           "  recovery_threads: 3\n"
                           "  compaction: {automatic: false, target_utilisation: 0.25,\n"
                           "    bytes_per_s: 1 MiB, least_log_bytes: 2 MiB,\n"
                           "    quiet_from_hour: 22, quiet_to_hour: 6}\n"
                           "state_machine: {checkpoint_kind: incremental}\n"
                           "server: {scan_idle_timeout: 5 s, max_unapplied_bytes: 8 MiB}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->store.memory_bytes, 128u << 20);
  EXPECT_EQ(config->store.disk_bytes, uint64_t{4} << 30);
  EXPECT_EQ(config->store.segment_bytes, 64u << 20);
  EXPECT_FALSE(config->store.index_grows);
  EXPECT_TRUE(config->store.copy_reads_to_tail);
  EXPECT_FALSE(config->store.check_log_at_open);
  EXPECT_EQ(config->store.recovery_threads, 3u);
  EXPECT_FALSE(config->store.compaction.automatic);
  EXPECT_EQ(config->store.compaction.target_utilisation, 0.25);
  EXPECT_EQ(config->store.compaction.bytes_per_s, 1u << 20);
  EXPECT_EQ(config->store.compaction.least_log_bytes, 2u << 20);
  EXPECT_EQ(config->store.compaction.quiet_from_hour, 22u);
  EXPECT_EQ(config->store.compaction.quiet_to_hour, 6u);
  EXPECT_EQ(config->state_machine.checkpoint_kind, kv::CheckpointKind::kIncremental);
  EXPECT_EQ(config->server.scan_idle_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->server.max_unapplied_bytes, 8u << 20);
  expect_refused(std::string(kGood) + "state_machine: {checkpoint_kind: whole}\n",
                 {"checkpoint_kind", "fold_over"});
  expect_refused(std::string(kGood) + "store: {segment_bytes: 1 MiB}\n",
                 {"store.segment_bytes", "less than page_bytes"});
  expect_refused(std::string(kGood) + "store: {disk_bytes: 64 MiB}\n",
                 {"store.disk_bytes", "less than four segments"});
}

TEST_F(NodeConfigTest, ALeaderDoesNotGiveUpBeforeItCouldMissAnyone) {
  // kGood ends within `replication`.
  const auto config =
      load(std::string(kGood) + "  give_up_after: 9 s\n  transfer_timeout: 500 ms\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node.give_up_after, std::chrono::seconds(9));
  EXPECT_EQ(config->node.transfer_timeout, std::chrono::milliseconds(500));
  expect_refused(std::string(kGood) + "  give_up_after: 1 s\n",
                 {file_ + ":9: replication.give_up_after is 1 s", "at least peer_timeout (3 s)"});
  expect_refused(std::string(kGood) + "  peer_timeout: 300 ms\n",
                 {file_ + ":9: replication.peer_timeout is 300 ms",
                  "at least twice heartbeat_interval (200 ms)"});
}

TEST_F(NodeConfigTest, WhatComparesStatesHasARateAndAPatience) {
  const auto plain = load(kGood);
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->node.digest_interval, std::chrono::seconds(60));
  const auto config = load(std::string(kGood) +
                           "  digest_interval: 0 s\n  apply_stall_after: 3 s\n"
                           "state_machine: {digest_bytes_per_s: 1 MiB}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node.digest_interval.count(), 0);
  EXPECT_EQ(config->node.apply_stall_after, std::chrono::seconds(3));
  EXPECT_EQ(config->state_machine.digest_bytes_per_s, 1u << 20);
  expect_refused(std::string(kGood) + "  digest_interval: 10 ms\n",
                 {"replication.digest_interval", "0 s (never)", "at least 1 s"});
  expect_refused(std::string(kGood) + "  apply_stall_after: 0 s\n",
                 {"replication.apply_stall_after", "at least 1 s"});
}

TEST_F(NodeConfigTest, TheExamplesAreValid) {
  for (const std::string example : {"three-node", "three-node-etcd"}) {
    for (int node = 1; node <= 3; ++node) {
      const auto config = load_node_config(std::string(EXAMPLES) + "/" + example + "/node" +
                                           std::to_string(node) + ".yaml");
      ASSERT_TRUE(config) << config.error().message;
      EXPECT_EQ(config->server.listen, "127.0.0.1:710" + std::to_string(node));
      EXPECT_EQ(config->peers.listen, "127.0.0.1:720" + std::to_string(node));
      EXPECT_EQ(config->metrics.listen, "127.0.0.1:910" + std::to_string(node));
      const bool etcd = config->coordinator.kind == CoordinatorConfig::Kind::kEtcd;
      EXPECT_EQ(etcd, example == "three-node-etcd");
      if (etcd) {
        EXPECT_EQ(config->coordinator.etcd.endpoints,
                  std::vector<std::string>{"http://127.0.0.1:2379"});
      }
    }
  }
}

TEST_F(NodeConfigTest, FillsTheOptionsOfTheCoordinatorEtcd) {
  const std::string text = kGood;
  const std::string line = "  coordinator: {kind: static, leader: 1}\n";
  const auto with = [&](const std::string& settings) {
    std::string changed = text;
    return changed.replace(changed.find(line), line.size(),
                           "  coordinator: {kind: etcd" + settings + "}\n");
  };
  const std::string endpoints = ", endpoints: ['http://a:2379', 'https://b:2379']";
  auto config = load(with(endpoints));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node.leader, NodeId{});
  EXPECT_EQ(config->coordinator.etcd.prefix, "/tailrace");
  EXPECT_EQ(config->coordinator.etcd.self, NodeId{2});
  EXPECT_EQ(config->coordinator.etcd.cluster, "c");
  EXPECT_EQ(config->coordinator.etcd.peer_address, "b:1");

  config = load(with(endpoints + ", prefix: /x, lease_ttl: 8 s, call_timeout: 250 ms, username: u, "
                                 "password_file: /p, tls: {ca: /ca, certificate: /c, key: /k}"));
  ASSERT_TRUE(config) << config.error().message;
  const rpc::EtcdCoordinatorOptions& etcd = config->coordinator.etcd;
  EXPECT_EQ(etcd.endpoints, (std::vector<std::string>{"http://a:2379", "https://b:2379"}));
  EXPECT_EQ(etcd.prefix, "/x");
  EXPECT_EQ(etcd.lease_ttl, std::chrono::seconds(8));
  EXPECT_EQ(etcd.call_timeout, std::chrono::milliseconds(250));
  EXPECT_EQ(etcd.username, "u");
  EXPECT_EQ(etcd.password_file, "/p");
  EXPECT_EQ(etcd.tls.ca, "/ca");
  EXPECT_EQ(etcd.tls.certificate, "/c");
  EXPECT_EQ(etcd.tls.key, "/k");

  const std::string at = file_ + ":5: replication.coordinator.";
  expect_refused(with(""), {at + "endpoints", "missing", "http://"});
  expect_refused(with(", endpoints: []"), {at + "endpoints", "missing"});
  expect_refused(with(", endpoints: http://a:2379"), {at + "endpoints", "list"});
  expect_refused(with(", endpoints: ['a:2379']"), {at + "endpoints", "'a:2379'", "http://"});
  expect_refused(with(endpoints + ", leader: 1"), {at + "leader", "static"});
  expect_refused(with(endpoints + ", lease_ttl: 1 s"), {at + "lease_ttl", "2 s"});
  expect_refused(with(endpoints + ", lease_ttl: 2500 ms"),
                 {at + "lease_ttl is 2500 ms", "whole seconds"});
  expect_refused(with(endpoints + ", call_timeout: 2 s"), {at + "call_timeout", "lease_ttl"});
  expect_refused(with(endpoints + ", prefix: tailrace"), {at + "prefix", "slash"});
  expect_refused(with(endpoints + ", username: u"), {at + "username", "password_file"});
  expect_refused(with(endpoints + ", tls: {key: /k}"), {at + "tls.key", "certificate"});
  expect_refused(with(", endpoints: ['http://a:1'], tls: {ca: /c}"), {at + "tls", "https://"});
  expect_refused(with(endpoints + ", lease_tll: 3 s"),
                 {file_ + ":5:", "'replication.coordinator.lease_tll'", "'lease_ttl'"});
  expect_refused(std::string(kGood).replace(text.find(line), line.size(),
                                            "  coordinator: {leader: 1, endpoints: []}\n"),
                 {at + "endpoints", "kind: etcd"});
  expect_refused(
      std::string(kGood).replace(text.find(line), line.size(), "  coordinator: {kind: raft}\n"),
      {at + "kind", "'raft'", "static or etcd"});
}

// A slip of the finger never silently leaves a default in force.
TEST_F(NodeConfigTest, AnUnknownKeyIsNamedWithFileLineAndTheNearestValidOne) {
  expect_refused(std::string(kGood) + "log:\n  page_byte: 8 MiB\n",
                 {file_ + ":10:", "log.page_byte", "did you mean 'page_bytes'"});
  expect_refused("cluser: c\nnode: 1\ndata_dir: /d\n", {file_, "cluster"});
  expect_refused(std::string(kGood) + "metrics: {zzzzzz: 1}\n", {"metrics.zzzzzz", "listen"});
}

// A key as the documents spell it, or of another section, is told its place.
TEST_F(NodeConfigTest, AKeyInTheWrongPlaceIsToldTheRightOne) {
  const std::string good = kGood;
  const std::string place = "write `old_names: false` below `metrics:`";
  expect_refused(good + "metrics.old_names: false\n", {file_ + ":9:", place});
  expect_refused(good + "old_names: false\n", {file_ + ":9:", place});
  expect_refused(good + "server: {old_names: false}\n", {file_ + ":9:", place});
  expect_refused(good + "store: {compaction.automatic: false}\n",
                 {"write `automatic: false` below `compaction:` of `store:`"});
  expect_refused(good + "listen: 'h:1'\n",
                 {"below `replication:` or `server:` or `metrics:`", "write `listen: h:1`"});
  // Without a value it is named with its own line.
  expect_refused(good + "metrics:\n  old_names:\n\nlog_level: info\n",
                 {file_ + ":10: metrics.old_names has no value"});
}

/// A slip in a key would leave the default in force, and nobody would know.
TEST_F(NodeConfigTest, AnUnknownKeyIsRefusedInEverySection) {
  const std::string alone = "cluster: c\nnode: 1\ndata_dir: /d\n";
  for (const std::string section :
       {"storage", "log", "store", "state_machine", "server", "metrics", "replication"})
    expect_refused(alone + section + ": {zzzzzz: 1}\n", {section + ".zzzzzz"});
  expect_refused(alone + "store: {compaction: {zzzzzz: 1}}\n", {"store.compaction.zzzzzz"});
  expect_refused(alone + "replication: {coordinator: {kind: static, leader: 1, zzzzzz: 1}}\n",
                 {"replication.coordinator.zzzzzz"});
  expect_refused(
      alone +
          "replication: {coordinator: {kind: etcd, endpoints: [\"https://127.0.0.1:2379\"], "
          "tls: {zzzzzz: 1}}}\n",
      {"replication.coordinator.tls.zzzzzz"});
  expect_refused(
      alone + "replication: {members: [{id: 1, peer: \"h:1\", client: \"h:2\", zzzzzz: 1}]}\n",
      {"zzzzzz"});
}

TEST_F(NodeConfigTest, AKeyGivenTwiceIsRefused) {
  expect_refused(std::string(kGood) + "node: 1\n", {file_ + ":9:", "node", "twice"});
}

TEST_F(NodeConfigTest, ImpossibleValuesAreNamedWithTheirLimits) {
  const std::string good = kGood;
  expect_refused(good + "log: {page_bytes: 5 MiB}\n", {"log.page_bytes", "power of two"});
  expect_refused(good + "log: {page_bytes: 4 KiB}\n", {"log.page_bytes", "65536"});
  expect_refused(good + "log: {page_bytes: many}\n", {"log.page_bytes", "many", "MiB"});
  expect_refused(good + "log: {buffer_pages: 1}\n", {"log.buffer_pages", "from 4"});
  expect_refused(good + "log: [1, 2]\n", {"log", "mapping"});
  expect_refused(good + "state_machine: {session_ttl: 0 s}\n", {"session_ttl", "at least 1 s"});
  expect_refused(good + "state_machine: {session_ttl: 99999999999999 h}\n", {"session_ttl"});
  expect_refused(good + "state_machine: {session_ttl: 10}\n", {"session_ttl", "10 s"});
  expect_refused(good + "state_machine: {sessions: 999}\n", {"sessions", "1000"});
  expect_refused(good + "state_machine: {answers_bytes: 1 KiB}\n", {"answers_bytes"});
  expect_refused(good + "state_machine: {answer_value_bytes: 65 KiB}\n", {"answer_value_bytes"});
  expect_refused(good + "server: {listen: nowhere}\n", {"server.listen", "HOST:PORT"});
  expect_refused(good + "server: {listen: 'h:70000'}\n", {"server.listen", "65535"});
  // Not a host's name: it would end in messages and JSON.
  expect_refused(good + "server: {listen: '\xff\xfe:7100'}\n", {"server.listen", "HOST:PORT"});
  expect_refused(good + "server: {listen: 'a b:7100'}\n", {"server.listen", "HOST:PORT"});
  expect_refused(good + "server: {max_value_bytes: 8 MiB}\n", {"max_value_bytes", "128 KiB"});
  expect_refused(good + "log_level: loud\n", {"log_level", "loud"});
}

TEST_F(NodeConfigTest, MembershipMustFit) {
  const std::string head = "cluster: c\nnode: 3\ndata_dir: /d\nreplication:\n";
  expect_refused(
      head + "  coordinator: {leader: 1}\n  members: [{id: 1, peer: 'a:1', client: 'a:2'}]\n",
      {"members", "this node, 3"});
  expect_refused(
      head + "  coordinator: {leader: 9}\n  members: [{id: 3, peer: 'a:1', client: 'a:2'}]\n",
      {"leader 9", "no member"});
  expect_refused(head + "  members: [{id: 3, peer: 'a:1', client: 'a:2'}, {id: 3, peer: 'b:1', " +
                     "client: 'b:2'}]\n",
                 {"3 is given to two members"});
}

// Promise: what cannot work on any machine is refused before a node starts, where it stands.
TEST_F(NodeConfigTest, AddressesThatCannotAllBeListenedOnAreRefused) {
  const std::string good = kGood;
  const auto third = [&](const std::string& what) {
    return good + "    - {id: 3, " + what + "}\n";
  };
  const std::string at = file_ + ":9: replication.members[2].";
  expect_refused(third("peer: 'c:1'"), {at.substr(0, at.size() - 1), "client is missing"});
  expect_refused(third("client: 'c:1'"), {"members[2].peer is missing"});
  expect_refused(third("peer: 'c:1', client: 'c:1'"), {at + "client", "members[2].peer, too"});
  expect_refused(third("peer: 'A:1', client: 'c:1'"), {at + "peer", "members[0].peer, too"});
  expect_refused(third("peer: 'c:1', client: 'a:2'"), {at + "client", "members[0].client, too"});
  expect_refused(third("peer: 'c:0', client: 'c:1'"), {at + "peer", "port 0"});
  expect_refused(good + "server: {listen: 'b:1'}\n", {file_ + ":9: server.listen", "replication"});
  expect_refused(good + "  listen: '0.0.0.0:9'\nserver: {listen: 'h:9'}\n",
                 {file_ + ":10: server.listen", "replication"});
  expect_refused(good + "metrics: {listen: '127.0.0.1:7100'}\n",
                 {file_ + ":9: metrics.listen", "where server listens"});
  expect_refused(good + "metrics: {listen: 'b:1'}\n",
                 {file_ + ":9: metrics.listen", "replication"});
  const std::string ports = "server: {listen: 'h:0'}\nmetrics: {listen: 'h:0'}\n";
  EXPECT_TRUE(load(good + ports)) << "any two free ports";
  EXPECT_TRUE(load(good + "server: {listen: 'h:9'}\nmetrics: {listen: 'i:9'}\n"));
  const std::string name(256, 'c');
  // Prometheus refuses a whole scrape that has such a label.
  for (const char* bytes : {"caf\xe9", "\xc3", "\xff", "\xed\xa0\x80", "\xc0\xaf"})
    expect_refused(std::string("cluster: a") + bytes + "\nnode: 1\ndata_dir: /d\n", {"UTF-8"});
  for (const char* named : {"caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"})
    EXPECT_TRUE(load(std::string("cluster: a") + named + "\nnode: 1\ndata_dir: /d\n")) << named;
  expect_refused("cluster: " + name + "\nnode: 1\ndata_dir: /d\n",
                 {file_ + ":1: cluster has 256 bytes", "at most 255"});
  EXPECT_TRUE(load("cluster: " + name.substr(1) + "\nnode: 1\ndata_dir: /d\n"));
}

// Promise: the keys that are valid are each named once.
TEST_F(NodeConfigTest, NamesEachValidKeyOnce) {
  expect_refused(std::string(kGood) + "    - {zzzzzzzz: 3, id: 3, peer: 'c:1', client: 'c:2'}\n",
                 {"valid here: id peer client voter upstream"});
}

TEST_F(NodeConfigTest, BadSyntaxAndAbsentFilesAreErrorsThatNameTheFile) {
  expect_refused("cluster: [unclosed\n", {file_});
  const auto absent = load_node_config("/nonexistent/node.yaml");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("/nonexistent/node.yaml"), std::string::npos);
}

// Promise: a learner may name the voter that feeds it, and nothing else may be said by `upstream`.
TEST_F(NodeConfigTest, OnlyALearnerHasAnUpstreamAndItIsAVoter) {
  const std::string head = std::string(kGood) + "    - {id: 3, peer: 'c:1', client: 'c:2', ";
  const auto config = load(head + "voter: false, upstream: 1}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node.members[2].upstream, NodeId{1});
  EXPECT_EQ(config->node.members[0].upstream, NodeId{});
  expect_refused(head + "upstream: 1}\n", {"upstream", "is for learners"});
  expect_refused(head + "voter: false, upstream: 7}\n", {"upstream 7", "no member"});
  expect_refused(head + "voter: false, upstream: 2}\n", {"upstream 2", "is a learner"});
}

TEST(Units, SizesAndDurations) {
  EXPECT_EQ(parse_size("64 MiB"), uint64_t{64} << 20);
  EXPECT_EQ(parse_size("1GiB"), uint64_t{1} << 30);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("64 MB"), std::nullopt);
  EXPECT_EQ(parse_size("-1"), std::nullopt);
  EXPECT_EQ(parse_size("99999999999 TiB"), std::nullopt);
  EXPECT_EQ(parse_duration("250ms"), std::chrono::milliseconds(250));
  EXPECT_EQ(parse_duration("5 m"), std::chrono::minutes(5));
  EXPECT_EQ(parse_duration("5"), std::nullopt);
  EXPECT_EQ(parse_duration("999999999 h"), std::nullopt);
}

}  // namespace
}  // namespace tailrace::config
