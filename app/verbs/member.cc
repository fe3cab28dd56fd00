// `tailrace member list|add|remove`: who belongs to the cluster.
#include <algorithm>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/top/followers.h"
#include "app/verbs/member_json.h"

namespace tailrace::app {

using Answer = rpc::NodeStatusAnswer;

const char* kind_of(const Answer::Member& member) {
  return member.voter ? "voter" : member.joining ? "joining" : "learner";
}

nlohmann::json members_json(const Answer& node) {
  nlohmann::json all = nlohmann::json::array();
  for (const Answer::Member& member : node.members)
    all.push_back({{"node", member.node.value},
                   {"kind", kind_of(member)},
                   {"peer", member.peer_address},
                   {"client", member.client_address}});
  return all;
}

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTryAgain{50};
constexpr std::chrono::milliseconds kMemberLook{100};
constexpr std::chrono::seconds kReport{2};

struct MemberOptions {
  ClientFlags client;
  Answer::Member member;
  bool learner = false, no_wait = false, json = false;
};

/// The leader's word, or where none answers that of the node whose log is longest: then `leads` is
/// false.
struct View {
  Answer answer;
  bool leads = false;
};
Result<View> look(rpc::Client& client) {
  std::optional<Answer> best;
  std::optional<Error> problem;
  // Of two that say that they lead, the one before does not know yet that it does not.
  const auto rank = [](const Answer& one) {
    return std::tuple(one.serving, one.serving ? one.epoch : Epoch{}, one.durable);
  };
  for (auto& [server, answer] : client.cluster_status()) {
    if (!answer)
      problem = with_context(server, answer.error());
    else if (!best || rank(*answer) > rank(*best))
      best = std::move(*answer);
  }
  if (best) {
    const bool leads = best->serving;
    return View{std::move(*best), leads};
  }
  return tl::unexpected(problem.value_or(Error{ErrorCode::kUnavailable, "no --server is given"}));
}

const Answer::Member* find(const Answer& answer, NodeId node) {
  const auto found = std::ranges::find(answer.members, node, &Answer::Member::node);
  return found == answer.members.end() ? nullptr : &*found;
}

const Answer::Follower* find_follower(const Answer& answer, NodeId node) {
  const auto found = std::ranges::find(answer.followers, node, &Answer::Follower::node);
  return found == answer.followers.end() ? nullptr : &*found;
}

/// Until it is committed: while a leader is chosen, or an earlier change is under way, once more.
Result<> change(const MemberOptions& options, const std::function<Result<>()>& once) {
  const auto until = Clock::now() + std::chrono::duration<double>(options.client.timeout_s);
  for (;;) {
    Result<> done = once();
    if (done) return done;
    const ErrorCode code = done.error().code;
    const bool passes = code == ErrorCode::kUnavailable || code == ErrorCode::kNotLeader ||
                        code == ErrorCode::kUnknownOutcome;
    if (!passes || Clock::now() >= until) return done;
    std::this_thread::sleep_for(kTryAgain);
  }
}

std::string behind_text(const Answer::Follower& follower) {
  if (!top::is_position_known(follower)) return "position not known yet";
  return fmt::format("behind by {}", bytes_text(follower.lag_bytes));
}

/// How far a node is that joins.
std::string progress_of(const Result<View>& view, NodeId node) {
  if (!view) return "no server answers: " + view.error().message;
  if (!view->leads) return "no node serves as the leader";
  const Answer::Follower* follower = find_follower(view->answer, node);
  if (follower != nullptr && follower->needs_checkpoint)
    return fmt::format("node {} copies the state; `tailrace status` shows how much has come",
                       node.value);
  if (follower == nullptr || !follower->connected)
    return fmt::format("node {} is not connected yet; is it started, with these addresses?",
                       node.value);
  return fmt::format("node {} joins, {}", node.value, behind_text(*follower));
}

/// Until it votes, or `until`; how far it is on standard error.
int wait_until_voter(rpc::Client& client, NodeId node, Clock::time_point until) {
  auto told = Clock::now();
  for (;;) {
    const Result<View> view = look(client);
    if (view && view->leads) {
      const Answer::Member* member = find(view->answer, node);
      if (member == nullptr)
        return report_answer(Error{ErrorCode::kFailedPrecondition,
                                   fmt::format("node {} was removed meanwhile", node.value)});
      if (member->voter) {
        print_error("node {} is a voter\n", node.value);
        return kDone;
      }
      if (!member->joining)
        return report_answer(
            Error{ErrorCode::kFailedPrecondition,
                  fmt::format("node {} was made a learner meanwhile", node.value)});
    }
    if (Clock::now() >= until)
      return report_answer(Error{
          ErrorCode::kTimedOut,
          fmt::format("node {} is a member and does not vote yet: {}. It goes on without this "
                      "verb, and votes once it has caught up; `tailrace member list` shows "
                      "when",
                      node.value, progress_of(view, node))});
    if (Clock::now() - told >= kReport) {
      told = Clock::now();
      print_error("{}\n", printable(progress_of(view, node)));
    }
    std::this_thread::sleep_for(kMemberLook);
  }
}

/// A node with a new disk goes by its file: one that names members of long ago could found a
/// cluster of its own.
void remind_of_files() {
  print_error(
      "keep `replication.members` in every node's file equal to `tailrace member list`, and "
      "`leader` one of them: a node with an empty disk finds the cluster by its file\n");
}

/// A node that is new has no addresses yet: which flags give them.
Error with_flags(Error error, const Answer::Member& wanted) {
  if (error.code == ErrorCode::kInvalidArgument &&
      (wanted.peer_address.empty() || wanted.client_address.empty()))
    error.message += ": give --peer HOST:PORT --client HOST:PORT";
  return error;
}

int add(const MemberOptions& options) {
  const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(options.client.timeout_s));
  auto client = options.client.connect();
  if (!client) return report(client.error());
  Answer::Member wanted = options.member;
  wanted.voter = !options.learner;
  const auto done = change(options, [&, &to = **client] { return to.set_member(wanted); });
  if (!done) return report_answer(with_flags(done.error(), wanted));
  remind_of_files();
  if (options.learner || options.no_wait) {
    print_error("node {} {}\n", wanted.node.value,
                options.learner ? "is a learner" : "joins; it votes once it has caught up");
    return kDone;
  }
  return wait_until_voter(**client, wanted.node, until);
}

bool has_another_voter(const Answer& answer, NodeId node) {
  return std::ranges::any_of(answer.members, [node](const Answer::Member& member) {
    return member.voter && member.node != node;
  });
}

/// As the next leader would see it: before the lead is given away for nothing.
Result<> check_majority_without(const Answer& leader) {
  const auto able = std::ranges::count_if(leader.followers, [](const Answer::Follower& follower) {
    return follower.voter && follower.vote != Vote::kNone && follower.connected;
  });
  const auto left = std::ranges::count_if(leader.members, [&](const Answer::Member& member) {
    return member.voter && member.node != leader.node;
  });
  if (able > left / 2) return {};
  return make_error(
      ErrorCode::kFailedPrecondition,
      fmt::format("of the {} voters that would be left without node {} only {} follow and have a "
                  "vote, which is no majority: bring the others back, or add voters, first",
                  left, leader.node.value, able));
}

/// Who leads cannot remove itself: it hands over first, and the next leader removes it.
int remove(const MemberOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const NodeId node = options.member.node;
  const Result<View> view = look(**client);
  if (!view) return report_answer(view.error());
  if (view->leads && find(view->answer, node) == nullptr)
    return report_answer(Error{ErrorCode::kNotFound,
                               fmt::format("node {} is no member; `tailrace member list` shows "
                                           "them",
                                           node.value)});
  bool told = false;
  const auto done = change(options, [&, &to = **client]() -> Result<> {
    const Result<View> now = look(to);
    if (now && now->leads && now->answer.node == node) {
      if (!has_another_voter(now->answer, node))
        return make_error(
            ErrorCode::kFailedPrecondition,
            fmt::format("node {} is the only voter, and there is none to hand over to: "
                        "add another one first (`tailrace member add`), which takes "
                        "its place once it votes; to end the cluster, stop the node",
                        node.value));
      TAILRACE_RETURN_IF_ERROR(check_majority_without(now->answer));
      if (!std::exchange(told, true))
        print_error("node {} leads: it hands over first\n", node.value);
      TAILRACE_RETURN_IF_ERROR(to.transfer(NodeId{}));
    }
    Result<> removed = to.remove_member(node);
    // The lead came back to it meanwhile.
    if (!removed && removed.error().code == ErrorCode::kFailedPrecondition) {
      const Result<View> after = look(to);
      if (after && after->leads && after->answer.node == node)
        return make_error(ErrorCode::kUnavailable, removed.error().message);
    }
    return removed;
  });
  if (!done) return report_answer(done.error());
  print_error("node {} was removed; stop it\n", node.value);
  remind_of_files();
  return kDone;
}

/// With how far each is behind, where the leader says so of it: as the lines have it.
nlohmann::json listed_json(const View& view) {
  nlohmann::json all = members_json(view.answer);
  for (nlohmann::json& member : all) {
    const Answer::Follower* follower =
        view.leads ? find_follower(view.answer, NodeId{member["node"]}) : nullptr;
    if (follower == nullptr) continue;
    member["connected"] = follower->connected;
    if (follower->connected && top::is_position_known(*follower))
      member["behind_bytes"] = follower->lag_bytes;
  }
  return all;
}

int list(const MemberOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const Result<View> view = look(**client);
  if (!view) return report_answer(view.error());
  const Answer& answer = view->answer;
  if (!view->leads)
    print_error("no node serves as the leader: this is what node {} knows\n", answer.node.value);
  if (options.json) {
    const nlohmann::json out = {{"told_by", answer.node.value},
                                {"leader", view->leads ? answer.node.value : 0},
                                {"in_log", answer.members_in_log},
                                {"members", listed_json(*view)}};
    print_out("{}\n", json_text(out, 2));
  } else {
    for (const Answer::Member& member : answer.members) {
      const Answer::Follower* follower = find_follower(answer, member.node);
      const std::string state = member.node == answer.node ? (view->leads ? "leads" : "")
                                : !view->leads             ? ""
                                : follower == nullptr || !follower->connected
                                    ? "not connected"
                                    : behind_text(*follower);
      print_out("{:>4}  {:<8}  peer {}  client {}{}{}\n", member.node.value, kind_of(member),
                printable(member.peer_address), printable(member.client_address),
                state.empty() ? "" : "  ", state);
    }
    if (!answer.members_in_log)
      print_out("They are as in the configuration file: no change was ever made.\n");
  }
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_member_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("member", "Shows and changes who belongs to the cluster");
  verb->require_subcommand(1);

  CLI::App* lists = verb->add_subcommand("list", "Prints the members, as the leader knows them");
  const auto listed = std::make_shared<MemberOptions>();
  lists->add_flag("--json", listed->json, "One object");
  listed->client.add_to(*lists);
  lists->callback([listed, &exit_code] { exit_code = list(*listed); });

  CLI::App* adds = verb->add_subcommand(
      "add", "Adds a node, or changes one: it gets the log, and votes once it has caught up");
  const auto added = std::make_shared<MemberOptions>();
  whole_number(adds->add_option("--id", added->member.node.value, "The node's number"), 1,
               UINT32_MAX)
      ->required();
  host_port(adds->add_option("--peer", added->member.peer_address,
                             "Where the other nodes reach it; needed for a new node"));
  host_port(adds->add_option("--client", added->member.client_address,
                             "Where clients reach it; needed for a new node"));
  adds->add_flag("--learner", added->learner, "The node never votes; a voter becomes a learner");
  adds->add_flag("--no-wait", added->no_wait,
                 "Do not wait until it votes; without it --timeout bounds that wait");
  added->client.add_to(*adds);
  adds->callback([added, &exit_code] { exit_code = add(*added); });

  CLI::App* removes = verb->add_subcommand(
      "remove",
      "Removes a node; it counts for no majority from then on. The leader hands over "
      "first");
  const auto removed = std::make_shared<MemberOptions>();
  whole_number(removes->add_option("--id", removed->member.node.value, "The node's number"), 1,
               UINT32_MAX)
      ->required();
  removed->client.add_to(*removes);
  removes->callback([removed, &exit_code] { exit_code = remove(*removed); });
}

}  // namespace tailrace::app
