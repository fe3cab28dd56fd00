// Clients are not told where a node has its files; its own log is.

#include "rpc/server/withheld.h"

#include <gtest/gtest.h>

#include "fake_node.h"
#include "rpc/client/client.h"

namespace tailrace::rpc {
namespace {

using testing::FakeNode;

constexpr const char* kFile = "/srv/secret place/n1/log/00000000000000000000.seg";

TEST(Withheld, FilesOfTheDataDirectoryKeepTheirPlaceInIt) {
  const auto told = [](std::string_view message) {
    return without_folders(message, "/srv/secret place/n1/");
  };
  EXPECT_EQ(told(std::string(kFile) + ": bad record at address 5000 (checksum)"),
            "data_dir/log/00000000000000000000.seg: bad record at address 5000 (checksum)");
  EXPECT_EQ(told("the disk of /srv/secret place/n1 is full"), "the disk of data_dir is full");
  EXPECT_EQ(told("'/srv/secret place/n1/a', /srv/secret place/n1/b"), "'data_dir/a', data_dir/b");
  EXPECT_EQ(without_folders("read of data-1/log/x: Input/output error", "data-1"),
            "read of data_dir/log/x: Input/output error");
}

TEST(Withheld, OfOtherFilesTheNameIsLeft) {
  const auto told = [](std::string_view message) { return without_folders(message, "/srv/n1"); };
  EXPECT_EQ(told("/srv/n10/log/x, offset 4096: what"), "x, offset 4096: what");
  EXPECT_EQ(told("read of \"/etc/tls/ca.pem\": denied"), "read of \"ca.pem\": denied");
  EXPECT_EQ(told("copy (/other/node/kv/) of /srv/n1"), "copy (kv) of data_dir");
}

TEST(Withheld, WhatNamesNoFileStaysAsItIs) {
  for (const std::string message :
       {"", "/", "a / b", "either/or", "a word: n", "https://10.0.0.1:2379/v3: refused",
        "1/2 of it", "not n1", "address 64 is below begin (128)", "node 2 at [::1]:7101"})
    EXPECT_EQ(without_folders(message, "n"), message);
  EXPECT_EQ(without_folders("read of x", ""), "read of x");
}

TEST(Withheld, TheSameMessageIsLoggedOnceInAWhile) {
  WithheldMessages withheld;
  const SteadyTime now{};
  EXPECT_TRUE(withheld.is_news("a", now));
  EXPECT_TRUE(withheld.is_news("b", now));
  EXPECT_FALSE(withheld.is_news("a", now + std::chrono::seconds(59)));
  EXPECT_TRUE(withheld.is_news("a", now + std::chrono::seconds(61)));
  // However many messages there are, not many are logged.
  int logged = 0;
  for (int i = 0; i < 1000; ++i)
    logged += withheld.is_news(std::to_string(i), now + std::chrono::seconds(62)) ? 1 : 0;
  EXPECT_EQ(logged, 63);
}

class WithheldFromClients : public ::testing::Test {
 protected:
  WithheldFromClients() : node_(options()) {
    ClientOptions options;
    options.servers = {node_.address()};
    client_ = Client::create(options).value();
  }
  static ServerOptions options() {
    ServerOptions options;
    options.data_directory = "/srv/secret place/n1";
    return options;
  }

  FakeNode node_;
  std::unique_ptr<Client> client_;
};

TEST_F(WithheldFromClients, AnErrorNamesTheNodeAndTheNodesLogHasTheWhole) {
  for (const ErrorCode code :
       {ErrorCode::kCorruption, ErrorCode::kIo, ErrorCode::kResourceExhausted}) {
    const std::string whole =
        std::string(kFile) + ": the record at address 5000 is bad " + std::string(name_of(code));
    node_.machine.fail_reads({code, whole});
    ::testing::internal::CaptureStderr();
    const auto got = client_->get(as_bytes("k"), {});
    const std::string logged = ::testing::internal::GetCapturedStderr();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, code);
    EXPECT_EQ(got.error().message,
              "node 1: data_dir/log/00000000000000000000.seg: the record at address 5000 is bad " +
                  std::string(name_of(code)) + " (see the node's log)");
    EXPECT_NE(logged.find(whole), std::string::npos) << logged;
  }
  // One that names no file is told as it is.
  node_.machine.fail_reads({ErrorCode::kResourceExhausted, "too much in flight"});
  EXPECT_EQ(client_->get(as_bytes("k"), {}).error().message, "too much in flight");
}

TEST_F(WithheldFromClients, ATailThatCannotGoOnNamesTheAddress) {
  ASSERT_TRUE(client_->put(as_bytes("k"), as_bytes("v")));
  node_.log.fail_reads({ErrorCode::kIo, std::string("read of ") + kFile + ": no"});
  const auto end = client_->tail({}, [](const TailRecord&) { return true; });
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().message,
            "node 1: the log at address 64 cannot be read: read of "
            "data_dir/log/00000000000000000000.seg: no (see the node's log)");
}

TEST_F(WithheldFromClients, AStatusSaysNoFoldersEither) {
  replication::NodeStatus status = *node_.node.status();
  status.problem = std::string("write of ") + kFile + ": Input/output error";
  status.unhealthy = std::string("this node applies nothing any more: ") + kFile;
  status.copy.problem = "/other/node/store is gone";
  replication::FollowerStatus follower;
  follower.unhealthy = "not applying: /other/node/log";
  status.followers.push_back(follower);
  node_.node.set(status);
  const auto told = client_->status();
  ASSERT_EQ(told.size(), 1u);
  ASSERT_TRUE(told[0].second) << told[0].second.error().message;
  const NodeStatusAnswer& answer = *told[0].second;
  EXPECT_EQ(answer.problem, "write of data_dir/log/00000000000000000000.seg: Input/output error");
  EXPECT_EQ(answer.unhealthy,
            "this node applies nothing any more: data_dir/log/00000000000000000000.seg");
  EXPECT_EQ(answer.copy.problem, "store is gone");
  ASSERT_EQ(answer.followers.size(), 1u);
  EXPECT_EQ(answer.followers[0].unhealthy, "not applying: log");
  // Nor does a read that is refused for that.
  const auto got = client_->get(as_bytes("k"), {});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().message.find("secret"), std::string::npos) << got.error().message;
}

}  // namespace
}  // namespace tailrace::rpc
