// Works on a store until it is killed, for the test that kills it. First it opens what the last one
// left, and compares it with what the operations up to each session's point make of an empty store.
//
//   prefix_worker DIRECTORY --seed N [--round N] [--larger-than-memory] [--serials N] [--die]
//
// Prints, each line at once:
//
//   opened TOKEN POINTS        0 when there was no checkpoint; POINTS are SESSION:SERIAL ...
//   note TEXT                  of recovery
//   verified PAIRS
//   published TOKEN KIND POINTS
//   done                       with --verify, or when all sessions have done --serials and input
//   ends
//
// What is wrong goes to standard error, and it ends with 1.

#include <csignal>
#include <cstdio>
#include <iostream>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "tests/kv/prefix/prefix_run.h"

namespace tailrace::kv {
namespace {

struct WorkerOptions {
  std::string directory;
  uint64_t seed = 1, round = 0, serials = 20'000;
  bool larger_than_memory = false, die = false, verify = false;
};

std::string points_of(const std::vector<SessionPoint>& points) {
  std::string text;
  for (const SessionPoint& point : points)
    text += " " + std::to_string(point.session) + ":" + std::to_string(point.point);
  return text;
}

void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

int fail(const std::string& what) {
  std::fputs((what + "\n").c_str(), stderr);
  std::fflush(stderr);
  return 1;
}

int work(const WorkerOptions& options) {
  const PrefixShape shape = prefix_shape(options.seed, options.larger_than_memory);
  auto store = Store::open(
      storage::posix_file_system(),
      prefix_store_options(options.directory, options.seed, options.larger_than_memory));
  if (!store) return fail("open: " + store.error().message);
  std::vector<SessionPoint> points;
  uint64_t token = 0;
  if (const auto& recovered = (*store)->recovered()) {
    points = recovered->points;
    token = recovered->token;
    if (recovered->user_metadata != "points" + points_of(points)) {
      return fail("the checkpoint's metadata is '" + recovered->user_metadata + "'");
    }
  }
  say("opened " + std::to_string(token) + points_of(points));
  for (const std::string& note : (*store)->recovery_notes())
    say("note " + note);
  auto models = models_at(shape, points);
  const std::string difference = prefix_difference(**store, models, options.round);
  if (!difference.empty()) return fail("after recovery: " + difference);
  uint64_t pairs = 0;
  for (const SessionModel& model : models)
    pairs += model.pairs().size();
  say("verified " + std::to_string(pairs));
  if (options.verify) {
    say("done");
    return 0;
  }

  PrefixRunOptions running;
  running.seed = options.seed * 1000 + options.round;
  running.most_serials = options.serials;
  Random fate(running.seed + 7);
  running.before_publish = [&] {
    if (options.die && fate.chance(1, 6)) ::kill(::getpid(), SIGKILL);
  };
  running.published = [](const CheckpointInfo& info) {
    say("published " + std::to_string(info.token) + " " + std::string(name_of(info.kind)) +
        points_of(info.points));
  };
  PrefixRun run(**store, shape, std::move(models), running);
  std::thread input([&] {  // its end asks for an orderly end
    for (std::string line; std::getline(std::cin, line);) {
    }
  });
  std::atomic<bool> ended{false};
  std::thread waiting([&] {
    input.join();
    ended = true;
  });
  while (!run.failed() && !ended)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const std::string told = run.finish();
  if (!told.empty()) {
    const int status = fail(told);
    std::_Exit(status);  // the input may be waiting
  }
  waiting.join();
  const std::string at_end = prefix_difference(**store, run.models(), options.round + 1);
  if (!at_end.empty()) return fail("at the end: " + at_end);
  say("done");
  return 0;
}

}  // namespace
}  // namespace tailrace::kv

int main(int argc, char** argv) {
  tailrace::kv::WorkerOptions options;
  CLI::App app("Writes until it is killed, and checks what was left", "prefix_worker");
  app.add_option("directory", options.directory)->required();
  app.add_option("--seed", options.seed, "Of the operations and of the store's options");
  app.add_option("--round", options.round, "When things happen");
  app.add_option("--serials", options.serials, "Of each session in this round");
  app.add_flag("--larger-than-memory", options.larger_than_memory);
  app.add_flag("--die", options.die, "By itself, in some checkpoint");
  app.add_flag("--verify", options.verify, "Ends after the comparison");
  CLI11_PARSE(app, argc, argv);
  return tailrace::kv::work(options);
}
