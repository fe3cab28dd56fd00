// txn() and append(): one command, whose answer is a result of its own.
#include <algorithm>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "rpc/client/impl.h"
#include "rpc/wire/operation.h"

namespace tailrace::rpc {
namespace {

using statemachine::Outcome;

Error unknown_result(Outcome outcome) {
  if (outcome == Outcome::kAnswerForgotten)
    return Error{ErrorCode::kUnknownOutcome,
                 "the transaction was applied, but what it came to is not remembered"};
  return Error{ErrorCode::kUnsupported,
               fmt::format("the server answered a transaction with outcome {}, which this program "
                           "does not know",
                           static_cast<int>(outcome))};
}

Result<AppendAnswer> appended(const TxnAnswer& txn) {
  AppendAnswer answer;
  answer.epoch = txn.epoch;
  answer.range = txn.range;
  if (!txn.result)
    return make_error(ErrorCode::kUnknownOutcome,
                      "the append was answered before, but what it came to is not remembered");
  if (txn.succeeded) {
    if (txn.result->results.size() != 1) return tl::unexpected(unexpected_answer());
    const statemachine::EffectResult& result = txn.result->results.front();
    answer.appended = true;
    answer.first = result.first_version;
    answer.last = result.last_version;
    answer.replayed = result.replayed;
    return answer;
  }
  if (txn.result->failed.empty()) return tl::unexpected(unexpected_answer());
  answer.found = txn.result->failed.front();
  answer.found.value = {};
  return answer;
}

statemachine::Txn txn_of(std::string_view stream, std::span<const NewEvent> events,
                         ExpectedStream expected) {
  statemachine::Txn txn;
  statemachine::TxnEffect append{.kind = statemachine::TxnEffectKind::kAppend,
                                 .name = as_bytes(stream),
                                 .expected = expected.kind};
  if (expected.kind == statemachine::Expected::kExact) append.expected_version = expected.version;
  for (const NewEvent& event : events) {
    statemachine::TxnEvent added;
    added.type = event.type;
    added.id = event.id;
    added.metadata = event.metadata;
    added.content_type = event.content_type;
    added.data = event.data;
    txn.add_event(append, added, event.tags);
  }
  txn.then.push_back(append);
  return txn;
}

Result<TxnAnswer> read_txn(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isCommand()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getCommand();
  const auto outcome = static_cast<Outcome>(from.getOutcome());
  if (outcome != Outcome::kDone && outcome != Outcome::kTxnFailed)
    return tl::unexpected(unknown_result(outcome));
  TxnAnswer answer;
  answer.epoch = Epoch{reply->getEpoch()};
  answer.range = AddressRange{Address{from.getFirst()}, Address{from.getEnd()}};
  answer.succeeded = outcome == Outcome::kDone;
  if (from.getWithheldBytes() != 0 || !from.getHasValue()) return answer;
  const auto value = to_span(from.getValue());
  answer.bytes.assign(value.begin(), value.end());
  answer.result.emplace();
  TAILRACE_RETURN_IF_ERROR(statemachine::decode(answer.bytes, *answer.result));
  return answer;
}

/// What any server would refuse. Of what depends on its own limits it says so itself.
Result<> check_txn(const statemachine::Txn& txn) {
  return statemachine::validate(txn, {statemachine::kMaxTxnBytes, SIZE_MAX});
}

}  // namespace

ClientRequest ClientImpl::txn_request(const statemachine::Txn& txn) const {
  ClientRequest request = request_of(ClientRequest::Verb::kCommand);
  request.operation = wire::Operation::TXN;
  request.value.resize(statemachine::encoded_bytes(txn));
  statemachine::encode_at(txn, reinterpret_cast<std::byte*>(request.value.data()));
  return request;
}

Result<TxnAnswer> ClientImpl::txn(const statemachine::Txn& txn) {
  TAILRACE_RETURN_IF_ERROR(check_txn(txn));
  return wait_for<TxnAnswer>(*leader_, txn_request(txn), read_txn);
}

void ClientImpl::async_txn(const statemachine::Txn& txn, TxnCallback done) {
  if (const auto checked = check_txn(txn); !checked)
    return asio::post(context_->loop.io(), [done = std::move(done), error = checked.error()] {
      done(tl::unexpected(error));
    });
  ClientRequest request = txn_request(txn);
  request.done = [done = std::move(done)](Reply reply) { done(read_txn(reply)); };
  leader_->submit(std::move(request));
}

Result<AppendAnswer> ClientImpl::append(std::string_view stream, std::span<const NewEvent> events,
                                        ExpectedStream expected) {
  TAILRACE_ASSIGN_OR_RETURN(const auto answer, txn(txn_of(stream, events, expected)));
  return appended(answer);
}

void ClientImpl::async_append(std::string_view stream, std::span<const NewEvent> events,
                              ExpectedStream expected, AppendCallback done) {
  async_txn(txn_of(stream, events, expected),
            [done = std::move(done)](const Result<TxnAnswer>& answer) {
              if (answer)
                done(appended(*answer));
              else
                done(tl::unexpected(answer.error()));
            });
}

}  // namespace tailrace::rpc
