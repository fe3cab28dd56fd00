// Reads of keys.
//
// A linearizable read waits until this leader has applied what was committed when the read arrived,
// and then reads. Every write that was answered before the read began was applied, so committed, on
// this leader by then: the read sees it. That this node is still the leader needs no further proof
// with the static coordinator: it grants another node (or another epoch of this one) leadership
// only through a restart of this process.
#include "rpc/connection.h"

namespace tailrace::rpc {

void Connection::handle_get(uint64_t id, wire::Get::Reader request) {
  const Asked asked{id, RequestKind::kGet, std::chrono::steady_clock::now()};
  const ByteSpan key = to_span(request.getKey());
  // No such key can exist: whoever asks for it has made a mistake, and is told.
  if (const auto checked = statemachine::validate_key(key); !checked)
    return reply_error(asked, checked.error());
  Address needed;
  Epoch epoch;
  switch (request.getLevel()) {
    case wire::ReadLevel::ANY:
      break;
    case wire::ReadLevel::AT_LEAST:
      needed = Address{request.getAddress()};
      epoch = Epoch{request.getEpoch()};
      break;
    case wire::ReadLevel::LINEARIZABLE:
      if (refuse_unless_leader(asked)) return;
      needed = context_.to.watermarks->committed();
      break;
    default:
      return reply_error(
          asked, Error{ErrorCode::kUnsupported, "this server does not know the read level"});
  }
  const bool here = needed <= context_.to.watermarks->applied() && epoch <= status().epoch;
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
  thread_.when_applied(needed, epoch, deadline(request.getTimeoutMs()), std::move(waited));
}

void Connection::answer_get(const Asked& asked, ByteSpan key) {
  OutgoingMessage message;
  // The address first: the state that is read then is this one or newer.
  auto response = begin_response(message, asked.id);
  std::string value;
  const auto found = context_.to.state_machine->read(key, value);
  if (!found && found.error().code != ErrorCode::kNotFound)
    return reply_error(asked, found.error());
  auto answer = response.initGet();
  answer.setFound(found.has_value());
  if (found) answer.setValue(to_data(value));
  reply(asked, message);
}

}  // namespace tailrace::rpc
