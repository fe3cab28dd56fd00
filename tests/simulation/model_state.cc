#include "model_state.h"

#include <cstring>
#include <utility>

namespace tailrace::simulation {

namespace {

constexpr uint64_t kCommandMark = 0x9d3c'51e7'06ab'f842;

void put_text(std::vector<std::byte>& to, const std::string& text) {
  to.push_back(static_cast<std::byte>(text.size()));
  const ByteSpan bytes = as_bytes(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void put_number(std::vector<std::byte>& to, uint64_t number) {
  to.resize(to.size() + 8);
  store(to.data() + to.size() - 8, number);
}

std::string take_text(ByteSpan& from) {
  const auto size = static_cast<size_t>(from.front());
  std::string text = to_string(from.subspan(1, size));
  from = from.subspan(1 + size);
  return text;
}

uint64_t take_number(ByteSpan& from) {
  const auto number = load<uint64_t>(from.data());
  from = from.subspan(8);
  return number;
}

}  // namespace

std::vector<std::byte> encode(const ModelCommand& command) {
  std::vector<std::byte> bytes;
  put_number(bytes, kCommandMark);
  put_number(bytes, command.session);
  put_number(bytes, command.serial);
  bytes.push_back(static_cast<std::byte>(command.kind));
  put_text(bytes, command.key);
  put_text(bytes, command.value);
  put_text(bytes, command.expected);
  return bytes;
}

std::optional<ModelCommand> decode(ByteSpan payload) {
  if (payload.size() < 8 || take_number(payload) != kCommandMark) return std::nullopt;
  ModelCommand command;
  command.session = take_number(payload);
  command.serial = take_number(payload);
  command.kind = static_cast<ModelCommand::Kind>(payload.front());
  payload = payload.subspan(1);
  command.key = take_text(payload);
  command.value = take_text(payload);
  command.expected = take_text(payload);
  return command;
}

void ModelState::apply(const ModelLog& log, Address end) {
  for (; batches_ < log.batches().size() && log.batches()[batches_].end() <= end; ++batches_) {
    if (log.batches()[batches_].configuration) continue;
    const auto command = decode(payload_of(log.batches()[batches_]));
    if (!command) continue;
    Session& session = sessions_[command->session];
    if (command->serial != session.serial + 1) continue;  // done before
    session.serial = command->serial;
    session.answer = apply_one(*command);
  }
}

ModelAnswer ModelState::apply_one(const ModelCommand& command) {
  const std::optional<std::string> present = value(command.key);
  switch (command.kind) {
    case ModelCommand::Kind::kPut:
      values_[command.key] = command.value;
      return {true, std::nullopt};
    case ModelCommand::Kind::kAdd: {
      const uint64_t sum = std::stoull(present.value_or("0")) + std::stoull(command.value);
      return {true, values_[command.key] = std::to_string(sum)};
    }
    case ModelCommand::Kind::kCompareAndSwap:
      if (present != command.expected) return {false, present};
      values_[command.key] = command.value;
      return {true, std::nullopt};
    case ModelCommand::Kind::kInsert:
      if (present) return {false, present};
      values_[command.key] = command.value;
      return {true, std::nullopt};
  }
  return {};
}

std::optional<std::string> ModelState::value(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::optional<ModelAnswer> ModelState::answer(uint64_t session, uint64_t serial) const {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.serial != serial) return std::nullopt;
  return found->second.answer;
}

}  // namespace tailrace::simulation
