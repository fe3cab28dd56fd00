// A client that writes at full load and says what became of each write, for tests that kill servers
// meanwhile. Prints one line for each finished operation, the newest last:
//
//     put KEY VALUE RESULT ADDRESS
//     append STREAM EVENT RESULT ADDRESS
//     add KEY SUM RESULT ADDRESS            (each adds 1; SUM is - unless it is known)
//
// RESULT is ok, fail (it has not happened) or unknown (it may have, or may not). Each value and
// each event is unique: WRITER:NUMBER, filled up to a length of its own. The puts of one key are
// numbered upwards in the order in which the client was given them.
//
// Ends when standard input ends or --count operations are done; what is in flight is waited for.
// With --read it reads instead: each line of standard input is a key, each answer a line
//
//     get KEY VALUE RESULT ADDRESS          (VALUE is - when the key is absent)
#include <array>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "core/mutex.h"
#include "rpc/client/client.h"

namespace tailrace::test {
namespace {

constexpr size_t kMostFillBytes = 120;

struct WriterOptions {
  std::string servers = "127.0.0.1:7100", name = "w", read;
  uint32_t in_flight = 64, adders = 4, keys = 200;
  uint64_t count = 0;  // 0: until standard input ends
  double timeout_s = 30;
};

/// What the test reads; a line is written as a whole and at once.
void print(std::string_view operation, std::string_view key, std::string_view value,
           std::string_view result, Address address) {
  const std::string line =
      fmt::format("{} {} {} {} {}\n", operation, key, value, result, address.value);
  std::fwrite(line.data(), 1, line.size(), stdout);  // locks the stream
}

template <typename Answer>
std::string_view result_of(const Result<Answer>& answer) {
  if (answer) return "ok";
  switch (answer.error().code) {
    case ErrorCode::kUnknownOutcome:
    case ErrorCode::kTimedOut:  // it was sent
    case ErrorCode::kClosed:
      return "unknown";
    default:
      return "fail";
  }
}

Result<std::unique_ptr<rpc::Client>> connect(const WriterOptions& options) {
  rpc::ClientOptions client;
  client.servers.clear();
  std::stringstream list(options.servers);
  for (std::string one; std::getline(list, one, ',');)
    client.servers.push_back(one);
  client.timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout_s * 1000));
  return rpc::Client::create(client);
}

/// Puts and appends in turn, a fixed number in flight; each answer starts the next one.
class Writer {
 public:
  Writer(rpc::Client& client, const WriterOptions& options) : client_(client), options_(options) {}

  void start() {
    for (uint32_t i = 0; i < options_.in_flight; ++i) {
      const MutexLock lock(mutex_);
      issue();
    }
  }
  void stop() {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  void wait() {
    MutexLock lock(mutex_);
    idle_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return outstanding_ == 0; });
  }

 private:
  /// Numbered and submitted under one lock, so that the order of the numbers is that of the puts.
  void issue() TAILRACE_REQUIRES(mutex_) {
    if (stopping_ || (options_.count > 0 && number_ >= options_.count)) return;
    const uint64_t number = number_++;
    ++outstanding_;
    std::string value = fmt::format("{}:{}", options_.name, number);
    value.append(number * 7919 % kMostFillBytes, '.');
    if (number % 3 == 2) {
      const std::vector<ByteSpan> events{as_bytes(value)};
      client_.async_append(options_.name, events, done("append", options_.name, value));
    } else {
      const std::string key = fmt::format("{}/{}", options_.name, number % options_.keys);
      client_.async_put(as_bytes(key), as_bytes(value), done("put", key, value));
    }
  }

  rpc::Client::CommandCallback done(std::string_view operation, std::string key,
                                    std::string value) {
    return [this, operation, key = std::move(key),
            value = std::move(value)](const Result<rpc::CommandAnswer>& answer) {
      print(operation, key, value, result_of(answer), answer ? answer->range.first : Address{});
      const MutexLock lock(mutex_);
      issue();
      if (--outstanding_ == 0) idle_.notify_all();
    };
  }

  rpc::Client& client_;
  const WriterOptions& options_;
  Mutex mutex_;
  Condition idle_;
  uint64_t number_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t outstanding_ TAILRACE_GUARDED_BY(mutex_) = 0;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
};

/// Threads that share one client and one counter.
class Adders {
 public:
  Adders(rpc::Client& client, const WriterOptions& options) : client_(client), options_(options) {
    for (uint32_t i = 0; i < options.adders; ++i)
      threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
  }

 private:
  void run(const std::stop_token& stop) {
    const std::string key = options_.name + "/sum";
    while (!stop.stop_requested()) {
      const auto answer = client_.add(as_bytes(key), 1);
      const bool known = answer && answer->answer.has_value;
      print("add", key, known ? answer->answer.value : "-", result_of(answer),
            answer ? answer->range.first : Address{});
    }
  }

  rpc::Client& client_;
  const WriterOptions& options_;
  std::vector<std::jthread> threads_;
};

int write(const WriterOptions& options) {
  // Sessions of their own, so that a gap in one does not hide one in the other.
  auto client = connect(options), adding = connect(options);
  if (!client || !adding) {
    fmt::print(stderr, "ack_writer: {}\n", (client ? adding : client).error().message);
    return 2;
  }
  Writer writer(**client, options);
  writer.start();
  if (options.count == 0) {
    const Adders adders(**adding, options);
    for (std::string line; std::getline(std::cin, line);) {
    }
    writer.stop();
  }
  writer.wait();
  return std::fflush(stdout) == 0 ? 0 : 1;
}

int read(const WriterOptions& options) {
  rpc::ReadOptions level;
  if (options.read == "any") level.level = rpc::ReadOptions::Level::kAny;
  auto client = connect(options);
  if (!client) {
    fmt::print(stderr, "ack_writer: {}\n", client.error().message);
    return 2;
  }
  Mutex mutex;
  Condition idle;
  uint64_t outstanding = 0;
  for (std::string key; std::getline(std::cin, key);) {
    {
      const MutexLock lock(mutex);
      ++outstanding;
    }
    (*client)->async_get(as_bytes(key), level, [&, key](const Result<rpc::ReadAnswer>& answer) {
      print("get", key, answer && answer->found ? answer->value : "-", answer ? "ok" : "fail",
            answer ? answer->applied : Address{});
      if (!answer) fmt::print(stderr, "ack_writer: {}: {}\n", key, answer.error().message);
      const MutexLock lock(mutex);
      if (--outstanding == 0) idle.notify_all();
    });
  }
  MutexLock lock(mutex);
  idle.wait(lock, [&]() TAILRACE_REQUIRES(mutex) { return outstanding == 0; });
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tailrace::test

int main(int argc, char** argv) {
  tailrace::test::WriterOptions options;
  CLI::App app("Writes at full load and says what became of each write", "ack_writer");
  app.add_option("--server", options.servers, "HOST:PORT[,HOST:PORT...]");
  app.add_option("--name", options.name, "Begins every key, value and stream");
  app.add_option("--in-flight", options.in_flight, "Puts and appends");
  app.add_option("--adders", options.adders, "Threads that add 1 to one counter");
  app.add_option("--keys", options.keys, "Keys that the puts go round");
  app.add_option("--count", options.count, "Ends after so many puts and appends; none are added");
  app.add_option("--timeout", options.timeout_s, "Seconds for one operation");
  app.add_option("--read", options.read, "Reads the keys of standard input: any or linearizable");
  CLI11_PARSE(app, argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 1u << 16);
  return options.read.empty() ? tailrace::test::write(options) : tailrace::test::read(options);
}
