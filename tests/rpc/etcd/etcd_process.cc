#include "tests/rpc/etcd/etcd_process.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include <asio/io_context.hpp>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc::testing {

namespace {

using namespace std::chrono_literals;

/// Free a moment ago; etcd cannot choose one itself, as it must be told its own address.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    throw std::runtime_error("no free port");
  ::close(fd);
  return ntohs(at.sin_port);
}

template <typename T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

std::string end_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  return text.substr(text.size() - std::min<size_t>(text.size(), 3000));
}

}  // namespace

bool EtcdProcess::installed() {
  static const bool found = std::system("command -v etcd >/dev/null 2>&1") == 0;
  return found;
}

EtcdProcess::EtcdProcess(std::vector<std::string> arguments, std::string scheme)
    : arguments_(std::move(arguments)),
      scheme_(std::move(scheme)),
      client_port_(free_port()),
      peer_port_(free_port()) {
  start();
}

EtcdProcess::~EtcdProcess() {
  kill();
}

std::string EtcdProcess::endpoint() const {
  return scheme_ + "://127.0.0.1:" + std::to_string(client_port_);
}

void EtcdProcess::start() {
  const std::string peer = "http://127.0.0.1:" + std::to_string(peer_port_);
  std::vector<std::string> words = {
      "etcd", "--name", "test", "--data-dir", directory_.path() / "data",
      // The least lease follows from these: one second.
      "--heartbeat-interval", "20", "--election-timeout", "200", "--listen-client-urls", endpoint(),
      "--advertise-client-urls", endpoint(), "--listen-peer-urls", peer,
      "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=" + peer};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  std::vector<char*> pointers;
  for (std::string& word : words)
    pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const std::string log = directory_.path() / "log";

  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ == 0) {
    // It must not outlive a test that crashes.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, 1);
    ::dup2(fd, 2);
    ::execvp("etcd", pointers.data());
    ::_exit(127);
  }
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  for (;;) {
    if (std::chrono::steady_clock::now() > deadline)
      throw std::runtime_error("etcd does not start; see its log in " + log);
    std::this_thread::sleep_for(20ms);
    if (scheme_ == "http") {
      // With authentication on it refuses us, and is there.
      if (ask("/v3/kv/range", encode_range("x", ""))) return;
    } else if (const int fd = connect_to(client_port_); fd >= 0) {
      ::close(fd);
      return;
    }
  }
}

void EtcdProcess::signal(int number) {
  ::kill(process_, number);
}

void EtcdProcess::kill() {
  if (process_ == 0) return;
  int status = 0;
  if (::waitpid(process_, &status, WNOHANG) == process_) {
    process_ = 0;
    ADD_FAILURE() << "etcd had ended by itself, wait status " << status << "; its log ends with\n"
                  << end_of(directory_.path() / "log");
    return;
  }
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = 0;
}

Result<HttpAnswer> EtcdProcess::ask(const std::string& path, const std::string& body) {
  asio::io_context io;
  Result<HttpAnswer> answer = make_error(ErrorCode::kUnavailable, "nothing came");
  HttpExchange::start(io, nullptr, parse_http_endpoint(endpoint()).value(),
                      HttpRequest{path, body, {}}, system_clock().now() + 5s,
                      [&](Result<HttpAnswer> got) { answer = std::move(got); });
  io.run();
  return answer;
}

std::string EtcdProcess::post(const std::string& path, const std::string& body) {
  HttpAnswer got = need(ask(path, body));
  if (got.status != 200) throw std::runtime_error(path + ": " + got.body);
  return got.body;
}

EtcdRange EtcdProcess::range(const std::string& key) {
  return need(decode_range(post("/v3/kv/range", encode_range(key, ""))));
}

int64_t EtcdProcess::put(const std::string& key, const std::string& value, int64_t lease) {
  return need(decode_put(post("/v3/kv/put", encode_put(key, value, lease))));
}

int64_t EtcdProcess::grant_lease(int64_t ttl_s) {
  return need(decode_lease_grant(post("/v3/lease/grant", encode_lease_grant(ttl_s)))).id;
}

void EtcdProcess::revoke(int64_t lease) {
  post("/v3/lease/revoke", encode_lease(lease));
}

int64_t EtcdProcess::revision() {
  return range("x").revision;
}

void EtcdProcess::compact(int64_t revision) {
  post("/v3/kv/compaction", R"({"revision":")" + std::to_string(revision) + R"("})");
}

}  // namespace tailrace::rpc::testing
