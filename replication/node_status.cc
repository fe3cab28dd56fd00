// What a node tells of itself: status and metrics.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "replication/driver.h"

namespace tailrace::replication {

namespace {

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

using Samples = observability::MetricRegistry::Samples;

}  // namespace

std::shared_ptr<NodeStatus> Driver::make_status() const {
  const CoreState& state = core_.state();
  auto result = std::make_shared<NodeStatus>();
  result->self = options_.self;
  result->role = failed_ ? Role::kStopped : state.role;
  result->epoch = state.epoch;
  result->leader = failed_ ? NodeId{} : state.leader;
  result->vote = core_.is_voter(options_.self) ? state.persisted.vote : Vote::kNone;
  if (coordinator_) result->coordinator = coordinator_->status();
  if (const Member* leader = find_member(state.members, result->leader))
    result->leader_client_address = leader->client_address;
  result->members = state.members;
  result->members_in_log = !state.members_record.empty();
  result->removed = !core_.is_member(options_.self) || state.outsider;
  result->cluster_version = state.cluster_version;
  const Leadership& lead = state.leadership;
  if (lead.known_version > state.cluster_version) {
    const auto left = lead.known_since + options_.finalize_after - state.now;
    result->next_version = lead.known_version;
    result->next_version_in =
        std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(left));
  }
  result->identity = state.promise.identity;
  result->serving = state.leadership.serving && !failed_ && running_;
  result->connected_to_leader = state.following.streaming;
  if (state.following.streaming) result->source = state.following.source;
  result->alone = count_voters(state.members) == 1 && core_.is_voter(options_.self) &&
                  state.role == Role::kLeader;
  if (state.role == Role::kLeader) result->lead_begins = state.leadership.epoch_start.end;
  if (state.fresh_at && running_) result->fresh_at = state.fresh_at;
  const bool follows = state.role == Role::kFollower || state.role == Role::kLearner;
  if (state.role == Role::kLeader) result->seconds_since_leader = 0;
  if (follows && running_)
    result->seconds_since_leader = seconds(now() - state.following.last_heard);
  if (running_ && !failed_ && state.role != Role::kLeader && !state.following.streaming)
    result->no_leader = why_no_leader();
  result->unhealthy = unhealthy();
  result->disagreement = disagreement();
  result->diverged = comparison_.divergence().has_value();
  result->last_compared = comparison_.last_compared();
  result->problem = failed_ ? failed_->message : state.problem;
  // A new one is to be added yet, as its leader says.
  const bool was_member = !core_.is_member(options_.self) || !state.members_record.empty();
  if (result->removed && was_member && !failed_)
    result->problem =
        "this node was removed from the members of the cluster: stop it, unless it is just being "
        "added. It answers no reads";
  const Member* self = find_member(state.members, options_.self);
  if (result->problem.empty() && self != nullptr && self->voter &&
      !core_.is_its_disk(options_.self, state.promise.incarnation))
    result->problem =
        "the disk of this node is not the one that votes for it: it was replaced, or an old one is "
        "back. It votes again once it has caught up";
  // A leader refuses every write then, and a follower does not keep up.
  if (const auto shortage = log_.shortage(); shortage && result->problem.empty())
    result->problem = shortage->message;
  if (const auto refusal = store_refusal()) {
    std::string& told = options_.store.disk_bytes == 0 ? result->problem : result->store_full;
    if (told.empty()) told = "the largest put would be refused: " + refusal->message;
  }
  result->copy = checkpoint_receiver_.status();
  for (const auto& [id, follower] : state.followers) {
    // The only one of a node that is neither leader nor relay is a candidate that fetches.
    if (state.role != Role::kLeader && state.following.source == NodeId{}) break;
    FollowerStatus one;
    one.id = id;
    one.voter = follower.voter;
    const bool votes = follower.voter && core_.is_its_disk(id, follower.incarnation);
    one.vote = votes ? follower.vote : Vote::kNone;
    one.connected = follower.streaming || core_.hears_relayed(follower);
    one.relayed_by = follower.relayed_by;
    one.needs_checkpoint = follower.needs_checkpoint;
    one.durable = follower.durable;
    one.applied = follower.applied;
    if (state.log.durable > follower.durable) {
      one.lag_bytes = state.log.durable - follower.durable;
      one.lag_seconds = std::max(0.0, seconds(now() - follower.passed_time));
    }
    one.unhealthy = unhealthy(follower, id);
    one.last_compared = comparison_.member(id).last_compared;
    result->followers.push_back(one);
  }
  return result;
}

/// What a leader's store would say to the largest put, so that it is known before one is refused.
std::optional<Error> Driver::store_refusal() const {
  const CoreState& state = core_.state();
  if (state.role != Role::kLeader || !state.leadership.serving || failed_ || !running_)
    return std::nullopt;
  statemachine::CommandCost largest;
  largest.log_bytes = options_.log.page_bytes;
  const Result<> admitted = state_machine_.admit(largest, 0);
  // Where compaction can make room a write waits for it.
  if (admitted || admitted.error().code != ErrorCode::kResourceExhausted) return std::nullopt;
  return admitted.error();
}

std::string Driver::why_no_leader() const {
  const CoreState& state = core_.state();
  const Member* leader = find_member(state.members, state.leader);
  if (has_coordinator_ && coordinator_ && !coordinator_->status().reachable)
    return "nobody is known to lead, and the coordinator, which names the leader, cannot be "
           "asked: " +
           coordinator_->status().problem;
  const std::string_view by_hand =
      has_coordinator_ ? ""
                       : "; where the one that a file names is gone for good, `tailrace promote "
                         "--node ID` has another one lead";
  if (leader == nullptr)
    return fmt::format(
        "there is no connection to the leader, because none is known: one leads once a majority of "
        "the voters are up and reach each other{}",
        by_hand);
  return fmt::format(
      "there is no connection to the leader, node {} at {} (the address for nodes): start it, or "
      "see that this node reaches it{}",
      leader->id.value, leader->peer_address, by_hand);
}

void Driver::publish() {
  std::shared_ptr<const NodeStatus> next = make_status();
  MutexLock lock(status_mutex_);
  status_.swap(next);
}

std::shared_ptr<const NodeStatus> Driver::status() const {
  MutexLock lock(status_mutex_);
  return status_;
}

void Driver::set_role_listener(std::function<void(const NodeStatus&)> listener) {
  role_listener_ = std::move(listener);
}

void Driver::set_restart_listener(std::function<void()> listener) {
  restart_listener_ = std::move(listener);
}

void Driver::set_fatal_listener(std::function<void(const Error&)> listener) {
  fatal_listener_ = std::move(listener);
}

void Driver::register_metrics(observability::MetricRegistry& registry) {
  auto& to = probe_.registration;
  to = registry.registration();
  registry.add_gauge(to, "tailrace_replication_epoch", "The epoch in which this node acts.", {},
                     [this] { return static_cast<double>(status()->epoch.value); });
  registry.add_gauges(
      to, "tailrace_replication_role", "1 for the role that this node has.", [this] {
        Samples samples;
        const Role mine = status()->role;
        for (Role role : {Role::kStarting, Role::kLeader, Role::kFollower, Role::kLearner,
                          Role::kCandidate, Role::kStopped})
          samples.push_back({{{"role", std::string(name_of(role))}}, role == mine ? 1.0 : 0.0});
        return samples;
      });
  registry.add_gauge(
      to, "tailrace_replication_vote",
      "Whether this node's word counts: 0 no (a new disk that has not caught up, or a "
      "learner), 1 provisionally, 2 yes.",
      {}, [this] { return static_cast<double>(status()->vote); });
  registry.add_gauge(to, "tailrace_replication_cluster_version",
                     "The version of formats and rules that all members know, as the log says; "
                     "nothing newer is written.",
                     {}, [this] { return static_cast<double>(status()->cluster_version); });
  registry.add_gauge(to, "tailrace_replication_serving",
                     "1 while this node leads and its epoch is committed.", {},
                     [this] { return status()->serving ? 1.0 : 0.0; });
  registry.add_gauge(to, "tailrace_replication_committed_address",
                     "Address up to which a majority of voters has the log durable.", {},
                     [this] { return static_cast<double>(watermarks_.committed().value); });
  registry.add_gauge(to, "tailrace_replication_connected_to_leader",
                     "1 while the leader, or this node's upstream, streams to it.", {},
                     [this] { return status()->connected_to_leader ? 1.0 : 0.0; });
  registry.add_gauge(to, "tailrace_replication_source_node",
                     "Number of the node that streams the log to this one; 0: none does.", {},
                     [this] { return static_cast<double>(status()->source.value); });
  registry.add_gauge(to, "tailrace_node_healthy",
                     "0 while this node's state is not to be read: it differs from the cluster's, "
                     "or is not applied any more.",
                     {}, [this] { return status()->unhealthy.empty() ? 1.0 : 0.0; });
  registry.add_gauge(to, "tailrace_replication_states_disputed",
                     "1 on the leader while states differ and none has a majority.", {},
                     [this] { return status()->disagreement.empty() ? 0.0 : 1.0; });
  registry.add_gauge(to, "tailrace_replication_last_compared_address",
                     "Address where this node's state was compared with the others' last; 0: "
                     "nowhere yet.",
                     {}, [this] { return static_cast<double>(status()->last_compared.value); });
  registry.add_counter(to, "tailrace_replication_state_digest_mismatches_total",
                       "States that were found to differ from the cluster's: on the leader any "
                       "node's, on the others their own.",
                       {}, probe_.digest_mismatches);
  registry.add_gauges(to, "tailrace_replication_members",
                      "Members of the cluster, as this node's log has them.", [this] {
                        double voters = 0, joining = 0, learners = 0;
                        const auto now_published = status();
                        for (const Member& member : now_published->members)
                          ++(member.voter ? voters : member.joining ? joining : learners);
                        return Samples{{{{"kind", "voter"}}, voters},
                                       {{{"kind", "joining"}}, joining},
                                       {{{"kind", "learner"}}, learners}};
                      });
  registry.add_gauge(
      to, "tailrace_replication_since_leader_seconds",
      "Time since the last message of the leader; 0 on the leader; NaN: this "
      "node follows nobody.",
      {}, [this] { return status()->seconds_since_leader.value_or(observability::kNotKnown); });

  auto of_followers = [&](std::string name, std::string help,
                          std::function<double(const FollowerStatus&)> value) {
    registry.add_gauges(to, std::move(name), std::move(help), [this, value = std::move(value)] {
      Samples samples;
      for (const FollowerStatus& follower : status()->followers)
        samples.push_back({{{"follower", std::to_string(follower.id.value)}}, value(follower)});
      return samples;
    });
  };
  of_followers("tailrace_replication_follower_lag_bytes",
               "Durable bytes of the leader that the follower has not acknowledged.",
               [](const FollowerStatus& f) { return static_cast<double>(f.lag_bytes); });
  of_followers("tailrace_replication_follower_lag_seconds",
               "Time since the follower had all that was durable on the leader.",
               [](const FollowerStatus& f) { return f.lag_seconds; });
  of_followers("tailrace_replication_follower_connected", "1 while the follower is streamed to.",
               [](const FollowerStatus& f) { return f.connected ? 1.0 : 0.0; });
  of_followers("tailrace_replication_follower_healthy",
               "0 when its state has diverged, or it applies nothing although more is committed.",
               [](const FollowerStatus& f) { return f.unhealthy.empty() ? 1.0 : 0.0; });
  of_followers("tailrace_replication_follower_needs_checkpoint",
               "1 when the leader no longer keeps the log from the follower's end on.",
               [](const FollowerStatus& f) { return f.needs_checkpoint ? 1.0 : 0.0; });

  registry.add_gauge(to, "tailrace_replication_checkpoint_copy_bytes",
                     "Bytes of another node's state that this node copies, in all; 0: it does not.",
                     {}, [this] { return static_cast<double>(status()->copy.bytes); });
  registry.add_gauge(to, "tailrace_replication_checkpoint_copy_received_bytes",
                     "Of them, what has come.", {},
                     [this] { return static_cast<double>(status()->copy.received); });
  registry.add_counter(to, "tailrace_replication_checkpoint_received_bytes_total",
                       "Bytes of other nodes' states that came.", {},
                       probe_.checkpoint_received_bytes);
  registry.add_counter(to, "tailrace_replication_checkpoint_sent_bytes_total",
                       "Bytes of this node's state that were sent to others.", {},
                       probe_.checkpoint_sent_bytes);
  registry.add_counter(to, "tailrace_replication_shipped_bytes_total",
                       "Log bytes sent to followers.", {}, probe_.shipped_bytes);
  registry.add_counter(to, "tailrace_replication_shipped_messages_total",
                       "Messages with log bytes sent to followers.", {}, probe_.shipped);
  registry.add_counter(to, "tailrace_replication_received_bytes_total",
                       "Log bytes of the leader taken into this node's log.", {},
                       probe_.received_bytes);
  registry.add_counter(to, "tailrace_replication_acks_sent_total",
                       "Acknowledgements sent to the leader.", {}, probe_.acks_sent);
  registry.add_counter(to, "tailrace_replication_acks_received_total",
                       "Acknowledgements received from followers.", {}, probe_.acks_received);
  registry.add_counter(to, "tailrace_replication_refusals_sent_total",
                       "Subscriptions or messages of peers that were refused.", {},
                       probe_.refusals_sent);
  registry.add_counter(to, "tailrace_replication_refusals_received_total",
                       "Refusals received from peers.", {}, probe_.refusals_received);
  registry.add_counter(to, "tailrace_replication_elections_won_total",
                       "Times that this node became the leader.", {}, probe_.elections_won);
  registry.add_counter(to, "tailrace_replication_elections_lost_total",
                       "Times that it was granted an epoch and did not become the leader.", {},
                       probe_.elections_lost);
  registry.add_counter(to, "tailrace_replication_log_cuts_total",
                       "Times that the end of this node's log was cut off because it differed from "
                       "the leader's.",
                       {}, probe_.log_cuts);
  registry.add_counter(to, "tailrace_replication_append_waits_total",
                       "Times that received bytes waited for room in the log's buffer.", {},
                       probe_.append_waits);
}

}  // namespace tailrace::replication
