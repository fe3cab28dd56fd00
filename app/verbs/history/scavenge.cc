// `tailrace history scavenge`: has every node take dead events out of its event files.

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/verbs/history/history_report.h"
#include "app/verbs/history/history_verbs.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::milliseconds kLookAgain{500};
constexpr std::chrono::seconds kAskAgain{5};

struct ScavengeOptions {
  ClientFlags client;
  bool wait = false, json = false;
};

/// What each member does, told on standard error where it changes.
class ScavengeWatch {
 public:
  ScavengeWatch(rpc::Client& client, Address to) : client_(client), to_(to) {}

  /// True once all members are scavenged up to the address, or keep no events.
  bool all_done() {
    bool all = true, any = false;
    for (const auto& [server, status] : client_.cluster_status()) {
      any = true;
      const auto answer = status ? client_.history(server)
                                 : Result<rpc::HistoryAnswer>(tl::unexpected(status.error()));
      const bool done = answer && (!answer->kept || answer->scavenged_to >= to_);
      if (answer && !answer->kept) keeps_none_.insert(server);
      // Event files are written behind a checkpoint that is beyond the command.
      if (answer && answer->kept && answer->scavenge_to >= to_ && answer->range.end < to_)
        ask_checkpoint(server);
      tell(server, answer ? text_of(*answer) : answer.error().message);
      all = all && done;
    }
    return all && any;
  }

  /// Members that keep no events: what they have of earlier files is not touched.
  size_t keep_none() const { return keeps_none_.size(); }

 private:
  /// Not while the one before may still run.
  void ask_checkpoint(const std::string& server) {
    const SteadyTime now = std::chrono::steady_clock::now();
    SteadyTime& asked = asked_[server];
    if (asked != SteadyTime{} && now - asked < kAskAgain) return;
    asked = now;
    if (const auto taken = client_.checkpoint(server); !taken)
      tell(server, "no checkpoint: " + taken.error().message);
  }
  std::string text_of(const rpc::HistoryAnswer& answer) const {
    if (!answer.kept) return "keeps no events";
    return answer.scavenge_to < to_ ? "has not applied the command yet" : scavenge_text(answer);
  }
  void tell(const std::string& server, const std::string& text) {
    if (std::exchange(told_[server], text) == text) return;
    print_error("{}  {}\n", printable(server), printable(text));
  }

  rpc::Client& client_;
  const Address to_;
  std::map<std::string, SteadyTime> asked_;
  std::set<std::string> keeps_none_;
  std::map<std::string, std::string> told_;
};

int scavenge(const ScavengeOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto to = (*client)->request_scavenge();
  if (!to) return report_answer(to.error());
  size_t keep_none = 0;
  if (options.wait) {
    ScavengeWatch watch(**client, *to);
    while (!watch.all_done())
      std::this_thread::sleep_for(kLookAgain);
    keep_none = watch.keep_none();
  }
  if (options.json)
    print_out("{}\n", json_text(nlohmann::ordered_json{{"address", to->value}}, -1));
  else if (options.wait)
    print_out("no event that was unreadable at address {} is in an event file{}\n", to->value,
              keep_none == 0 ? ""
                             : ", but for nodes that keep no events now (history.keep is none): "
                               "tailrace history erased tells what they have from before");
  else
    print_out(
        "each node takes out of its event files what is unreadable at address {}: see "
        "tailrace history status\n",
        to->value);
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  return kDone;
}

}  // namespace

void add_scavenge_verb(CLI::App& history, int& exit_code) {
  CLI::App* const verb = history.add_subcommand(
      "scavenge",
      "Has every node write its event files again without events that have become unreadable: by a "
      "deletion or a tombstone of their stream, or by its policy");
  const auto options = std::make_shared<ScavengeOptions>();
  verb->add_flag("--wait", options->wait,
                 "Take a checkpoint on each node, tell what each does, and end when all members "
                 "are done, however long one is down");
  verb->add_flag("--json", options->json, "One object: address, up to which the log counts");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = scavenge(*options); });
}

}  // namespace tailrace::app
