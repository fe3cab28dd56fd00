#pragma once
// A real etcd of one member, on free ports of the loopback and in a directory of its own, and the
// calls by which a test looks at it and changes it behind a coordinator's back.

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "rpc/etcd/http.h"
#include "rpc/etcd/messages.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::rpc::testing {

class EtcdProcess {
 public:
  /// Whether the machine has an etcd; tests skip without.
  static bool installed();

  /// More arguments for etcd, and the scheme of its client port.
  explicit EtcdProcess(std::vector<std::string> arguments = {}, std::string scheme = "http");
  ~EtcdProcess();

  /// With the data of before, if any. Waits until it answers (http), or listens (https).
  void start();
  void signal(int number);  // SIGSTOP, SIGCONT
  void kill();              // SIGKILL, and waits for its end

  int port() const { return client_port_; }
  std::string endpoint() const;
  const std::filesystem::path& directory() const { return directory_.path(); }

  // Calls with patience; http only. They throw when etcd refuses or does not answer.
  EtcdRange range(const std::string& key);
  int64_t put(const std::string& key, const std::string& value, int64_t lease = 0);
  int64_t grant_lease(int64_t ttl_s);
  void revoke(int64_t lease);
  int64_t revision();
  void compact(int64_t revision);
  std::string post(const std::string& path, const std::string& body);

 private:
  Result<HttpAnswer> ask(const std::string& path, const std::string& body);

  tailrace::testing::TemporaryDirectory directory_;
  const std::vector<std::string> arguments_;
  const std::string scheme_;
  int client_port_, peer_port_;
  pid_t process_ = 0;
};

}  // namespace tailrace::rpc::testing
