// The transport as a whole: its thread, its members and its metrics.

#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/thread.h"
#include "net/listen.h"
#include "observability/metric_table.h"
#include "rpc/peer/transport_impl.h"

namespace tailrace::rpc {

using replication::Member;

namespace {
// The rest of a frame comes in a moment, or the other side is not well.
constexpr std::chrono::seconds kFrameSilence{10}, kFrameTime{120};
}  // namespace

PeerTransportImpl::PeerTransportImpl(PeerTransportOptions options)
    : options_(std::move(options)),
      work_(asio::make_work_guard(io_)),
      tick_timer_(io_),
      accept_timer_(io_) {
  for (const Member& member : options_.members) {
    if (member.id == options_.self) continue;
    Peer& peer = peers_.try_emplace(member.id, io_, member.peer_address).first->second;
    peer.address_in_file = member.peer_address;
    peer.pause = first_pause(member.id);
  }
}

Result<> PeerTransportImpl::listen() {
  if (options_.listen.empty()) return {};
  TAILRACE_ASSIGN_OR_RETURN(auto acceptor, net::listen_on(io_, options_.listen));
  acceptor_.emplace(std::move(acceptor));
  std::error_code ignored;
  port_ = acceptor_->local_endpoint(ignored).port();
  return {};
}

void PeerTransportImpl::start(std::chrono::milliseconds interval, std::function<void()> tick) {
  interval_ = interval;
  tick_ = std::move(tick);
  asio::post(io_, [this] { arm_tick(); });
  watch_.start();
  thread_ = named_thread("nodes", [this] { io_.run(); });
}

void PeerTransportImpl::stop() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    stopping_ = true;
    handler_ = nullptr;
    std::error_code ignored;
    if (acceptor_) acceptor_->close(ignored);
    const auto strangers = strangers_;
    for (const auto& stranger : strangers)
      stranger->close("this node stops");
    for (auto& [id, peer] : peers_) {
      if (const auto connection = peer.connection) connection->close("this node stops");
    }
    io_.stop();
  });
  thread_.join();
}

void PeerTransportImpl::register_metrics(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  registry.add_counter(registration_, observability::metric("tailrace_peer_received_bytes_total"),
                       {}, traffic_.bytes_in);
  registry.add_counter(registration_, observability::metric("tailrace_peer_sent_bytes_total"), {},
                       traffic_.bytes_out);
  registry.add_counter(registration_, observability::metric("tailrace_peer_bad_frames_total"), {},
                       traffic_.bad_frames);
  registry.add_counter(
      registration_, observability::metric("tailrace_peer_connections_opened_total"), {}, came_up_);
  registry.add_counter(registration_, observability::metric("tailrace_peer_failures_total"), {},
                       failures_);
  registry.add_gauge(registration_, observability::metric("tailrace_peer_connections"), {},
                     [this] { return static_cast<double>(up_.load()); });
  registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                         {{"loop", "nodes"}}, lateness_);
  registry.add_gauge(registration_, observability::metric("tailrace_loop_since_turn_seconds"),
                     {{"loop", "nodes"}}, [this] { return turns_.since(); });
}

void PeerTransportImpl::post(std::function<void()> function) {
  asio::post(io_, std::move(function));
}

void PeerTransportImpl::set_handler(replication::TransportHandler* handler) {
  handler_ = handler;
  if (handler_ == nullptr) return;
  // Who has come before that waits in the listener's queue.
  if (acceptor_ && !accepting_ && !stopping_) accept();
  for (auto& [id, peer] : peers_) {
    if (peer.connection) handler_->on_connected(id, peer.introduction);
    begin_dialling(id);
  }
}

void PeerTransportImpl::set_members(const replication::Members& members) {
  for (const Member& member : members) {
    if (member.id == options_.self) continue;
    Peer& peer = peers_.try_emplace(member.id, io_, member.peer_address).first->second;
    if (peer.address != member.peer_address) {
      peer.address = member.peer_address;
      peer.turn = 0;
      peer.pause = first_pause(member.id);
    }
    begin_dialling(member.id);
  }
  // Who is gone is not dialled again. Its connection may still have to tell it that.
  for (auto& [id, peer] : peers_)
    if (replication::find_member(members, id) == nullptr) peer.address.clear();
  greet_again();
}

void PeerTransportImpl::reset(NodeId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  if (const auto connection = found->second.connection)
    connection->close("this node closed the connection");
  // What it is saying there is of before as well.
  if (const auto outgoing = found->second.outgoing.lock())
    outgoing->close("this node closed the connection");
}

void PeerTransportImpl::send(NodeId id, replication::Message message) {
  const auto found = peers_.find(id);
  if (found == peers_.end() || !found->second.connection) return;
  found->second.connection->send_message(message);
}

void PeerTransportImpl::arm_tick() {
  tick_timer_.expires_after(interval_);
  tick_timer_.async_wait([this](const std::error_code& error) {
    if (error || stopping_) return;
    if (tick_) tick_();
    close_unfinished();
    arm_tick();
  });
}

void PeerTransportImpl::greet_again() {
  if (handler_ == nullptr) return;
  for (auto& [id, peer] : peers_) {
    if (!peer.connection || !peer.withheld || !is_known(id, peer.introduction)) continue;
    peer.withheld = false;
    // Not at once: who says so may have more to say on this one.
    asio::post(io_, [connection = peer.connection] {
      connection->close("this node knows the disk of the other one now: hellos are said anew");
    });
  }
}

bool PeerTransportImpl::is_known(NodeId id, const replication::Introduction& said) const {
  return handler_ != nullptr &&
         handler_->acquaintance(id, said) == replication::Acquaintance::kDisk;
}

void PeerTransportImpl::close_unfinished() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<PeerConnection>> late;
  for (const auto& [id, peer] : peers_) {
    const auto since =
        peer.connection ? peer.connection->unfinished_since() : std::optional<SteadyTime>();
    if (since && (now - *since > kFrameTime || now - peer.connection->heard() > kFrameSilence))
      late.push_back(peer.connection);
  }
  for (const auto& connection : late)
    connection->close("the rest of a frame did not come in time");
}

Result<std::unique_ptr<PeerTransport>> PeerTransport::create(PeerTransportOptions options) {
  for (const Member& member : options.members) {
    if (member.id == options.self) continue;
    if (auto parsed = net::parse_endpoint(member.peer_address); !parsed)
      return tl::unexpected(with_context(fmt::format("peer address of node {}", member.id.value),
                                         std::move(parsed).error()));
  }
  auto transport = std::make_unique<PeerTransportImpl>(std::move(options));
  TAILRACE_RETURN_IF_ERROR(transport->listen());
  return std::unique_ptr<PeerTransport>(std::move(transport));
}

}  // namespace tailrace::rpc
