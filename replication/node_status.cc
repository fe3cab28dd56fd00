// What a node tells of itself: status and metrics.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "observability/metric_table.h"
#include "replication/driver.h"

namespace tailrace::replication {

namespace {

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

using Samples = observability::MetricRegistry::Samples;

/// `value` of a follower whose end is known.
template <typename Number>
double of_known(const FollowerStatus& follower, Number value) {
  return follower.durable == Address{} ? observability::kNotKnown : static_cast<double>(value);
}

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
  if (state.following.streaming) result->clock_offset_s = clock_offset_.seconds();
  result->alone = count_voters(state.members) == 1 && core_.is_voter(options_.self) &&
                  state.role == Role::kLeader;
  if (state.role == Role::kLeader) result->lead_begins = state.leadership.epoch_start.end;
  if (state.fresh_at && running_) result->fresh_at = state.fresh_at;
  const bool follows = state.role == Role::kFollower || state.role == Role::kLearner;
  if (state.role == Role::kLeader) result->seconds_since_leader = 0;
  if (follows && running_ && state.following.last_heard.count() != 0)
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
    // Until it was heard of in this lead its end is not known: it may have everything.
    if (follower.durable != Address{} && state.log.durable > follower.durable) {
      one.lag_bytes = state.log.durable - follower.durable;
      one.lag_seconds = std::max(0.0, seconds(now() - follower.passed_time));
    }
    one.round_trip_s = round_trips_.seconds(id);
    one.unhealthy = unhealthy(follower, id);
    one.last_compared = comparison_.member(id).last_compared;
    result->followers.push_back(one);
  }
  if (result->role == Role::kLeader && result->serving) {
    const auto reached = [](const FollowerStatus& f) {
      return f.connected && f.vote != Vote::kNone;
    };
    result->voters = static_cast<uint32_t>(count_voters(state.members));
    result->voters_connected =
        static_cast<uint32_t>(std::ranges::count_if(result->followers, reached)) +
        (result->vote != Vote::kNone ? 1 : 0);
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
                       : ". If the one that leads is gone for good, make another node lead: "
                         "`tailrace promote --node ID`";
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
  registry.add_gauge(to, observability::metric("tailrace_replication_epoch"), {}, [this] {
    const Epoch epoch = status()->epoch;
    return epoch == Epoch{} ? observability::kNotKnown : static_cast<double>(epoch.value);
  });
  const auto of_voters = [&](const observability::MetricInfo& metric,
                             std::optional<uint32_t> NodeStatus::*field) {
    registry.add_gauge(to, metric, {}, [this, field] {
      const std::optional<uint32_t> count = (*status()).*field;
      return count ? static_cast<double>(*count) : observability::kNotKnown;
    });
  };
  of_voters(observability::metric("tailrace_replication_voters"), &NodeStatus::voters);
  of_voters(observability::metric("tailrace_replication_voters_connected"),
            &NodeStatus::voters_connected);
  registry.add_series(to, observability::metric("tailrace_replication_role"), [this] {
    Samples samples;
    const Role mine = status()->role;
    for (Role role : {Role::kStarting, Role::kLeader, Role::kFollower, Role::kLearner,
                      Role::kCandidate, Role::kStopped})
      samples.push_back({{{"role", std::string(name_of(role))}}, role == mine ? 1.0 : 0.0});
    return samples;
  });
  registry.add_series(to, observability::metric("tailrace_replication_vote_state"), [this] {
    Samples samples;
    const Vote mine = status()->vote;
    for (const Vote vote : {Vote::kNone, Vote::kProvisional, Vote::kFull})
      samples.push_back({{{"vote", std::string(name_of(vote))}}, vote == mine ? 1.0 : 0.0});
    return samples;
  });
  registry.add_gauge(to, observability::metric("tailrace_replication_cluster_version"), {},
                     [this] { return static_cast<double>(status()->cluster_version); });
  registry.add_gauge(to, observability::metric("tailrace_replication_serving"), {}, [this] {
    const auto told = status();
    return told->serving && !told->stands_still() ? 1.0 : 0.0;
  });
  registry.add_gauge(to, observability::metric("tailrace_replication_connected_to_leader"), {},
                     [this] {
                       const auto told = status();
                       return told->connected_to_leader && !told->stands_still() ? 1.0 : 0.0;
                     });
  registry.add_gauge(to, observability::old_metric("tailrace_replication_vote"), {},
                     [this] { return static_cast<double>(status()->vote); });
  registry.add_gauge(to, observability::old_metric("tailrace_replication_source_node"), {},
                     [this] { return static_cast<double>(status()->source.value); });
  registry.add_gauge(
      to, observability::metric("tailrace_replication_clock_offset_seconds"), {},
      [this] { return status()->clock_offset_s.value_or(observability::kNotKnown); });
  registry.add_series(to, observability::metric("tailrace_replication_source_info"), [this] {
    Samples samples;
    if (const NodeId source = status()->source; source != NodeId{})
      samples.push_back({{{"source", std::to_string(source.value)}}, 1.0});
    return samples;
  });
  registry.add_gauge(to, observability::metric("tailrace_node_healthy"), {}, [this] {
    return status()->unhealthy.empty() && !status()->removed ? 1.0 : 0.0;
  });
  registry.add_gauge(to, observability::metric("tailrace_replication_states_disputed"), {},
                     [this] { return status()->disagreement.empty() ? 0.0 : 1.0; });
  registry.add_gauge(
      to, observability::metric("tailrace_replication_last_compared_address_bytes"), {}, [this] {
        const Address at = status()->last_compared;
        return at == Address{} ? observability::kNotKnown : static_cast<double>(at.value);
      });
  registry.add_counter(to,
                       observability::metric("tailrace_replication_state_digest_mismatches_total"),
                       {}, probe_.digest_mismatches);
  registry.add_gauge(to, observability::metric("tailrace_replication_member"), {},
                     [this] { return status()->removed ? 0.0 : 1.0; });
  registry.add_series(to, observability::metric("tailrace_replication_members"), [this] {
    double voters = 0, joining = 0, learners = 0;
    const auto now_published = status();
    for (const Member& member : now_published->members)
      ++(member.voter ? voters : member.joining ? joining : learners);
    return Samples{{{{"kind", "voter"}}, voters},
                   {{{"kind", "joining"}}, joining},
                   {{{"kind", "learner"}}, learners}};
  });
  registry.add_gauge(
      to, observability::metric("tailrace_replication_since_leader_seconds"), {},
      [this] { return status()->seconds_since_leader.value_or(observability::kNotKnown); });

  auto of_followers = [&](const observability::MetricInfo& metric,
                          std::function<double(const FollowerStatus&)> value) {
    registry.add_series(to, metric, [this, value = std::move(value)] {
      Samples samples;
      for (const FollowerStatus& follower : status()->followers)
        samples.push_back({{{"follower", std::to_string(follower.id.value)}}, value(follower)});
      return samples;
    });
  };
  of_followers(observability::metric("tailrace_replication_follower_lag_bytes"),
               [](const FollowerStatus& f) { return of_known(f, f.lag_bytes); });
  of_followers(observability::metric("tailrace_replication_follower_lag_seconds"),
               [](const FollowerStatus& f) { return of_known(f, f.lag_seconds); });
  of_followers(observability::metric("tailrace_replication_follower_connected"),
               [](const FollowerStatus& f) { return f.connected ? 1.0 : 0.0; });
  of_followers(observability::metric("tailrace_replication_follower_healthy"),
               [](const FollowerStatus& f) { return f.unhealthy.empty() ? 1.0 : 0.0; });
  of_followers(observability::metric("tailrace_replication_follower_needs_checkpoint"),
               [](const FollowerStatus& f) { return f.needs_checkpoint ? 1.0 : 0.0; });
  of_followers(
      observability::metric("tailrace_replication_follower_round_trip_seconds"),
      [](const FollowerStatus& f) { return f.round_trip_s.value_or(observability::kNotKnown); });
  registry.add_counter(
      to, observability::metric("tailrace_replication_without_leader_seconds_total"), {},
      [this] { return 1e-6 * static_cast<double>(probe_.without_leader_us.value()); });

  registry.add_gauge(to, observability::metric("tailrace_replication_checkpoint_copy_bytes"), {},
                     [this] { return static_cast<double>(status()->copy.bytes); });
  registry.add_gauge(to,
                     observability::metric("tailrace_replication_checkpoint_copy_received_bytes"),
                     {}, [this] { return static_cast<double>(status()->copy.received); });
  registry.add_counter(
      to, observability::metric("tailrace_replication_checkpoint_received_bytes_total"), {},
      probe_.checkpoint_received_bytes);
  registry.add_counter(to,
                       observability::metric("tailrace_replication_checkpoint_sent_bytes_total"),
                       {}, probe_.checkpoint_sent_bytes);
  registry.add_counter(to, observability::metric("tailrace_replication_shipped_bytes_total"), {},
                       probe_.shipped_bytes);
  registry.add_counter(to, observability::metric("tailrace_replication_shipped_messages_total"), {},
                       probe_.shipped);
  registry.add_counter(to, observability::metric("tailrace_replication_received_bytes_total"), {},
                       probe_.received_bytes);
  registry.add_counter(to, observability::metric("tailrace_replication_acks_sent_total"), {},
                       probe_.acks_sent);
  registry.add_counter(to, observability::metric("tailrace_replication_acks_received_total"), {},
                       probe_.acks_received);
  registry.add_counter(to, observability::metric("tailrace_replication_refusals_sent_total"), {},
                       probe_.refusals_sent);
  registry.add_counter(to, observability::metric("tailrace_replication_refusals_received_total"),
                       {}, probe_.refusals_received);
  registry.add_counter(to, observability::metric("tailrace_replication_elections_won_total"), {},
                       probe_.elections_won);
  registry.add_counter(to, observability::metric("tailrace_replication_elections_lost_total"), {},
                       probe_.elections_lost);
  registry.add_counter(to, observability::metric("tailrace_replication_log_cuts_total"), {},
                       probe_.log_cuts);
  registry.add_counter(to, observability::metric("tailrace_replication_append_waits_total"), {},
                       probe_.append_waits);
}

}  // namespace tailrace::replication
