#pragma once
// A TCP connection that carries frames; the server's, the client's and the peers' connections are
// built on it. Internal to this folder.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

#include "core/clock.h"
#include "core/counter.h"
#include "net/descriptor.h"
#include "net/readiness.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/outgoing_frames.h"

namespace capnp {
class MessageBuilder;
class MessageReader;
}  // namespace capnp

namespace tailrace::rpc {

/// Counters that a connection adds to; they outlive it.
struct Traffic {
  Counter bytes_in, bytes_out, bad_frames;
};

inline constexpr size_t kMostHelloBytes = 64u << 10;

/// Lives on one io_context thread; every call and callback is there. From start() on kept alive
/// until it is closed. Reads when the loop tells that something came (net/readiness.h), once in a
/// turn. Frames are gathered until flush(), which hands them to the system at once. What the system
/// has no room for waits; what is sent meanwhile goes together with the next write.
class FramedSocket : public net::Readiness::Watched,
                     public std::enable_shared_from_this<FramedSocket> {
 public:
  /// A hello has at most kMostHelloBytes: until take_large_frames() nothing larger is taken, so
  /// that whoever has not said who it is costs little.
  FramedSocket(asio::ip::tcp::socket socket, size_t max_frame_bytes, Traffic& traffic);
  /// Begins to read. The object must be owned by a shared_ptr.
  void start();
  /// Gathers a frame; flush() writes. Nothing after close_after_sending(). Bytes that the message
  /// refers to and does not hold are `lent`: kept until they are written, and not copied.
  void send(capnp::MessageBuilder& message, SharedBytes lent = nullptr);
  void flush();
  /// Offers the held frame again, and reads on.
  void resume();
  /// Takes no more frames.
  void stop_reading() { stopped_reading_ = true; }
  /// on_closed() is called, once, before this returns.
  void close(const std::string& reason);
  /// As close(), after what was sent has been written and the other side has closed, or has not for
  /// a second. Until then what comes is read and thrown away: a client that finds the socket
  /// closed when it writes may throw away the answers that it has not read yet.
  void close_after_sending(const std::string& reason);

  bool closed() const { return closed_; }
  /// Whether the other side has closed, which no read tells while a frame is held.
  bool other_side_closed();
  /// When something came last.
  SteadyTime heard() const { return heard_; }
  /// Whether the other side has not confirmed all that the system has sent.
  bool unconfirmed();
  size_t unsent_bytes() const { return gathered_.bytes() + writing_.bytes(); }
  /// Where what was sent so far ends, and how much of that the system has taken. Both only grow.
  uint64_t stream_end() const { return bytes_written_ - written_ + unsent_bytes(); }
  uint64_t sent_bytes() const { return bytes_written_; }
  /// What is allocated for what goes out; give_back() lets go of it where nothing waits, and of
  /// what is allocated for what comes in.
  size_t outgoing_capacity() const { return gathered_.capacity() + writing_.capacity(); }
  void give_back() {
    gathered_.give_back();
    writing_.give_back();
    decoder_.give_back();
  }
  /// What is allocated for what comes in.
  size_t buffered_bytes() const { return decoder_.capacity(); }
  /// Since when a part of a frame is there whose rest has not come; nothing: there is none.
  std::optional<SteadyTime> unfinished_since() const;
  /// Grows while the other side takes what it is sent; nothing: there is nothing to send.
  std::optional<uint64_t> sending_progress() const;
  /// "127.0.0.1:40012", for log lines.
  const std::string& remote() const { return remote_; }
  asio::any_io_executor executor() { return close_timer_.get_executor(); }

 protected:
  enum class Take {
    kDone,
    kHold,  // not now: resume() offers the same frame again
  };
  /// May throw kj::Exception (a malformed message): the connection closes.
  virtual Take on_frame(capnp::MessageReader& message) = 0;
  /// All frames that had come were taken, or one was held.
  virtual void on_frames_taken() { flush(); }
  /// A write ended; fewer bytes are unsent. A turn of its own: not where flush() wrote a little at
  /// once, unless wants_written().
  virtual void on_written() {}
  virtual bool wants_written() const { return false; }
  /// The system has taken more of what was sent (sent_bytes()). Also within flush().
  virtual void on_sent() {}
  virtual void on_closed(const std::string& reason) = 0;
  /// Whether what comes in may take so many bytes now. Else nothing is read until resume().
  virtual bool may_buffer(size_t /*bytes*/) { return true; }
  /// The other side's hello was in order.
  void take_large_frames() { decoder_.set_max_frame_bytes(max_frame_bytes_); }
  /// A machine that is switched off, or a network that is cut, says nothing: the system asks after
  /// so many seconds without a byte, three times at that interval, and closes.
  void notice_when_it_is_gone(int idle_s, int interval_s);
  /// Of on_frame()'s message: as long as somebody keeps this, it is not overwritten.
  std::shared_ptr<const void> frame_memory() const { return decoder_.memory(); }
  /// Large frames will come one after the other.
  void keep_read_buffer(size_t bytes) { decoder_.set_kept_bytes(bytes); }

 private:
  void on_ready(net::Readiness::Ready ready) override;
  void on_turn() override;
  /// Has the loop tell what comes; if that cannot be, ends the connection in a turn of its own.
  void watch();
  void set_option(int level, int option, int value);
  /// Whether a read is under way, or will be once there is something.
  bool reads() const;
  void take_frames();
  /// Once, if something may be there and is wanted.
  void read();
  void came(size_t bytes);
  /// In a turn of its own, if something may be there and is wanted.
  void read_on();
  /// Writes what the system takes at once; true: that is all of writing_, or the connection is
  /// about to end.
  bool write_now();
  void write_when_possible();
  void write_on();
  void post_written();
  void written();
  void await_close();  // nothing more is sent
  /// What came before is read yet, up to the end that the read will find.
  void write_failed(const std::string& reason);

  net::Descriptor socket_;
  net::Readiness& readiness_;
  net::Readiness::Token watched_ = net::Readiness::kNone;
  const size_t max_frame_bytes_;
  FrameDecoder decoder_;
  Traffic& traffic_;
  std::string remote_;
  OutgoingFrames gathered_, writing_;
  size_t written_ = 0;  // of writing_
  std::string closing_reason_;
  SteadyTime part_since_, heard_ = std::chrono::steady_clock::now();
  uint64_t bytes_written_ = 0;
  std::string write_error_;  // of the last write; empty: none
  bool write_in_flight_ = false, taking_ = false, held_ = false;
  bool readable_ = false;             // something has come that was not read, or may have
  bool until_nothing_comes_ = false;  // as in Ready: nothing is left only when a read says so
  bool no_room_ = false;              // may_buffer() has refused
  bool turn_asked_ = false;
  bool awaits_writing_ = false, watches_writing_ = false;
  bool stopped_reading_ = false, closed_ = false, write_failed_ = false;
  bool closing_ = false;         // closes when everything is written
  bool awaiting_close_ = false;  // everything is written; the other side is to close
  asio::steady_timer close_timer_;
};

}  // namespace tailrace::rpc
