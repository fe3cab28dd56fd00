#include "replication/state_comparison.h"

#include <algorithm>

#include <fmt/format.h>

namespace tailrace::replication {
namespace {

/// A digest reads the whole state: what it takes is followed by so many times that of rest.
constexpr int kRest = 4;

StateDigest digest_of(const CompareState& from) {
  return {from.address, from.high, from.low, from.pairs};
}
StateDigest digest_of(const StateCompared& from) {
  return {from.address, from.high, from.low, from.pairs};
}

}  // namespace

bool same(const StateDigest& one, const StateDigest& other) {
  return one.address == other.address && one.high == other.high && one.low == other.low &&
         one.pairs == other.pairs;
}

std::string describe(const Divergence& divergence) {
  const StateDigest &own = divergence.own, &cluster = divergence.cluster;
  return fmt::format(
      "at address {} its digest is {:016x}{:016x} of {} pairs, the cluster's {:016x}{:016x} of {} "
      "pairs",
      own.address.value, own.high, own.low, own.pairs, cluster.high, cluster.low, cluster.pairs);
}

// ---- Leader. -----------------------------------------------------------------------------------

void StateComparison::tick(Epoch leads, const statemachine::DigestProgress& progress, Time now) {
  if (leads != leads_) {
    // What was appended in an earlier lead may have been cut off.
    leads_ = leads;
    asked_at_ = now;
    asked_ = {};
    own_.reset();
  }
  if (progress.newest && (!progress_.newest || !same(*progress.newest, *progress_.newest)))
    finished_at_ = now;
  progress_ = progress;
  if (leads_ == Epoch{} || !progress.newest) return;
  settle(now);
  if (own_ && (same(*own_, *progress.newest) || is_held(now))) return;
  own_ = progress.newest;
  right_.reset();
  differs_since_.reset();
  answers_.clear();
  sent_.clear();
}

void StateComparison::set_members(const Members& members) {
  options_.members = members.size();
  options_.voters.clear();
  for (const Member& member : members)
    if (member.voter) options_.voters.insert(member.id);
  const auto gone = [&](const auto& entry) { return find_member(members, entry.first) == nullptr; };
  std::erase_if(answers_, gone);
  std::erase_if(sent_, gone);
  std::erase_if(members_, gone);
}

bool StateComparison::wants_digest(const std::set<NodeId>& connected, Time now) const {
  if (leads_ == Epoch{} || options_.interval.count() == 0 || options_.members < 2) return false;
  if (progress_.running || progress_.asked < asked_) return false;
  if (now - asked_at_ < options_.interval || now - finished_at_ < kRest * progress_.took)
    return false;
  if (progress_.moved || !progress_.newest || progress_.newest->address < progress_.asked)
    return true;
  // Nothing was written, but who was not there the last time has not been compared.
  return std::any_of(connected.begin(), connected.end(), [&](NodeId id) {
    return id != options_.self && member(id).last_compared < progress_.asked;
  });
}

void StateComparison::asked(Address end, Time now) {
  asked_ = end;
  asked_at_ = now;
}

std::vector<std::pair<NodeId, CompareState>> StateComparison::due(const std::set<NodeId>& connected,
                                                                  Time now) {
  std::vector<std::pair<NodeId, CompareState>> result;
  if (leads_ == Epoch{} || !own_) return result;
  const StateDigest& said = right_ ? *right_ : *own_;
  for (const NodeId id : connected) {
    if (id == options_.self) continue;
    if (const auto answer = answers_.find(id); answer != answers_.end()) {
      // Whoever differs is told what was decided, until it says that it knows.
      const StateCompared& was = answer->second;
      if (!right_ || !was.known || was.diverged || same(digest_of(was), *right_)) continue;
    }
    const auto sent = sent_.find(id);
    if (sent != sent_.end() && now - sent->second < options_.resend) continue;
    sent_[id] = now;
    result.emplace_back(id, CompareState{leads_, said.address, said.high, said.low, said.pairs,
                                         right_.has_value()});
  }
  return result;
}

void StateComparison::answered(NodeId member, const StateCompared& answer, Time now) {
  if (leads_ == Epoch{} || answer.epoch != leads_ || !own_ || answer.address != own_->address)
    return;
  const bool first = !answers_.contains(member);
  answers_[member] = answer;
  if (!answer.known) {
    MemberView& view = members_[member];
    view.diverged = answer.diverged;
    if (!answer.diverged) view.divergence.reset();
  } else if (!first || right_) {
    count(member, answer);
  }
  settle(now);
}

/// Some digest differs from another, and it is not decided which ones are wrong, or who is wrong
/// has not said yet that it knows.
bool StateComparison::is_held(Time now) const {
  if (!differs_since_) return false;
  if (!right_) return true;
  if (now - decided_at_ >= options_.patience) return false;
  return std::any_of(answers_.begin(), answers_.end(), [&](const auto& one) {
    const StateCompared& answer = one.second;
    return answer.known && !answer.diverged && !same(digest_of(answer), *right_);
  });
}

void StateComparison::settle(Time now) {
  if (!own_ || right_) return;
  bool differ = false;
  size_t silent = 0;
  std::vector<StateDigest> voters;
  if (options_.voters.contains(options_.self)) voters.push_back(*own_);
  for (const auto& [id, answer] : answers_) {
    if (answer.known) differ |= !same(digest_of(answer), *own_);
    if (answer.known && options_.voters.contains(id)) voters.push_back(digest_of(answer));
  }
  for (const NodeId voter : options_.voters)
    silent += voter != options_.self && !answers_.contains(voter);
  if (differ && !differs_since_) differs_since_ = now;
  for (const StateDigest& candidate : voters) {
    const auto agree = std::count_if(voters.begin(), voters.end(),
                                     [&](const StateDigest& one) { return same(one, candidate); });
    if (static_cast<size_t>(agree) > options_.voters.size() / 2) right_ = candidate;
  }
  // No majority: the leader's, unless it is known to be wrong.
  if (!right_ && differ && !divergence_ &&
      (silent == 0 || now - *differs_since_ >= options_.patience))
    right_ = own_;
  if (!right_) return;
  decided_at_ = now;
  last_compared_ = own_->address;
  sent_.clear();
  if (!same(*own_, *right_)) {
    ++mismatches_;
    if (!divergence_) divergence_ = Divergence{*own_, *right_};
  }
  for (const auto& [id, answer] : answers_)
    if (answer.known) count(id, answer);
}

/// What a member's digest says of it, once it is decided which one is right.
void StateComparison::count(NodeId id, const StateCompared& answer) {
  if (!right_) return;
  MemberView& view = members_[id];
  const bool newly = view.last_compared != answer.address;
  const bool differs = !same(digest_of(answer), *right_);
  view.last_compared = answer.address;
  view.diverged = answer.diverged || differs;
  if (differs) {
    if (newly) ++mismatches_;
    view.divergence = Divergence{digest_of(answer), *right_};
  } else if (!answer.diverged) {
    view.divergence.reset();
  }
}

StateComparison::MemberView StateComparison::member(NodeId id) const {
  const auto found = members_.find(id);
  return found == members_.end() ? MemberView{} : found->second;
}

// ---- Member. -----------------------------------------------------------------------------------

StateCompared StateComparison::answer(const CompareState& question,
                                      const std::optional<StateDigest>& own) {
  if (own && question.settled) {
    last_compared_ = std::max(last_compared_, own->address);
    const StateDigest cluster = digest_of(question);
    if (!same(*own, cluster)) {
      ++mismatches_;
      if (!divergence_) divergence_ = Divergence{*own, cluster};
    }
  } else if (own && same(*own, digest_of(question))) {
    last_compared_ = std::max(last_compared_, own->address);
  }
  StateCompared result;
  result.epoch = question.epoch;
  result.address = question.address;
  result.known = own.has_value();
  if (own) {
    result.high = own->high;
    result.low = own->low;
    result.pairs = own->pairs;
  }
  result.diverged = divergence_.has_value();
  return result;
}

}  // namespace tailrace::replication
