#include "rpc/etcd/election.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "observability/logging.h"

namespace tailrace::rpc {

using replication::Candidacy;
using replication::Grant;

namespace {
constexpr std::chrono::milliseconds kMostPollInterval{5000};
/// All candidates see the key go in the same moment.
constexpr uint64_t kMostRandomDelayMs = 50;
}  // namespace

EtcdElection::EtcdElection(asio::io_context& io, EtcdClient& client,
                           const EtcdCoordinatorOptions& options, Events events)
    : options_(options),
      keys_(options.prefix, options.cluster),
      events_(std::move(events)),
      client_(client),
      lease_(io, client, options.lease_ttl,
             {.taken =
                  [this] {
                    registered_ = false;
                    register_member();
                    evaluate();
                  },
              .lost =
                  [this] {
                    evaluate();
                    view_.refresh();
                  }}),
      view_(io, client, keys_, std::min<Milliseconds>(options.lease_ttl, kMostPollInterval),
            [this] { evaluate(); }),
      campaign_timer_(io),
      retry_timer_(io),
      random_(random_seed()),
      process_(random_.next()) {}

void EtcdElection::start(Epoch known) {
  running_ = true;
  known_ = std::max(known_, static_cast<int64_t>(known.value));
  lease_.start();
  view_.start();
}

void EtcdElection::stop(std::function<void()> done) {
  const int64_t lease = lease_.id();
  running_ = false;
  lease_.stop();
  view_.stop();
  campaign_timer_.cancel();
  retry_timer_.cancel();
  auto revoke = [this, lease, done = std::move(done)] {
    if (lease == 0) return done();
    client_.revoke(lease, [done](const Result<>&) { done(); });
  };
  // Without the successor's name beside it, the key's removal lets nobody go first, and those who
  // have resigned lately hold back.
  if (removing_ && resigning_ && resigning_->successor.value != 0)
    finish_ = std::move(revoke);
  else
    revoke();
}

void EtcdElection::raise(Epoch known) {
  known_ = std::max(known_, static_cast<int64_t>(known.value));
  // Others have promised more than what we hold: it is exchanged for a new epoch. Until etcd has
  // done so it stays, as a majority may still follow it.
  if (held_ != 0 && held_ < known_) evaluate();
}

void EtcdElection::set_candidacy(Candidacy candidacy) {
  if (candidacy_ == candidacy) return;
  candidacy_ = candidacy;
  evaluate();
}

void EtcdElection::resign(Epoch epoch, NodeId successor) {
  if (held_ == 0 || static_cast<int64_t>(epoch.value) != held_) return;
  if (successor == options_.self) successor = {};
  resigning_ = {held_, successor};
  // Longer than those who wait for the key to have been free for a while.
  held_back_until_ = system_clock().now() + (successor.value == 0 ? 2 : 1) * options_.lease_ttl;
  hand_over();
}

bool EtcdElection::is_ours(const LeaderKey& key) const {
  return lease_.id() != 0 && key.lease == lease_.id() && key.node == options_.self;
}

void EtcdElection::evaluate() {
  if (!running_ || !view_.current()) return;
  const LeaderView& view = *view_.current();
  const bool ours = view.leader && is_ours(*view.leader);
  // Of an earlier process of this node, or of a lease that we have lost: nobody leads by it.
  const bool stale = view.leader && !ours && view.leader->node == options_.self;
  const int64_t epoch = view.leader ? view.leader->create_revision : 0;

  if (resigning_ && (!ours || epoch != resigning_->epoch)) resigning_.reset();
  if (ours && epoch != held_ && epoch > known_ && candidacy_ != Candidacy::kNever) {
    held_ = known_ = epoch;
    grants_.add();
    observability::log_info("etcd grants node {} the lead in epoch {}", options_.self.value, epoch);
  }
  if (!ours || epoch != held_) held_ = 0;

  if (held_ != 0) {
    tell({options_.self, Epoch{static_cast<uint64_t>(held_)}});
  } else if (view.leader && !ours && !stale) {
    tell({view.leader->node, Epoch{static_cast<uint64_t>(epoch)}});
  } else {
    tell({});
  }
  if (view.leader && view.leader->node.value == 0) {
    set_problem(
        fmt::format("the key {} in etcd has a value that no node wrote: remove it", keys_.leader));
  } else if (view.leader && !stale) {
    set_problem({});
  }

  const bool is_free = !view.leader || stale;
  if (!is_free) free_since_.reset();
  if (is_free && !free_since_) free_since_ = system_clock().now();
  if (!registered_) register_member();
  if (ours && (held_ == 0 || held_ < known_)) give_up(epoch);
  consider();
}

void EtcdElection::tell(Grant grant) {
  if (told_ == grant) return;
  told_ = grant;
  events_.told(grant);
}

void EtcdElection::set_problem(const std::string& problem) {
  if (problem_ == problem) return;
  problem_ = problem;
  if (!problem.empty()) observability::log_error("etcd: {}", problem);
  events_.problem(problem);
}

void EtcdElection::register_member() {
  if (registering_ || lease_.id() == 0) return;
  registering_ = true;
  const nlohmann::json value = {{"peer", options_.peer_address},
                                {"client", options_.client_address}};
  const std::string key = keys_.members + std::to_string(options_.self.value);
  client_.put(key, value.dump(), lease_.id(),
              [this, lease = lease_.id()](const Result<int64_t>& put) {
                registering_ = false;
                if (put && lease == lease_.id()) registered_ = true;
              });
}

// ---- Becoming the leader.

void EtcdElection::consider() {
  const LeaderView& view = *view_.current();
  const bool named = view.handover && view.handover->to == options_.self;
  const bool waits = !free_since_ || lease_.id() == 0 || candidacy_ == Candidacy::kNever ||
                     (view.handover && !named);
  if (campaigning_) return;
  if (waits) return campaign_timer_.cancel();

  SteadyTime at = *free_since_;
  if (candidacy_ == Candidacy::kLater && !named) at += options_.lease_ttl;
  if (!named) at = std::max(at, held_back_until_);
  at = std::max(at, retry_at_);
  if (campaign_timer_.armed() && campaign_at_ == at) return;
  campaign_at_ = at;
  const auto delay = std::chrono::ceil<Milliseconds>(at - system_clock().now());
  // No one else hurries when we are named, or when the key is still ours.
  const bool alone = named || view.leader;
  const Milliseconds random(alone ? 0 : random_.below(kMostRandomDelayMs));
  campaign_timer_.after(std::max(delay, Milliseconds(0)) + random, [this] { campaign(); });
}

void EtcdElection::campaign() {
  const LeaderView& view = *view_.current();
  campaigning_ = true;
  if (view.leader) return remove_stale_key(*view.leader);
  if (view.revision < known_) return raise_floor(view.revision);
  win();
}

void EtcdElection::win() {
  if (!running_) return;
  const LeaderView& view = *view_.current();
  const int64_t lease = lease_.id();
  if (candidacy_ == Candidacy::kNever || lease == 0 || view.leader) {
    campaigning_ = false;
    return evaluate();
  }
  EtcdTransaction transaction;
  const int64_t handover = view.handover ? view.handover->mod_revision : 0;
  transaction.compares = {{EtcdCompare::Of::kCreated, keys_.leader, 0},
                          {EtcdCompare::Of::kModified, keys_.handover, handover}};
  transaction.then = {
      {EtcdOperation::Kind::kPut, keys_.leader, value_of_leader(), lease, {}},
      // It has served its purpose, and would hold up the others if this node fails soon.
      {EtcdOperation::Kind::kDelete, keys_.handover, {}, 0, {}}};
  transaction.otherwise = {range_of_both()};
  client_.transact(transaction, [this, lease](Result<EtcdTransactionResult> result) {
    if (!running_) return;
    campaigning_ = false;
    if (!result) {
      if (result.error().code == ErrorCode::kNotFound) lease_.not_found(lease);
      return campaign_failed(result.error());
    }
    if (!result->succeeded) return view_.accept(EtcdRange{result->revision, result->pairs});
    set_problem({});
    view_.accept(
        LeaderView{result->revision, LeaderKey{result->revision, lease, options_.self}, {}});
  });
}

void EtcdElection::remove_stale_key(const LeaderKey& key) {
  EtcdTransaction transaction;
  transaction.compares = {{EtcdCompare::Of::kCreated, keys_.leader, key.create_revision}};
  transaction.then = {{EtcdOperation::Kind::kDelete, keys_.leader, {}, 0, {}}};
  transaction.otherwise = {range_of_both()};
  client_.transact(transaction, [this](Result<EtcdTransactionResult> result) {
    if (!running_) return;
    campaigning_ = false;
    if (!result) return campaign_failed(result.error());
    accept_removal(*result);
  });
}

/// An epoch is a revision of etcd. Another coordinator, or an etcd that is lost now, may have
/// granted epochs beyond the revisions of this one; harmless writes make up for that.
void EtcdElection::raise_floor(int64_t revision) {
  constexpr int64_t kMostWrites = 5000;
  constexpr int64_t kAtOnce = 8;
  if (!running_) return;
  const int64_t missing = known_ - revision;
  if (missing <= 0) return win();
  if (missing > kMostWrites) {
    campaigning_ = false;
    retry_at_ = system_clock().now() + options_.lease_ttl;
    set_problem(fmt::format(
        "this node has heard of epoch {}, but etcd is at revision {} only, and epochs are its "
        "revisions: it is another etcd than before. Restore the data of the one before, or write "
        "to any key of this one, {} times at least (`etcdctl put {} x`)",
        known_, revision, missing, keys_.epoch_floor));
    return consider();
  }
  struct Round {
    int64_t left, revision;
    std::optional<Error> error;
  };
  const int64_t writes = std::min(missing, kAtOnce);
  const auto round = std::make_shared<Round>(Round{writes, revision, std::nullopt});
  for (int64_t i = 0; i < writes; ++i) {
    client_.put(keys_.epoch_floor, std::to_string(known_), 0, [this, round](Result<int64_t> put) {
      if (put)
        round->revision = std::max(round->revision, *put);
      else
        round->error = put.error();
      if (--round->left > 0 || !running_) return;
      if (round->error) {
        campaigning_ = false;
        return campaign_failed(*round->error);
      }
      raise_floor(round->revision);
    });
  }
}

void EtcdElection::campaign_failed(const Error& error) {
  observability::log_debug("etcd: this node's campaign failed: {}", error.message);
  retry_at_ = system_clock().now() + kEtcdRetryPause;
  // The transaction may have been done all the same.
  view_.refresh();
  consider();
}

// ---- Ceasing to be.

void EtcdElection::give_up(int64_t epoch) {
  if (removing_) return;
  removing_ = true;
  remove_leader_key(epoch, 0);
}

void EtcdElection::hand_over() {
  if (removing_ || !resigning_) return;
  removing_ = true;
  const Resignation resignation = *resigning_;
  if (resignation.successor.value == 0) return remove_leader_key(resignation.epoch, 0);
  client_.grant_lease(options_.lease_ttl, [this, resignation](Result<EtcdLeaseGrant> lease) {
    if (!running_ && !finish_) return;
    if (lease) return remove_leader_key(resignation.epoch, lease->id);
    after_removal(tl::unexpected(std::move(lease).error()));
  });
}

void EtcdElection::remove_leader_key(int64_t epoch, int64_t handover_lease) {
  EtcdTransaction transaction;
  transaction.compares = {{EtcdCompare::Of::kCreated, keys_.leader, epoch}};
  transaction.then = {{EtcdOperation::Kind::kDelete, keys_.leader, {}, 0, {}}};
  if (handover_lease != 0 && resigning_) {
    const nlohmann::json value = {{"from", options_.self.value},
                                  {"to", resigning_->successor.value}};
    transaction.then.push_back(
        {EtcdOperation::Kind::kPut, keys_.handover, value.dump(), handover_lease, {}});
  }
  transaction.otherwise = {range_of_both()};
  client_.transact(transaction, [this](Result<EtcdTransactionResult> result) {
    if (running_ || finish_) after_removal(std::move(result));
  });
}

void EtcdElection::after_removal(Result<EtcdTransactionResult> result) {
  removing_ = false;
  if (finish_) return std::exchange(finish_, nullptr)();
  if (result) return accept_removal(*result);
  observability::log_debug("etcd: giving up the lead failed: {}", result.error().message);
  // The view goes on saying that the key is ours: then it is tried again.
  retry_timer_.after(kEtcdRetryPause, [this] {
    if (resigning_) hand_over();
    view_.refresh();
  });
}

void EtcdElection::accept_removal(const EtcdTransactionResult& result) {
  if (!result.succeeded) return view_.accept(EtcdRange{result.revision, result.pairs});
  // What was put beside the removal is not known here: ask, before anyone campaigns.
  view_.refresh();
}

EtcdOperation EtcdElection::range_of_both() const {
  return {EtcdOperation::Kind::kRange, keys_.handover, {}, 0, keys_.range_end};
}

std::string EtcdElection::value_of_leader() const {
  const nlohmann::json value = {{"node", options_.self.value},
                                {"client", options_.client_address},
                                {"peer", options_.peer_address},
                                {"process", fmt::format("{:016x}", process_)}};
  return value.dump();
}

}  // namespace tailrace::rpc
