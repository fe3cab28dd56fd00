#include "app/verbs/dumped_sessions.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/clock.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

// As the session table does.
constexpr size_t kMostEvicted = 2;
constexpr uint64_t kLeastTtlNs = Nanoseconds(statemachine::kLeastSessionTtl).count();

}  // namespace

DumpedSessions::Verdict DumpedSessions::take(const DumpedLine& line) {
  if (std::exchange(first_, false))
    whole_ = line.address == fasterlog::kFirstAddress && line.begins_epoch;
  if (line.behind_damage) ++damages_;
  pass_mark(line);
  if (line.rules) {
    rules_ = *line.rules;
    rules_in_log_ = true;
  }
  if (line.client.empty() || line.serial == 0)
    return line.client.empty() ? Verdict::kApplied : Verdict::kDidNothing;
  const auto found = by_client_.find(line.client);
  return found == by_client_.end() ? begin(line) : go_on(line, found->second);
}

/// The batch before is over when a line of another one comes, and log time is then that of its
/// mark.
void DumpedSessions::pass_mark(const DumpedLine& line) {
  if (line.batch == batch_ && line.log_time_ns == batch_time_ns_) return;
  if (batch_time_ns_ > now_ns_) log_time_moved(batch_time_ns_);
  batch_ = line.batch;
  batch_time_ns_ = line.log_time_ns;
}

/// SessionTable::log_time_moved().
void DumpedSessions::log_time_moved(uint64_t to_ns) {
  const uint64_t from_ns = std::exchange(now_ns_, to_ns);
  if (to_ns - from_ns > statemachine::session_slack_ns(rules_)) {
    for (auto newest = sessions_.rbegin(); newest != sessions_.rend() && newest->time_ns == from_ns;
         ++newest)
      newest->time_ns = to_ns - 1;
    if (unbound_ns_ == from_ns) unbound_ns_ = to_ns - 1;
  }
  for (auto place = sessions_.begin();
       place != sessions_.end() && statemachine::is_too_old(place->time_ns, to_ns, rules_);) {
    const auto old = place++;
    if (statemachine::is_held(old->bound_ns, to_ns)) continue;
    remove(old);
    if (!rules_in_log_) whole_ = false;  // each node's own file said when it ends
  }
}

/// A session that is not known, or not any more.
DumpedSessions::Verdict DumpedSessions::begin(const DumpedLine& line) {
  bool unknown = false;
  if (line.serial != 1) {
    if (whole_ && damages_ == 0) return Verdict::kDidNothing;
    unknown = true;
  } else if (rules_in_log_ && line.begins_before_ns != 0) {
    // Not how late the bound may be at most: where a mark is lost log time is later than it seems.
    if (now_ns_ > line.begins_before_ns || line.begins_before_ns <= floor_ns_)
      return Verdict::kDidNothing;
  } else if (rules_in_log_) {
    if (unbound_ns_ && !statemachine::is_too_old(*unbound_ns_, now_ns_, rules_))
      return Verdict::kDidNothing;
  } else if (line.begins_before_ns != 0 && now_ns_ > line.begins_before_ns) {
    return Verdict::kDidNothing;  // whatever the rules were, which the dump does not show
  }
  sessions_.push_back(
      {line.client, line.serial, damages_, now_ns_, line.begins_before_ns, unknown});
  by_client_[line.client] = std::prev(sessions_.end());
  evict_beyond_limits();
  return unknown ? Verdict::kUnknown : Verdict::kApplied;
}

DumpedSessions::Verdict DumpedSessions::go_on(const DumpedLine& line, Place place) {
  const bool next = line.serial == place->serial + 1;
  const bool behind_damage = place->damages != damages_ && line.serial > place->serial;
  if (!place->unknown && !next && !behind_damage) return Verdict::kDidNothing;
  place->serial = std::max(place->serial, line.serial);
  place->damages = damages_;
  sessions_.splice(sessions_.end(), sessions_, place);
  const bool paused = now_ns_ - std::exchange(place->time_ns, now_ns_) > kLeastTtlNs;
  if (place->unknown) return Verdict::kUnknown;
  expiry_unknown_ |= line.log_time_ns == 0 || (paused && !rules_in_log_);
  return Verdict::kApplied;
}

/// SessionTable::enforce_limits().
void DumpedSessions::evict_beyond_limits() {
  if (!rules_.limits) return;
  for (size_t i = 0; i < kMostEvicted && sessions_.size() > rules_.limits->sessions; ++i) {
    const Session& oldest = sessions_.front();
    if (oldest.bound_ns == 0) unbound_ns_ = std::max(unbound_ns_.value_or(0), oldest.time_ns);
    floor_ns_ = std::max(floor_ns_, oldest.bound_ns != 0
                                        ? oldest.bound_ns
                                        : statemachine::greatest_bound(oldest.time_ns, rules_, 0));
    remove(sessions_.begin());
  }
}

void DumpedSessions::remove(Place place) {
  by_client_.erase(place->client);
  sessions_.erase(place);
}

}  // namespace tailrace::app
