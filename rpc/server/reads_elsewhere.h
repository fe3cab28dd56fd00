#pragma once
// Reads that other threads do: of streams, of several keys, of event files.
//
// What waits for these threads is as what else is in flight: it counts in the connection's memory
// until it has its answer, and it goes with the connection. A read is given up once its time is
// over or its connection has closed; what it holds is then outside the budget until it sees that,
// for one record or key: of as many reads as there are threads.
// Internal: for the handlers of such requests.

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "rpc/server/connection.h"
#include "rpc/server/streams/stream_reads.h"

namespace tailrace::rpc {

/// What is done on another thread, and what is made of it on this one.
template <typename Answer>
struct Connection::Elsewhere {
  std::function<Result<Answer>(const std::function<bool()>& wanted)> work;
  /// `shown`: the state when the work began; may be made more exact.
  std::function<void(const Answer&, ShownState&)> note_state;
  std::function<void(const Answer&, wire::Response::Builder)> write;
  size_t key_bytes = 0;                // that it keeps
  size_t answer_bytes = kAnswerBytes;  // about, at most
  bool lists = false;                  // reads all of the store
  const char* late = "";               // what is said when it took too long
  SteadyTime deadline;
};

template <typename Answer>
FramedSocket::Take Connection::read_elsewhere(const Asked& asked, const ReadNeeds& needs,
                                              Elsewhere<Answer> read) {
  if (!has_room_for(read.answer_bytes)) return Take::kHold;
  if (refuse_read(asked, needs)) return Take::kDone;
  read.deadline = needs.deadline;
  const size_t key_bytes = read.key_bytes;
  auto then = [asked, level = needs.level, read = std::move(read)](Connection& self,
                                                                   Result<> arrived) {
    if (!arrived) return self.reply_unreadable(asked, level, arrived.error());
    self.begin_elsewhere(asked, read);
  };
  when_readable(needs, key_bytes, std::move(then));
  return Take::kDone;
}

template <typename Answer>
void Connection::begin_elsewhere(const Asked& asked, Elsewhere<Answer> read) {
  // A slice's bytes count with each that is in flight: the rest of a larger answer stands with the
  // keys.
  const size_t held =
      read.key_bytes + std::max(read.answer_bytes, ScanTable::kSliceBytes) - ScanTable::kSliceBytes;
  began(held);
  ++scans_in_flight_;
  ShownState shown = shown_state();
  const bool lists = read.lists;
  auto work = [back = come_back(), weak = weak_from_this(), &threads = context_.reads, asked, shown,
               held, read = std::move(read)] {
    const auto wanted = [&] {
      return !weak.expired() && !threads.stopping() &&
             std::chrono::steady_clock::now() < read.deadline;
    };
    auto answer = std::make_shared<Result<Answer>>(make_error(ErrorCode::kCancelled, ""));
    if (wanted()) *answer = read.work(wanted);
    if (!*answer && answer->error().code == ErrorCode::kCancelled)
      *answer = make_error(ErrorCode::kTimedOut, read.late);
    back([asked, shown, answer, note_state = read.note_state, write = read.write,
          held](Connection& self) mutable {
      self.ended(held);
      --self.scans_in_flight_;
      // What this node lacks, another may have.
      if (!*answer)
        return self.reply_error(asked, answer->error(),
                                answer->error().code == ErrorCode::kUnavailable);
      if (note_state) note_state(**answer, shown);
      OutgoingMessage message;
      write(**answer, self.begin_read(message, asked.id, shown));
      self.reply(asked, message);
    });
  };
  if (lists)
    context_.reads.list(asker_, std::move(work));
  else
    context_.reads.read(asker_, std::move(work));
}

}  // namespace tailrace::rpc
