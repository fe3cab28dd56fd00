#pragma once
// What the model's log means: a small key-value machine with sessions, as the real one has, so that
// clients can be judged by what they see and not by addresses.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/address.h"
#include "core/bytes.h"
#include "model_log.h"

namespace tailrace::simulation {

struct ModelCommand {
  enum class Kind : uint8_t { kPut, kAdd, kCompareAndSwap, kInsert };
  uint64_t session = 0, serial = 0;
  Kind kind = Kind::kPut;
  std::string key, value, expected;  // kAdd: `value` is a number
};

struct ModelAnswer {
  bool done = false;
  std::optional<std::string> seen;  // the sum, or what was in the way of a swap; none: absent
};

/// The batch's payload.
std::vector<std::byte> encode(const ModelCommand& command);
/// None: the payload is no command.
std::optional<ModelCommand> decode(ByteSpan payload);

class ModelState {
 public:
  /// Everything of `log` up to `end` that was not applied yet. Nothing is ever taken back.
  void apply(const ModelLog& log, Address end);
  std::optional<std::string> value(const std::string& key) const;
  /// What the command with that serial answered; none: it was not the session's last.
  std::optional<ModelAnswer> answer(uint64_t session, uint64_t serial) const;

 private:
  ModelAnswer apply_one(const ModelCommand& command);

  struct Session {
    uint64_t serial = 0;
    ModelAnswer answer;
  };
  size_t batches_ = 0;  // applied
  std::map<std::string, std::string> values_;
  std::map<uint64_t, Session> sessions_;
};

}  // namespace tailrace::simulation
