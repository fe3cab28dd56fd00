// Reads of keys.
//
// A linearizable read waits until this leader has applied what was committed when the read arrived,
// and then reads. Every write that was answered before the read began was applied, so committed, on
// this leader by then: the read sees it. That this node is still the leader needs no further proof
// with the static coordinator: it grants another node (or another epoch of this one) leadership
// only through a restart of this process.
//
// A value that is on disk is fetched by a thread of the store: an io thread never waits for one.
#include "rpc/connection.h"

namespace tailrace::rpc {

std::optional<std::pair<Address, Epoch>> Connection::needed_for(const Asked& asked,
                                                                wire::ReadLevel level,
                                                                uint64_t address, uint64_t epoch) {
  switch (level) {
    case wire::ReadLevel::ANY:
      return std::pair{Address{}, Epoch{}};
    case wire::ReadLevel::AT_LEAST:
      return std::pair{Address{address}, Epoch{epoch}};
    case wire::ReadLevel::LINEARIZABLE:
      if (refuse_unless_leader(asked)) return std::nullopt;
      return std::pair{context_.to.watermarks->committed(), Epoch{}};
    default:
      reply_error(asked,
                  Error{ErrorCode::kUnsupported, "this server does not know the read level"});
      return std::nullopt;
  }
}

void Connection::handle_get(uint64_t id, wire::Get::Reader request) {
  const Asked asked{id, RequestKind::kGet, std::chrono::steady_clock::now()};
  const ByteSpan key = to_span(request.getKey());
  // No such key can exist: whoever asks for it has made a mistake, and is told.
  if (const auto checked = statemachine::validate_key(key); !checked)
    return reply_error(asked, checked.error());
  const auto needed =
      needed_for(asked, request.getLevel(), request.getAddress(), request.getEpoch());
  if (!needed) return;
  const bool here =
      needed->first <= context_.to.watermarks->applied() && needed->second <= status().epoch;
  if (here) return answer_get(asked, key);
  began();
  auto waited = [weak = weak_from_this(), asked, name = to_string(key)](Result<> arrived) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return;
    self->ended();
    self->status_.reset();
    if (arrived)
      self->answer_get(asked, as_bytes(name));
    else
      self->reply_error(asked, arrived.error());
    self->thread_.touch(self);
  };
  thread_.when_applied(needed->first, needed->second, deadline(request.getTimeoutMs()),
                       std::move(waited));
}

void Connection::answer_get(const Asked& asked, ByteSpan key) {
  OutgoingMessage message;
  // The address first: the state that is read then is this one or newer.
  auto response = begin_response(message, asked.id);
  std::string value;
  using Outcome = statemachine::StateMachine::ReadOutcome;
  const auto found = context_.to.state_machine->try_read(key, value);
  if (!found) return reply_error(asked, found.error());
  if (*found == Outcome::kCold) return answer_cold_get(asked, key);
  auto answer = response.initGet();
  answer.setFound(*found == Outcome::kFound);
  if (*found == Outcome::kFound) answer.setValue(to_data(value));
  reply(asked, message);
}

void Connection::answer_cold_get(const Asked& asked, ByteSpan key) {
  began();
  // The answer's address is that of now: what is read later may be newer, not older.
  const Address applied = context_.to.watermarks->applied();
  auto done = [back = come_back(), asked, applied](Result<bool> found, std::string value) {
    back([asked, applied, found = std::move(found), value = std::move(value)](Connection& self) {
      self.ended();
      if (!found) return self.reply_error(asked, found.error());
      OutgoingMessage message;
      auto response = self.begin_response(message, asked.id);
      response.setApplied(applied.value);
      auto answer = response.initGet();
      answer.setFound(*found);
      if (*found) answer.setValue(to_data(value));
      self.reply(asked, message);
    });
  };
  context_.to.state_machine->read_async(key, std::move(done));
}

}  // namespace tailrace::rpc
