// An event-sourced client of a running cluster, by the client library alone. It reads the history
// that Debian's package manager keeps (dpkg.log) and
//
//   load   appends each line of standard input as an event of stream "dpkg"; each status line also
//          sets key pkg/NAME:ARCH to "STATE VERSION"
//   read   prints "KEY<tab>VALUE" for each key on standard input, from whichever server is named
//          first: a follower answers from its own copy
//
// Usage: package_history load|read HOST:PORT[,HOST:PORT...]

#include <atomic>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "rpc/client/client.h"

namespace {

using namespace tailrace;

constexpr size_t kMostInFlight = 1024;
constexpr size_t kBatchLines = 100;

/// Counts what is in flight, and keeps the first error.
class InFlight {
 public:
  void begin() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ < kMostInFlight; });
    ++count_;
  }
  void end(const Error* error) {
    const std::lock_guard lock(mutex_);
    if (error != nullptr && error_.empty()) error_ = error->message;
    --count_;
    changed_.notify_all();
  }
  /// Waits for all of them; the first error, or nothing.
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ == 0; });
    return error_;
  }
  bool failed() {
    const std::lock_guard lock(mutex_);
    return !error_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t count_ = 0;   // guarded by mutex_
  std::string error_;  // guarded by mutex_
};

/// "DATE TIME status STATE NAME:ARCH VERSION" gives key and value.
bool parse_status(const std::string& line, std::string& key, std::string& value) {
  std::istringstream words(line);
  std::string date, time, what, state, package, version;
  if (!(words >> date >> time >> what >> state >> package >> version) || what != "status")
    return false;
  key = "pkg/" + package;
  value = state + " " + version;
  return true;
}

int load(rpc::Client& client) {
  InFlight in_flight;
  std::atomic<uint64_t> first{0}, end{0}, epoch{0};
  uint64_t events = 0, statuses = 0;
  const auto done = [&](const Result<rpc::CommandAnswer>& answer) {
    if (!answer) return in_flight.end(&answer.error());
    // Answers come in the order of the log, on the client's one thread.
    if (first == 0) first = answer->range.first.value;
    end = answer->range.end.value;
    epoch = answer->epoch.value;
    in_flight.end(nullptr);
  };
  std::vector<std::string> lines;
  const auto send = [&] {
    if (lines.empty()) return;
    const std::vector<ByteSpan> batch = [&] {
      std::vector<ByteSpan> spans;
      for (const std::string& line : lines)
        spans.push_back(as_bytes(line));
      return spans;
    }();
    in_flight.begin();
    client.async_append("dpkg", batch, done);
    std::string key, value;
    for (const std::string& line : lines) {
      if (!parse_status(line, key, value)) continue;
      ++statuses;
      in_flight.begin();
      client.async_put(as_bytes(key), as_bytes(value), done);
    }
    events += lines.size();
    lines.clear();
    if (::isatty(STDERR_FILENO) == 1) std::cerr << "\r" << events << " lines" << std::flush;
  };
  for (std::string line; std::getline(std::cin, line) && !in_flight.failed();) {
    lines.push_back(line);
    if (lines.size() == kBatchLines) send();
  }
  send();
  const std::string problem = in_flight.wait();
  if (::isatty(STDERR_FILENO) == 1) std::cerr << "\r\033[K";
  if (!problem.empty()) {
    std::cerr << "package_history: " << problem << "\n";
    return 1;
  }
  std::cout << "events " << events << " status_lines " << statuses << " first " << first << " end "
            << epoch << ":" << end << "\n";
  return 0;
}

int read(rpc::Client& client) {
  rpc::ReadOptions options;
  options.level = rpc::ReadOptions::Level::kAny;
  for (std::string key; std::getline(std::cin, key);) {
    const auto answer = client.get(as_bytes(key), options);
    if (!answer) {
      std::cerr << "package_history: " << answer.error().message << "\n";
      return 1;
    }
    std::cout << key << "\t" << (answer->found ? answer->value : "") << "\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (argc != 3 || (verb != "load" && verb != "read")) {
    std::cerr << "usage: package_history load|read HOST:PORT[,HOST:PORT...]\n";
    return 2;
  }
  rpc::ClientOptions options;
  options.servers.clear();
  std::istringstream servers(argv[2]);
  for (std::string server; std::getline(servers, server, ',');)
    options.servers.push_back(server);
  auto client = rpc::Client::create(options);
  if (!client) {
    std::cerr << "package_history: " << client.error().message << "\n";
    return 2;
  }
  return verb == "load" ? load(**client) : read(**client);
}
