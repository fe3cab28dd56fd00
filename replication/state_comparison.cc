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

std::string describe(const Divergence& divergence, std::string_view other) {
  const StateDigest &own = divergence.own, &cluster = divergence.cluster;
  return fmt::format(
      "at address {} its digest is {:016x}{:016x} of {} pairs, {} {:016x}{:016x} of {} pairs",
      own.address.value, own.high, own.low, own.pairs, other, cluster.high, cluster.low,
      cluster.pairs);
}

// ---- Leader. -----------------------------------------------------------------------------------

void StateComparison::tick(Epoch leads, const statemachine::DigestProgress& progress, Time now) {
  if (leads != leads_) {
    // What was appended in an earlier lead may have been cut off.
    leads_ = leads;
    asked_at_ = now;
    asked_ = {};
    own_.reset();
    disputed_ = false;
    for (auto& [id, view] : members_)
      view.dispute.reset();
  }
  // Its state is the one that the others are held against.
  if (leads_ != Epoch{}) dispute_.reset();
  if (progress.newest && (!progress_.newest || !same(*progress.newest, *progress_.newest)))
    finished_at_ = now;
  progress_ = progress;
  if (leads_ == Epoch{} || !progress.newest) return;
  settle(now);
  if (own_ && (same(*own_, *progress.newest) || is_held(now))) return;
  own_ = progress.newest;
  right_.reset();
  disputed_ = false;
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
      const bool knows = right_ ? was.diverged : !disputed_ || was.disputed || was.diverged;
      if (knows || !was.known || same(digest_of(was), said)) continue;
    }
    const auto sent = sent_.find(id);
    if (sent != sent_.end() && now - sent->second < options_.resend) continue;
    sent_[id] = now;
    result.emplace_back(id, CompareState{leads_, said.address, said.high, said.low, said.pairs,
                                         right_.has_value(), disputed_});
  }
  return result;
}

void StateComparison::answered(NodeId member, const StateCompared& answer, Time now) {
  if (leads_ == Epoch{} || answer.epoch != leads_ || !own_ || answer.address != own_->address)
    return;
  const bool first = !answers_.contains(member);
  answers_[member] = answer;
  if (answer.diverged) members_[member].diverged = true;
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
  if (!differs_since_ || disputed_) return false;
  // A leader that is known to be wrong decides no dispute.
  if (!right_) return !divergence_;
  if (now - decided_at_ >= options_.patience) return false;
  return std::any_of(answers_.begin(), answers_.end(), [&](const auto& one) {
    const StateCompared& answer = one.second;
    return answer.known && !answer.diverged && !same(digest_of(answer), *right_);
  });
}

StateComparison::Witnesses StateComparison::witnesses() const {
  Witnesses result;
  std::optional<StateDigest> first;
  const auto hear = [&](NodeId id, const StateDigest& digest) {
    if (options_.voters.contains(id)) result.voters.push_back(digest);
    if (!first) first = digest;
    result.differ |= !same(digest, *first);
  };
  if (!divergence_) hear(options_.self, *own_);
  for (const auto& [id, answer] : answers_)
    if (answer.known && !answer.diverged) hear(id, digest_of(answer));
  return result;
}

void StateComparison::settle(Time now) {
  if (!own_ || right_) return;
  const Witnesses heard = witnesses();
  size_t silent = 0;
  for (const NodeId voter : options_.voters)
    silent += voter != options_.self && !answers_.contains(voter);
  if (heard.differ && !differs_since_) differs_since_ = now;
  for (const StateDigest& candidate : heard.voters) {
    const auto agree = std::ranges::count_if(
        heard.voters, [&](const StateDigest& one) { return same(one, candidate); });
    if (static_cast<size_t>(agree) > options_.voters.size() / 2) right_ = candidate;
  }
  if (!right_) {
    const bool waited = differs_since_ && now - *differs_since_ >= options_.patience;
    if (heard.differ && (silent == 0 || waited)) begin_dispute(now);
    return;
  }
  disputed_ = false;
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

void StateComparison::begin_dispute(Time now) {
  // One that is known to be wrong is no measure: one of the others is to lead, and to be it.
  if (!disputed_ && !divergence_) {
    disputed_ = true;
    ++mismatches_;
    decided_at_ = now;
    last_compared_ = own_->address;
    sent_.clear();
  }
  for (const auto& [id, answer] : answers_) {
    if (!answer.known) continue;
    MemberView& view = members_[id];
    view.last_compared = answer.address;
    view.diverged = answer.diverged;
    view.dispute.reset();
    if (disputed_ && !answer.diverged && !same(digest_of(answer), *own_))
      view.dispute = Divergence{digest_of(answer), *own_};
  }
}

/// What a member's digest says of it, once it is decided which one is right.
void StateComparison::count(NodeId id, const StateCompared& answer) {
  if (!right_) return;
  MemberView& view = members_[id];
  const bool newly = view.last_compared != answer.address;
  const bool differs = !same(digest_of(answer), *right_);
  view.last_compared = answer.address;
  view.diverged = answer.diverged || differs;
  view.dispute.reset();
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
  if (own && question.disputed) {
    const StateDigest leaders = digest_of(question);
    last_compared_ = std::max(last_compared_, own->address);
    if (same(*own, leaders)) {
      dispute_.reset();
    } else {
      mismatches_ += !dispute_ || dispute_->own.address != own->address;
      dispute_ = Divergence{*own, leaders};
    }
  } else if (own && question.settled) {
    dispute_.reset();
    last_compared_ = std::max(last_compared_, own->address);
    const StateDigest cluster = digest_of(question);
    if (!same(*own, cluster)) {
      ++mismatches_;
      if (!divergence_) divergence_ = Divergence{*own, cluster};
    }
  } else if (own && same(*own, digest_of(question))) {
    dispute_.reset();
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
  result.disputed = dispute_.has_value();
  return result;
}

}  // namespace tailrace::replication
