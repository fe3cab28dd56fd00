#include "rpc/etcd/view.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "observability/logging.h"

namespace tailrace::rpc {

namespace {
constexpr std::chrono::milliseconds kWatchPause{50};
}  // namespace

EtcdKeys::EtcdKeys(const std::string& prefix, const std::string& cluster) {
  const std::string root = prefix + "/" + cluster + "/";
  handover = root + "handover";
  leader = root + "leader";
  range_end = leader + '\0';
  epoch_floor = root + "epoch-floor";
  members = root + "members/";
}

NodeId node_in_value(const std::string& value, const char* field) {
  const auto object = nlohmann::json::parse(value, nullptr, false);
  if (!object.is_object()) return {};
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number_unsigned()) return {};
  const auto number = found->get<uint64_t>();
  return number > UINT32_MAX ? NodeId{} : NodeId{static_cast<uint32_t>(number)};
}

EtcdView::EtcdView(asio::io_context& io, EtcdClient& client, const EtcdKeys& keys,
                   std::chrono::milliseconds poll_interval, std::function<void()> changed)
    : client_(client),
      keys_(keys),
      poll_interval_(poll_interval),
      changed_(std::move(changed)),
      timer_(io) {}

void EtcdView::stop() {
  stopped_ = true;
  timer_.cancel();
  watch_.reset();
}

void EtcdView::refresh() {
  if (stopped_) return;
  if (asking_) {
    ask_again_ = true;
    return;
  }
  asking_ = true;
  timer_.cancel();
  client_.range(keys_.handover, keys_.range_end,
                [this, before = current_ ? current_->revision : 0](Result<EtcdRange> range) {
                  refreshed(std::move(range), before);
                });
}

void EtcdView::refreshed(Result<EtcdRange> range, int64_t known_before) {
  if (stopped_) return;
  asking_ = false;
  if (std::exchange(ask_again_, false)) return refresh();
  if (!range) {
    // The watch goes the same way, and may hang without a sign.
    watch_.reset();
    return timer_.after(kEtcdRetryPause, [this] { refresh(); });
  }
  timer_.after(poll_interval_, [this] { refresh(); });
  // A range is never older than what was known when it was asked for. If it is, this is another
  // etcd, or one that was restored from a backup: what it says counts all the same.
  if (range->revision < known_before) {
    observability::log_warning("etcd has gone back from revision {} to {}", known_before,
                               range->revision);
    current_.reset();
    watch_.reset();
  }
  accept(*range);
  if (watch_ && watch_endpoint_ != client_.preferred()) watch_.reset();
  if (!watch_) watch();
}

void EtcdView::watch() {
  watch_endpoint_ = client_.preferred();
  EtcdClient::WatchEvents events;
  events.part = [this](EtcdWatchPart part) { take(std::move(part)); };
  events.ended = [this](const Error& why) {
    observability::log_debug("etcd: the watch of the leader ended: {}", why.message);
    watch_.reset();
    if (!stopped_ && !asking_) timer_.after(kWatchPause, [this] { refresh(); });
  };
  watch_ =
      client_.watch(keys_.handover, keys_.range_end, current_->revision + 1, std::move(events));
}

void EtcdView::take(EtcdWatchPart part) {
  if (part.events.empty()) return;
  LeaderView next = *current_;
  for (const EtcdEvent& event : part.events) {
    if (event.pair.mod_revision <= current_->revision) continue;
    apply(event.pair, event.deleted, next);
    next.revision = std::max(next.revision, event.pair.mod_revision);
  }
  accept(next);
}

void EtcdView::accept(LeaderView view) {
  if (!current_ || view.revision >= current_->revision) current_ = view;
  changed_();
}

void EtcdView::accept(const EtcdRange& range) {
  accept(view_of(range));
}

LeaderView EtcdView::view_of(const EtcdRange& range) const {
  LeaderView view;
  view.revision = range.revision;
  for (const EtcdKeyValue& pair : range.pairs)
    apply(pair, false, view);
  return view;
}

void EtcdView::apply(const EtcdKeyValue& pair, bool deleted, LeaderView& to) const {
  if (pair.key == keys_.leader) {
    to.leader.reset();
    if (!deleted)
      to.leader = LeaderKey{pair.create_revision, pair.lease, node_in_value(pair.value, "node")};
  } else if (pair.key == keys_.handover) {
    to.handover.reset();
    if (!deleted) to.handover = HandoverKey{pair.mod_revision, node_in_value(pair.value, "to")};
  }
}

}  // namespace tailrace::rpc
