// `tailrace top`: a cluster on one screen, again and again.
#include <algorithm>
#include <ctime>
#include <limits>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/top/live.h"
#include "app/top/screen.h"
#include "app/top/terminal.h"
#include "app/top/view_json.h"

namespace tailrace::app {

namespace {

using top::Snapshot;

// A node that takes longer to say how it is counts as silent.
constexpr std::chrono::milliseconds kLongestPoll{2000};
// Rates need two polls. Without a screen the first one is not shown, and is soon followed.
constexpr std::chrono::nanoseconds kLongestFirstPause = std::chrono::seconds(1);

struct TopOptions {
  ClientFlags client;
  double interval_s = 1;
  bool batch = false, json = false;
  uint64_t iterations = std::numeric_limits<uint64_t>::max();

  std::chrono::nanoseconds interval() const {
    return std::chrono::nanoseconds(static_cast<int64_t>(interval_s * 1e9));
  }
};

std::string local_time(int64_t unix_time_ms, const char* format) {
  const std::time_t seconds = unix_time_ms / 1000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, format, &parts)};
}

void print_batch(const TopOptions& options, const Snapshot& before, const Snapshot& now) {
  const top::View view = top::view_of(&before, now);
  if (options.json) return print_out("{}\n", json_text(top::to_json(view)));
  top::ScreenOptions screen;
  screen.width = top::batch_width();
  screen.time = local_time(now.unix_time_ms, "%F %T");
  screen.interval_s = options.interval_s;
  for (const top::Line& line : top::screen(view, screen))
    print_out("{}\n", line.text());
  write_out("\n");
}

/// As `status`: one of --server that does not answer at the end makes it 3.
int code_of(const Snapshot& last, size_t named) {
  int code = kDone;
  for (size_t i = 0; i < std::min(named, last.servers.size()); ++i) {
    const auto& [server, answer] = last.servers[i];
    if (!answer) code = std::max(code, report_answer(with_context(server, answer.error())));
  }
  return code;
}

int run_batch(const TopOptions& options, const rpc::ClientOptions& client) {
  auto poller = top::Poller::create(client);
  if (!poller) return report(poller.error());
  SteadyTime next =
      std::chrono::steady_clock::now() + std::min(options.interval(), kLongestFirstPause);
  Snapshot before = poller->poll();
  for (uint64_t shown = 0; shown < options.iterations; ++shown) {
    std::this_thread::sleep_until(next);
    next = std::max(next, std::chrono::steady_clock::now()) + options.interval();
    Snapshot now = poller->poll();
    print_batch(options, before, now);
    before = std::move(now);
    if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  }
  return code_of(before, client.servers.size());
}

/// What the screen shows, and what it would show if it were not paused.
class Shown {
 public:
  Shown(const TopOptions& options, top::Terminal& terminal)
      : options_(options), terminal_(terminal) {}

  Result<> take(std::shared_ptr<const Snapshot> snapshot) {
    before_ = std::exchange(now_, std::move(snapshot));
    if (!paused_) look();
    return paused_ ? Result<>{} : draw();
  }

  /// False: the user has seen enough.
  bool on_key(char key) {
    if (key == 'q' || key == 'Q') return false;
    if (key == 'h' || key == '?') help_ = !help_;
    if (key == 'p' || key == ' ') {
      paused_ = !paused_;
      if (!paused_) look();
    }
    return true;
  }

  Result<> draw() {
    const auto [width, height] = terminal_.size();
    if (!has_view_)
      return terminal_.draw(
          {top::Line("tailrace top asks " + options_.client.servers + "; q quits").cut(width)});
    top::ScreenOptions screen{
        width,   height, local_time(view_.unix_time_ms, "%T"), options_.interval_s, true,
        paused_, help_};
    return terminal_.draw(top::screen(view_, screen));
  }

 private:
  void look() {
    if (now_ == nullptr) return;
    view_ = top::view_of(before_.get(), *now_);
    has_view_ = true;
  }

  const TopOptions& options_;
  top::Terminal& terminal_;
  std::shared_ptr<const Snapshot> before_, now_;
  top::View view_;
  bool has_view_ = false, paused_ = false, help_ = false;
};

/// Until the user has seen enough, or the terminal is gone.
Result<> show(const TopOptions& options, top::Terminal& terminal, top::Live& live) {
  Shown shown(options, terminal);
  TAILRACE_RETURN_IF_ERROR(shown.draw());
  for (uint64_t screens = 0; screens < options.iterations;) {
    using Kind = top::Terminal::Event::Kind;
    const auto event = terminal.wait(live.descriptor());
    switch (event.kind) {
      case Kind::kNothing:
        break;
      case Kind::kEnd:
        return {};
      case Kind::kKey:
        if (!shown.on_key(event.key)) return {};
        TAILRACE_RETURN_IF_ERROR(shown.draw());
        break;
      case Kind::kResized:
        TAILRACE_RETURN_IF_ERROR(shown.draw());
        break;
      case Kind::kOther:
        if (auto snapshot = live.take()) {
          ++screens;
          TAILRACE_RETURN_IF_ERROR(shown.take(std::move(snapshot)));
        }
        break;
    }
  }
  return {};
}

Result<> run_screen(const TopOptions& options, const rpc::ClientOptions& client) {
  // First: threads that come later block its signals, too.
  TAILRACE_ASSIGN_OR_RETURN(auto terminal, top::Terminal::open());
  TAILRACE_ASSIGN_OR_RETURN(auto poller, top::Poller::create(client));
  top::Live live(std::move(poller), options.interval());
  auto done = show(options, *terminal, live);
  terminal.reset();  // before a poll that is under way is waited for
  return done;
}

int run_top(const TopOptions& options) {
  auto client = options.client.client_options();
  if (!client) return report(client.error());
  // No poll may take longer than until the next one.
  client->timeout = std::max(
      std::chrono::milliseconds(1),
      std::min({client->timeout, kLongestPoll,
                std::chrono::duration_cast<std::chrono::milliseconds>(options.interval())}));
  if (options.batch || options.json || !top::has_screen()) return run_batch(options, *client);
  const auto done = run_screen(options, *client);
  return done ? kDone : report(done.error());
}

}  // namespace

void add_top_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "top",
      "Shows a cluster on one screen, anew each second: nodes, watermarks, rates, where the time "
      "of writes goes, what holds truncation back, and what is wrong. Keys: q quits, p pauses, h "
      "explains");
  const auto options = std::make_shared<TopOptions>();
  seconds_or_time(verb->add_option("--interval", options->interval_s,
                                   "How often the nodes are asked: seconds, or 500ms, 2s, 1m. One "
                                   "that does not answer in this time, or in 2 s, is shown so"),
                  0.1, 3600.0)
      ->capture_default_str();
  verb->add_flag(
      "--batch", options->batch,
      "Plain text, one screen after the other, also where standard output is a terminal");
  verb->add_flag("--json", options->json,
                 "One object a line for each screen; all sizes in bytes, all times in seconds");
  whole_number(verb->add_option("-n,--iterations", options->iterations,
                                "Ends after so many screens; without it when it is stopped"),
               1, UINT64_MAX);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = run_top(*options); });
}

}  // namespace tailrace::app
