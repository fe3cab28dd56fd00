// The coordinator with a real etcd. Each test is a cluster of its own; those that stop etcd have
// one of their own, too.

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "tests/rpc/etcd/etcd_node.h"
#include "tests/rpc/etcd/etcd_process.h"
#include "tests/rpc/relay.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using replication::Candidacy;
using replication::Grant;
using testing::EtcdNode;
using testing::EtcdProcess;

constexpr std::chrono::seconds kLease{1};

class EtcdCoordinatorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (EtcdProcess::installed()) etcd_ = std::make_unique<EtcdProcess>();
  }
  static void TearDownTestSuite() { etcd_.reset(); }
  void SetUp() override {
    if (!etcd_) GTEST_SKIP() << "etcd is not installed (package etcd-server): NOT TESTED";
  }

  EtcdCoordinatorOptions options(uint32_t node, const std::string& endpoint) {
    EtcdCoordinatorOptions options;
    options.self = NodeId{node};
    options.cluster = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    options.peer_address = "127.0.0.1:" + std::to_string(7200 + node);
    options.client_address = "127.0.0.1:" + std::to_string(7100 + node);
    options.endpoints = {endpoint};
    options.prefix = "/test";
    options.lease_ttl = kLease;
    options.call_timeout = 500ms;
    return options;
  }
  std::unique_ptr<EtcdNode> node(uint32_t id) { return node(id, *etcd_); }
  std::unique_ptr<EtcdNode> node(uint32_t id, const EtcdProcess& etcd) {
    return std::make_unique<EtcdNode>(options(id, etcd.endpoint()));
  }
  std::string key(const std::string& name) {
    return "/test/" + options(1, "").cluster + "/" + name;
  }
  EtcdKeyValue leader_key(EtcdProcess& etcd) {
    const EtcdRange range = etcd.range(key("leader"));
    return range.pairs.empty() ? EtcdKeyValue{} : range.pairs.front();
  }

  static std::unique_ptr<EtcdProcess> etcd_;
};

std::unique_ptr<EtcdProcess> EtcdCoordinatorTest::etcd_;

/// The one node of these that leads, once all of them say the same.
EtcdNode* wait_agreement(const std::vector<EtcdNode*>& nodes, Epoch above = {}) {
  const auto deadline = std::chrono::steady_clock::now() + EtcdNode::kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    const Grant grant = nodes.front()->now();
    EtcdNode* leader = nullptr;
    bool agreed = grant.leader.value != 0 && grant.epoch > above;
    for (EtcdNode* each : nodes) {
      agreed = agreed && each->now() == grant;
      if (each->self == grant.leader) leader = each;
    }
    if (agreed && leader != nullptr) return leader;
    std::this_thread::sleep_for(5ms);
  }
  return nullptr;
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + EtcdNode::kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

TEST_F(EtcdCoordinatorTest, OneOfThreeLeadsAndEachTermHasAHigherEpoch) {
  std::vector<std::unique_ptr<EtcdNode>> nodes;
  std::vector<EtcdNode*> all;
  for (uint32_t id = 1; id <= 3; ++id)
    all.push_back(nodes.emplace_back(node(id)).get());
  for (EtcdNode* each : all)
    each->start(Candidacy::kNow);
  Epoch last;
  for (int term = 0; term < 12; ++term) {
    EtcdNode* const leader = wait_agreement(all, last);
    ASSERT_NE(leader, nullptr) << "term " << term;
    last = leader->now().epoch;
    leader->resign(last, term % 2 == 0 ? leader->self.value % 3 + 1 : 0);
  }
  // No epoch was ever told to two nodes as theirs.
  std::set<Epoch> granted;
  for (EtcdNode* each : all) {
    const MutexLock lock(each->mutex);
    EXPECT_TRUE(each->on_executor);
    Epoch before;
    for (const Grant& grant : each->told) {
      if (grant.leader != each->self) continue;
      EXPECT_TRUE(granted.insert(grant.epoch).second) << grant.epoch.value;
      EXPECT_GT(grant.epoch, before);
      before = grant.epoch;
    }
  }
  EXPECT_GE(granted.size(), 12u);
  const auto members = etcd_->range(key("members/2"));
  ASSERT_EQ(members.pairs.size(), 1u);
  EXPECT_NE(members.pairs[0].value.find("127.0.0.1:7202"), std::string::npos);
}

TEST_F(EtcdCoordinatorTest, AGrantIsAboveWhatIsKnownAlsoInAFreshEtcd) {
  const Epoch known{static_cast<uint64_t>(etcd_->revision()) + 300};
  const auto one = node(1);
  one->start(Candidacy::kNow, known);
  const auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  EXPECT_GT(*epoch, known);
  // What it learns while it leads makes its epoch worthless: it gets another.
  const Epoch higher{epoch->value + 100};
  one->raise(higher);
  const auto next = one->wins(higher);
  ASSERT_TRUE(next);
  // Its own epoch is no news.
  const size_t told = one->times_told();
  one->raise(*next);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(one->times_told(), told);
}

TEST_F(EtcdCoordinatorTest, AnEtcdThatIsFarBehindIsNamedWithBothNumbersAndTheRemedy) {
  const auto one = node(1);
  one->start(Candidacy::kNow, Epoch{10'000'000});
  ASSERT_TRUE(eventually([&] { return !one->coordinator->status().problem.empty(); }));
  const auto status = one->coordinator->status();
  EXPECT_TRUE(status.reachable);
  EXPECT_NE(status.problem.find("10000000"), std::string::npos) << status.problem;
  EXPECT_NE(status.problem.find("epoch-floor"), std::string::npos) << status.problem;
  EXPECT_EQ(one->now().leader, NodeId{});
}

TEST_F(EtcdCoordinatorTest, WhoNeverWantsToLeadDoesNotAndWhoWantsItLaterWaits) {
  const auto never = node(1), later = node(2);
  never->start(Candidacy::kNever);
  ASSERT_TRUE(never->hears_of(Grant{}));
  std::this_thread::sleep_for(kLease + 200ms);
  EXPECT_EQ(never->now(), Grant{});
  const auto begin = std::chrono::steady_clock::now();
  later->start(Candidacy::kLater);
  const auto epoch = later->wins();
  ASSERT_TRUE(epoch);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, kLease);
  EXPECT_TRUE(never->hears_of(Grant{NodeId{2}, *epoch}));
  // A leader that does not want it any more keeps it until it resigns, and then it is nobody's.
  later->set_candidacy(Candidacy::kNever);
  later->resign(*epoch);
  EXPECT_TRUE(later->hears_of(Grant{}));
  std::this_thread::sleep_for(kLease + 200ms);
  EXPECT_EQ(later->now(), Grant{});
}

TEST_F(EtcdCoordinatorTest, TheNamedSuccessorGoesFirst) {
  const auto one = node(1), two = node(2), three = node(3);
  one->start(Candidacy::kNow);
  const auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  two->start(Candidacy::kNow);
  three->start(Candidacy::kLater);
  ASSERT_TRUE(three->hears_of(Grant{NodeId{1}, *epoch}));
  one->resign(Epoch{epoch->value - 1}, 3);  // not what it holds
  one->resign(*epoch, 3);
  const auto next = three->wins({}, 900ms);
  ASSERT_TRUE(next) << "at once, although it would have waited for a lease's time";
  EXPECT_TRUE(two->hears_of(Grant{NodeId{3}, *next}));
  EXPECT_TRUE(etcd_->range(key("handover")).pairs.empty());
  EXPECT_TRUE(one->hears_of(Grant{NodeId{3}, *next}));
  // A successor that is not there holds the others up for no longer than its lease.
  three->resign(*next, 9);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(leader_key(*etcd_).create_revision, 0);
  EXPECT_NE(wait_agreement({one.get(), two.get(), three.get()}, *next), nullptr);
}

TEST_F(EtcdCoordinatorTest, WhoResignsLetsOthersGoFirstAndLeadsAgainWhenNobodyDoes) {
  const auto one = node(1), two = node(2);
  one->start(Candidacy::kNow);
  auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  two->start(Candidacy::kLater);
  ASSERT_TRUE(two->hears_of(Grant{NodeId{1}, *epoch}));
  one->resign(*epoch);
  epoch = two->wins(*epoch);
  ASSERT_TRUE(epoch);
  two->set_candidacy(Candidacy::kNever);
  two->resign(*epoch);
  epoch = one->wins(*epoch);
  ASSERT_TRUE(epoch);
  two->stop();
  one->resign(*epoch);
  EXPECT_TRUE(one->wins(*epoch));
}

TEST_F(EtcdCoordinatorTest, ARestartWithinTheLeaseIsANewEpochAtOnce) {
  // What a process of node 1 leaves behind that was killed.
  const int64_t lease = etcd_->grant_lease(60);
  const int64_t before = etcd_->put(key("leader"), R"({"node":1})", lease);
  const auto two = node(2), one = node(1);
  two->start(Candidacy::kNow);
  ASSERT_TRUE(two->hears_of(Grant{NodeId{1}, Epoch{static_cast<uint64_t>(before)}}));
  two->set_candidacy(Candidacy::kLater);
  one->start(Candidacy::kNow, Epoch{static_cast<uint64_t>(before)});
  const auto epoch = one->wins({}, 2s);
  ASSERT_TRUE(epoch);
  EXPECT_GT(epoch->value, static_cast<uint64_t>(before));
  const MutexLock lock(one->mutex);
  for (const Grant& grant : one->told)
    EXPECT_NE(grant.epoch.value, static_cast<uint64_t>(before)) << "the dead process's epoch";
}

TEST_F(EtcdCoordinatorTest, AStopFreesTheLeadAtOnce) {
  auto one = node(1);
  const auto two = node(2);
  one->start(Candidacy::kNow);
  const auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  two->start(Candidacy::kNow);
  ASSERT_TRUE(two->hears_of(Grant{NodeId{1}, *epoch}));
  const auto begin = std::chrono::steady_clock::now();
  one->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_TRUE(two->wins(*epoch, 800ms));
  EXPECT_TRUE(etcd_->range(key("members/1")).pairs.empty());
}

TEST_F(EtcdCoordinatorTest, ALeaseThatIsRevokedBehindItsBackMeansANewEpoch) {
  const auto one = node(1);
  one->start(Candidacy::kNow);
  Epoch last;
  for (int round = 0; round < 3; ++round) {
    const auto epoch = one->wins(last);
    ASSERT_TRUE(epoch) << round;
    last = *epoch;
    if (round == 1)
      etcd_->post("/v3/kv/deleterange", R"({"key":")" + encode_base64(key("leader")) + R"("})");
    else
      etcd_->revoke(leader_key(*etcd_).lease);
  }
  EXPECT_TRUE(one->wins(last));
  EXPECT_TRUE(eventually([&] { return !etcd_->range(key("members/1")).pairs.empty(); }));
  const MutexLock lock(one->mutex);
  EXPECT_NE(std::find(one->told.begin(), one->told.end(), Grant{}), one->told.end());
}

TEST_F(EtcdCoordinatorTest, WhoIsCutOffKeepsItsGrantUntilItHearsOtherwise) {
  testing::Relay relay(etcd_->port());
  EtcdNode one(options(1, "http://127.0.0.1:" + std::to_string(relay.port())));
  const auto two = node(2);
  one.start(Candidacy::kNow);
  const auto epoch = one.wins();
  ASSERT_TRUE(epoch);
  two->start(Candidacy::kLater);
  ASSERT_TRUE(two->hears_of(Grant{NodeId{1}, *epoch}));
  const size_t told = one.times_told();
  relay.cut();
  // etcd lets the lease run out, and another node leads: the one that is cut off cannot know.
  const auto next = two->wins(*epoch);
  ASSERT_TRUE(next);
  EXPECT_EQ(one.times_told(), told);
  EXPECT_FALSE(one.coordinator->status().reachable);
  // Nor can its watch follow what is compacted away meanwhile.
  for (int i = 0; i < 5; ++i)
    etcd_->put(key("noise"), "x");
  etcd_->compact(etcd_->revision());
  relay.mend();
  EXPECT_TRUE(one.hears_of(Grant{NodeId{2}, *next}));
  EXPECT_TRUE(eventually([&] { return one.coordinator->status().reachable; }));
  two->resign(*next, 1);
  EXPECT_TRUE(one.wins(*next)) << "the new watch follows";
}

TEST_F(EtcdCoordinatorTest, AWatchThatBreaksAgainAndAgainMissesNothing) {
  testing::Relay relay(etcd_->port());
  EtcdNode one(options(1, "http://127.0.0.1:" + std::to_string(relay.port())));
  const auto two = node(2);
  one.start(Candidacy::kNever);
  two->start(Candidacy::kNow);
  Epoch last;
  for (int round = 0; round < 5; ++round) {
    const auto epoch = two->wins(last);
    ASSERT_TRUE(epoch);
    last = *epoch;
    relay.cut();
    two->raise(Epoch{last.value + 1});
    const auto next = two->wins(Epoch{last.value + 1});
    ASSERT_TRUE(next);
    etcd_->compact(etcd_->revision());
    relay.mend();
    EXPECT_TRUE(one.hears_of(Grant{NodeId{2}, *next}));
    two->raise(Epoch{next->value + 1});
    last = *next;
  }
}

TEST_F(EtcdCoordinatorTest, AKeyThatNoNodeWroteIsAProblemWithAName) {
  etcd_->put(key("leader"), "somebody");
  const auto one = node(1);
  one->start(Candidacy::kNow);
  ASSERT_TRUE(eventually([&] { return !one->coordinator->status().problem.empty(); }));
  EXPECT_NE(one->coordinator->status().problem.find(key("leader")), std::string::npos);
  EXPECT_EQ(one->now().leader, NodeId{});
  etcd_->post("/v3/kv/deleterange", R"({"key":")" + encode_base64(key("leader")) + R"("})");
  EXPECT_TRUE(one->wins());
  EXPECT_TRUE(eventually([&] { return one->coordinator->status().problem.empty(); }));
}

TEST_F(EtcdCoordinatorTest, AnEtcdThatIsKilledTakesNoGrantBack) {
  EtcdProcess etcd;
  const auto one = node(1, etcd), two = node(2, etcd);
  one->start(Candidacy::kNow);
  const auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  two->start(Candidacy::kNow);
  ASSERT_TRUE(two->hears_of(Grant{NodeId{1}, *epoch}));
  const size_t told_one = one->times_told(), told_two = two->times_told();
  etcd.kill();
  std::this_thread::sleep_for(2 * kLease);
  EXPECT_EQ(one->times_told(), told_one);
  EXPECT_EQ(two->times_told(), told_two);
  const auto status = one->coordinator->status();
  EXPECT_FALSE(status.reachable);
  EXPECT_NE(status.problem.find(std::to_string(etcd.port())), std::string::npos) << status.problem;
  EXPECT_GT(status.seconds_since_contact, 0.5);
  etcd.start();
  EXPECT_TRUE(eventually([&] { return one->coordinator->status().reachable; }));
  // Either the lease lives on or there is a new epoch; in both cases all agree, and it lasts.
  std::this_thread::sleep_for(2 * kLease);
  EtcdNode* const leader = wait_agreement({one.get(), two.get()});
  ASSERT_NE(leader, nullptr);
  EXPECT_GE(leader->now().epoch, *epoch);
  const EtcdKeyValue now = leader_key(etcd);
  EXPECT_EQ(static_cast<uint64_t>(now.create_revision), leader->now().epoch.value);
  EXPECT_NE(now.lease, 0);
}

TEST_F(EtcdCoordinatorTest, AnEtcdWithoutItsDataGrantsHigherEpochsAllTheSame) {
  EtcdProcess first, second;
  for (int i = 0; i < 200; ++i)
    first.put("noise", "x");
  // The second endpoint is another etcd, of lower revisions.
  auto both = options(1, first.endpoint());
  both.endpoints.push_back(second.endpoint());
  EtcdNode one(both);
  one.start(Candidacy::kNow);
  const auto epoch = one.wins();
  ASSERT_TRUE(epoch);
  first.kill();
  const auto next = one.wins(*epoch);
  ASSERT_TRUE(next);
  EXPECT_EQ(leader_key(second).create_revision, static_cast<int64_t>(next->value));
}

TEST_F(EtcdCoordinatorTest, AnEtcdThatHangsIsUnreachableAndNothingHangsWithIt) {
  EtcdProcess etcd;
  const auto one = node(1, etcd);
  one->start(Candidacy::kNow);
  const auto epoch = one->wins();
  ASSERT_TRUE(epoch);
  const size_t told = one->times_told();
  etcd.signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return !one->coordinator->status().reachable; }));
  EXPECT_NE(one->coordinator->status().problem.find("in time"), std::string::npos);
  EXPECT_EQ(one->times_told(), told);
  {
    // Started, and destroyed, while nothing answers.
    const auto two = node(2, etcd);
    two->start(Candidacy::kNow);
    std::this_thread::sleep_for(100ms);
    const auto begin = std::chrono::steady_clock::now();
    two->stop();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  }
  etcd.signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return one->coordinator->status().reachable; }));
  std::this_thread::sleep_for(kLease);
  ASSERT_TRUE(one->wins());
  EXPECT_TRUE(eventually([&] {
    return static_cast<uint64_t>(leader_key(etcd).create_revision) == one->now().epoch.value;
  }));
  // A leader whose etcd hangs stops in time, too.
  etcd.signal(SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  one->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1200ms);
  etcd.signal(SIGCONT);
}

TEST_F(EtcdCoordinatorTest, AnotherEndpointTakesOverWhenOneHangs) {
  EtcdProcess hangs;
  hangs.signal(SIGSTOP);
  auto both = options(1, hangs.endpoint());
  both.endpoints.push_back(etcd_->endpoint());
  EtcdNode one(both);
  one.start(Candidacy::kNow);
  EXPECT_TRUE(one.wins());
  EXPECT_TRUE(one.coordinator->status().reachable);
}

TEST_F(EtcdCoordinatorTest, CanBeDestroyedAtAnyMoment) {
  for (int round = 0; round < 40; ++round) {
    const auto one = node(1);
    one->start(Candidacy::kNow);
    std::this_thread::sleep_for(std::chrono::microseconds(round * 500));
    if (round % 3 == 0) one->resign(one->now().epoch, 2);
    if (round % 5 == 0) one->raise(Epoch{one->now().epoch.value + 20});
  }
  const auto never_started = node(1);
  const auto last = node(1);
  last->start(Candidacy::kNow);
  EXPECT_TRUE(last->wins()) << "no lease of those before is left";
}

TEST_F(EtcdCoordinatorTest, AnOperatorsOrderIsRefusedWithWhatToDoInstead) {
  const auto one = node(1);
  const auto refused = one->coordinator->promote();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("tailrace transfer --to"), std::string::npos);
}

TEST_F(EtcdCoordinatorTest, CountsWhatItDoes) {
  observability::MetricRegistry registry;
  const auto one = node(1);
  one->coordinator->register_metrics(registry);
  one->start(Candidacy::kNow);
  ASSERT_TRUE(one->wins());
  const std::string text = registry.expose();
  const auto value = [&](const std::string& name) {
    const size_t at = text.find("\ntailrace_coordinator_" + name + " ");
    EXPECT_NE(at, std::string::npos) << name << "\n" << text;
    return at == std::string::npos ? -1 : std::stod(text.substr(text.find(' ', at)));
  };
  EXPECT_EQ(value("reachable"), 1);
  EXPECT_EQ(value("grants_total"), 1);
  EXPECT_GE(value("calls_total"), 3);
  EXPECT_GE(value("failures_total"), 0);
  EXPECT_LT(value("seconds_since_contact"), 1);
  EXPECT_GT(value("lease_remaining_seconds"), 0);
  EXPECT_LE(value("lease_remaining_seconds"), 1);
}

}  // namespace
}  // namespace tailrace::rpc
