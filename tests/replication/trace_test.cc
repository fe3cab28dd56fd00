// The protocol as prose: each scenario's trace is compared with the page in traces/. They are the
// protocol's best documentation, so a change of behaviour shows in them as a change of text.
//
//   TAILRACE_REWRITE=1 build/release/tests/replication_trace_test    writes the pages anew

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/replication/trace_cluster.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void expect_page(const std::string& name, const std::string& trace) {
  const std::string path = std::string(TAILRACE_TRACES) + "/" + name + ".txt";
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(path) << trace;
    return;
  }
  std::stringstream page;
  page << std::ifstream(path).rdbuf();
  EXPECT_EQ(page.str(), trace) << path << " says otherwise; if the change is meant, run this test "
                               << "with TAILRACE_REWRITE=1 and read what changed";
}

TEST(Trace, FirstStart) {
  TraceCluster cluster(3);
  cluster.start({1, 2, 3}, "Three new nodes start and find each other.");
  cluster.grant(1, "The coordinator lets node 1 seek the lead.");
  cluster.append(1, "A client's record is committed once a majority has it on disk.");
  EXPECT_EQ(cluster.state(1).role, Role::kLeader);
  EXPECT_EQ(cluster.state(1).committed, cluster.log(1).tail());
  expect_page("first_start", cluster.trace());
}

TEST(Trace, FailOver) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.stop(1, "Node 1, which leads, is killed.");
  cluster.grant(2, "Its lease ends; the coordinator lets node 2 seek the lead.");
  cluster.start({1}, "Node 1 comes back and follows.");
  EXPECT_EQ(cluster.state(2).role, Role::kLeader);
  EXPECT_TRUE(cluster.state(1).following.streaming);
  expect_page("fail_over", cluster.trace());
}

TEST(Trace, DivergenceIsCut) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.cut(1, {2, 3}, "Node 1, which leads, is cut off from both others.");
  cluster.append(1, "It still takes a record, which nobody else has: it is never committed.");
  cluster.grant(2, "The coordinator lets node 2 seek the lead.");
  cluster.append(2, "Node 2 commits a record of its own at the same address.");
  cluster.heal("The network is whole again: node 1 cuts off what was never committed.");
  EXPECT_EQ(cluster.log(1).tail(), cluster.log(2).tail());
  EXPECT_TRUE(cluster.state(1).following.streaming);
  expect_page("divergence_is_cut", cluster.trace());
}

TEST(Trace, TheLongerLogIsFetched) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.cut(3, {1, 2}, "Node 3 is cut off.");
  cluster.append(1, "A record is committed by nodes 1 and 2.");
  cluster.stop(1, "Node 1 is killed.");
  cluster.heal("Node 3 is back.");
  cluster.grant(3, "Node 3, which lacks the record, may seek the lead: it fetches it first.");
  EXPECT_EQ(cluster.state(3).role, Role::kLeader);
  EXPECT_EQ(cluster.log(3).tail(), cluster.log(2).tail());
  expect_page("the_longer_log_is_fetched", cluster.trace());
}

TEST(Trace, LostDisk) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.append(1, "A record is committed.");
  cluster.lose_disk(3, "Node 3 stops, and its disk is lost.");
  cluster.start({3}, "It comes back empty: its word counts for nothing until it holds all.");
  cluster.pass(seconds(1), "A round confirms that node 1 led when node 3 subscribed.");
  EXPECT_NE(cluster.state(3).persisted.vote, Vote::kNone);
  expect_page("lost_disk", cluster.trace());
}

TEST(Trace, MemberIsAddedWithOneNodeDead) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.stop(3, "Node 3 is killed.");
  cluster.add_node(4);
  cluster.start({4}, "Node 4 is started with the others' addresses; nobody knows it yet.");
  MemberChange change;
  change.member = {NodeId{4}, true, "peer4", "client4"};
  cluster.ask(1, ChangeAsked{change}, "An operator adds it as a voter: it joins, and catches up.");
  cluster.pass(seconds(2), "When it has caught up it becomes a voter.");
  EXPECT_TRUE(find_member(cluster.state(1).members, NodeId{4})->voter);
  expect_page("member_is_added_with_one_node_dead", cluster.trace());
}

TEST(Trace, RelayIsLost) {
  TraceCluster cluster = TraceCluster::running(3, 1, NodeId{2});
  cluster.append(1, "Node 4, a learner, has its log from node 2.");
  cluster.stop(2, "Node 2 is killed.");
  cluster.pass(seconds(4), "The learner goes to the leader.");
  cluster.append(1, "It has the next record from there.");
  EXPECT_EQ(cluster.state(4).following.source, NodeId{1});
  expect_page("relay_is_lost", cluster.trace());
}

TEST(Trace, RelayComesBack) {
  TraceCluster cluster = TraceCluster::running(3, 1, NodeId{2});
  cluster.stop(2, "Node 2, from which node 4, a learner, has its log, is killed.");
  cluster.pass(seconds(4), "The learner goes to the leader.");
  cluster.start({2}, "Node 2 comes back.");
  cluster.pass(seconds(60), "After a while the learner gives it another chance.");
  EXPECT_EQ(cluster.state(4).following.source, NodeId{2});
  expect_page("relay_comes_back", cluster.trace());
}

TEST(Trace, StateIsCopied) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.lose_disk(3, "Node 3 stops, and its disk is lost.");
  cluster.append(1, "A record is committed without it.");
  cluster.truncate({1, 2}, "Checkpoints hold all of that: the log before them is dropped.");
  cluster.start({3}, "Node 3 comes back empty, too late for the log: it copies the state.");
  cluster.pass(seconds(2), "It has all, and gets its vote.");
  EXPECT_EQ(cluster.state(3).persisted.vote, Vote::kFull);
  EXPECT_EQ(cluster.log(3).tail(), cluster.log(1).tail());
  expect_page("state_is_copied", cluster.trace());
}

TEST(Trace, ANewerVersionIsFinalised) {
  TraceCluster cluster(3);
  for (const uint32_t node : {1u, 2u, 3u})
    cluster.set_version(node, 3);
  cluster.start({1, 2, 3}, "");
  cluster.grant(1, "");
  cluster.pass(seconds(2), "");
  cluster.forget_trace();
  for (const uint32_t node : {2u, 3u}) {
    cluster.stop(node, fmt::format("Node {} is upgraded.", node));
    cluster.set_version(node, 4);
    cluster.start({node}, "It comes back with the newer program.");
  }
  cluster.stop(1, "Node 1, which leads, is upgraded.");
  cluster.set_version(1, 4);
  cluster.grant(2, "Node 2 is let seek the lead.");
  cluster.start({1}, "Node 1 comes back.");
  cluster.pass(seconds(8), "All know version 4 now: any of them may still go back.");
  EXPECT_EQ(cluster.state(2).cluster_version, 3u);
  cluster.pass(seconds(3), "After ten seconds (ten minutes, by default) the log says so.");
  EXPECT_EQ(cluster.state(1).cluster_version, 4u);
  expect_page("a_newer_version_is_finalised", cluster.trace());
}

TEST(Trace, HandOver) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.ask(1, TransferAsked{NodeId{2}}, "An operator wants node 2 to lead.");
  cluster.pass(milliseconds(100), "As soon as node 2 holds all, node 1 gives up.");
  cluster.grant(2, "The coordinator lets node 2 seek the lead.");
  EXPECT_EQ(cluster.state(2).role, Role::kLeader);
  expect_page("hand_over", cluster.trace());
}

TEST(Trace, LeaderWithoutAMajorityAnswersNoRead) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.ask(1, ConfirmAsked{milliseconds(0)},
              "A client reads: the leader asks whether it leads.");
  cluster.cut(1, {2, 3}, "Node 1 is cut off.");
  cluster.grant(2, "Node 2 leads.");
  const uint64_t confirmed = cluster.state(1).confirmed_round;
  cluster.ask(1, ConfirmAsked{milliseconds(0)}, "A client reads from node 1: nobody confirms it.");
  EXPECT_EQ(cluster.state(1).confirmed_round, confirmed);
  cluster.heal("The network is whole again.");
  expect_page("leader_without_a_majority_answers_no_read", cluster.trace());
}

TEST(Trace, TwoCandidates) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.stop(1, "Node 1, which leads, is killed.");
  cluster.cut(2, {3}, "Nodes 2 and 3 do not see each other.");
  cluster.grant(2, "The coordinator lets node 2 seek the lead: it waits for a majority.");
  cluster.grant(3, "Its grant ends, and node 3 is let: it waits as well.");
  cluster.heal("They see each other: the higher epoch wins.");
  cluster.pass(seconds(1), "Node 3 asks again.");
  EXPECT_EQ(cluster.state(3).role, Role::kLeader);
  expect_page("two_candidates", cluster.trace());
}

TEST(Trace, NoQuorum) {
  TraceCluster cluster = TraceCluster::running(3);
  cluster.stop(1, "Node 1, which leads, is killed.");
  cluster.stop(2, "Node 2 as well.");
  cluster.grant(3, "The coordinator lets node 3 seek the lead.");
  cluster.pass(seconds(1), "It says what it waits for.");
  EXPECT_EQ(cluster.state(3).role, Role::kCandidate);
  cluster.start({2}, "Node 2 comes back.");
  cluster.pass(seconds(1), "It waited a moment for what others might tell it; now it promises.");
  EXPECT_EQ(cluster.state(3).role, Role::kLeader);
  expect_page("no_quorum", cluster.trace());
}

TEST(Trace, AMemberIsRemoved) {
  TraceCluster cluster = TraceCluster::running(3);
  MemberChange change;
  change.kind = MemberChange::Kind::kRemove;
  change.member.id = NodeId{3};
  cluster.ask(1, ChangeAsked{change}, "An operator removes node 3.");
  cluster.pass(seconds(1), "It is fed until it knows that it is no member any more.");
  EXPECT_FALSE(cluster.state(1).followers.contains(NodeId{3}));
  expect_page("a_member_is_removed", cluster.trace());
}

}  // namespace
}  // namespace tailrace::replication
