// The coordinator with an etcd that encrypts, and with one that asks who is there.

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/rpc/etcd/etcd_node.h"
#include "tests/rpc/etcd/etcd_process.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using replication::Candidacy;
using testing::EtcdNode;
using testing::EtcdProcess;

class EtcdSecurityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!EtcdProcess::installed())
      GTEST_SKIP() << "etcd is not installed (package etcd-server): NOT TESTED";
  }
  static EtcdCoordinatorOptions options(const std::string& endpoint) {
    EtcdCoordinatorOptions options;
    options.self = NodeId{1};
    options.cluster = "c";
    options.endpoints = {endpoint};
    options.prefix = "/test";
    options.lease_ttl = 1s;
    options.call_timeout = 500ms;
    return options;
  }
  std::string file(const std::string& name) const { return directory_.path() / name; }
  /// A certificate that signs itself, so that it is its own authority, and its key.
  EtcdTlsOptions make_certificate(const std::string& name) const {
    const EtcdTlsOptions made{file(name + ".pem"), file(name + ".pem"), file(name + ".key")};
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout " + made.key + " -out " +
        made.certificate + " 2>/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return made;
  }
  static std::string problem_of(EtcdNode& node) {
    const auto deadline = std::chrono::steady_clock::now() + EtcdNode::kPatience;
    while (node.coordinator->status().problem.empty() &&
           std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(5ms);
    return node.coordinator->status().problem;
  }

  tailrace::testing::TemporaryDirectory directory_;
};

TEST_F(EtcdSecurityTest, BothSidesProveWhoTheyAreByCertificates) {
  const EtcdTlsOptions good = make_certificate("good"), foreign = make_certificate("foreign");
  EtcdProcess etcd({"--cert-file", good.certificate, "--key-file", good.key, "--client-cert-auth",
                    "--trusted-ca-file", good.ca},
                   "https");
  EtcdCoordinatorOptions with = options(etcd.endpoint());
  with.tls = good;
  {
    EtcdNode node(with);
    node.start(Candidacy::kNow);
    EXPECT_TRUE(node.wins());
    // By its name as well as by its address.
    with.endpoints = {"https://localhost:" + std::to_string(etcd.port())};
    with.self = NodeId{2};
    EtcdNode named(with);
    named.start(Candidacy::kNever);
    EXPECT_TRUE(named.hears_of(node.now()));
  }
  with = options(etcd.endpoint());
  with.tls.ca = foreign.ca;
  {
    EtcdNode node(with);
    node.start(Candidacy::kNow);
    EXPECT_NE(problem_of(node).find("certificate verify failed"), std::string::npos)
        << problem_of(node);
    EXPECT_FALSE(node.coordinator->status().reachable);
  }
  with.tls.ca = good.ca;
  EtcdNode without_certificate(with);
  without_certificate.start(Candidacy::kNow);
  EXPECT_NE(problem_of(without_certificate), "");
  EXPECT_FALSE(without_certificate.coordinator->status().reachable);
}

TEST_F(EtcdSecurityTest, AFileThatCanNotBeReadIsNamedBeforeAnythingStarts) {
  testing::ThreadExecutor executor;
  EtcdCoordinatorOptions with = options("https://127.0.0.1:1");
  with.tls.ca = file("absent.pem");
  auto refused = make_etcd_coordinator(with, executor);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("absent.pem"), std::string::npos);
  with.tls = make_certificate("mine");
  with.tls.key = with.tls.ca;
  refused = make_etcd_coordinator(with, executor);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("private key"), std::string::npos);
  with = options("http://127.0.0.1:1");
  with.username = "u";
  with.password_file = file("absent");
  refused = make_etcd_coordinator(with, executor);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("password file"), std::string::npos);
  std::ofstream(with.password_file) << "\n";
  refused = make_etcd_coordinator(with, executor);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("no password"), std::string::npos);
}

TEST_F(EtcdSecurityTest, AUserWithItsOwnPrefixIsEnough) {
  EtcdProcess etcd;
  const auto user = [&](const std::string& name, const std::string& role) {
    etcd.post("/v3/auth/user/add", R"({"name":")" + name + R"(","password":"secret"})");
    etcd.post("/v3/auth/role/add", R"({"name":")" + role + R"("})");
    etcd.post("/v3/auth/user/grant", R"({"user":")" + name + R"(","role":")" + role + R"("})");
  };
  user("root", "root");
  user("tailrace", "keys");
  etcd.post("/v3/auth/role/grant", R"({"name":"keys","perm":{"permType":"READWRITE","key":")" +
                                       encode_base64("/test/c/") + R"(","range_end":")" +
                                       encode_base64("/test/c0") + R"("}})");
  etcd.post("/v3/auth/enable", "{}");
  std::ofstream(file("password")) << "secret\n";
  std::ofstream(file("wrong")) << "guess\n";

  EtcdCoordinatorOptions with = options(etcd.endpoint());
  with.username = "tailrace";
  with.password_file = file("wrong");
  {
    EtcdNode node(with);
    node.start(Candidacy::kNow);
    std::this_thread::sleep_for(700ms);
    EXPECT_EQ(node.now().leader, NodeId{});
    EXPECT_NE(problem_of(node).find("authentication failed"), std::string::npos)
        << problem_of(node);
  }
  with.password_file = file("password");
  EtcdNode node(with);
  node.start(Candidacy::kNow);
  const auto epoch = node.wins();
  ASSERT_TRUE(epoch);
  node.resign(*epoch, 2);
  const auto next = node.wins(*epoch);
  ASSERT_TRUE(next);
  // Its tokens are gone with the process that gave them.
  etcd.kill();
  EXPECT_NE(problem_of(node), "");
  etcd.start();
  const auto deadline = std::chrono::steady_clock::now() + EtcdNode::kPatience;
  while (!node.coordinator->status().problem.empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  EXPECT_EQ(node.coordinator->status().problem, "");
  node.resign(node.now().epoch, 2);
  EXPECT_TRUE(node.wins(*next));
}

}  // namespace
}  // namespace tailrace::rpc
