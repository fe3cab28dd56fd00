#pragma once
// What the state machine promises, said a second time and as plainly as possible.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "statemachine/command/command.h"
#include "statemachine/types/rules.h"

namespace tailrace::statemachine {

/// A command that owns its bytes.
struct OwnedCommand {
  Operation operation = Operation::kEvent;
  std::string key, value, expected;
  int64_t delta = 0;
  std::optional<SessionSerial> session;
  uint64_t expires_at_ns = 0;

  Command view() const {
    return {operation,          session, as_bytes(key), as_bytes(value),
            as_bytes(expected), delta,   expires_at_ns};
  }
};

inline OwnedCommand put(std::string key, std::string value) {
  return {Operation::kPut, std::move(key), std::move(value), {}, 0, {}};
}
inline OwnedCommand erase(std::string key) {
  return {Operation::kDelete, std::move(key), {}, {}, 0, {}};
}
inline OwnedCommand add(std::string key, int64_t delta) {
  return {Operation::kAdd, std::move(key), {}, {}, delta, {}};
}
inline OwnedCommand cas(std::string key, std::string expected, std::string value) {
  return {Operation::kCas, std::move(key), std::move(value), std::move(expected), 0, {}};
}
inline OwnedCommand insert(std::string key, std::string value) {
  return {Operation::kInsert, std::move(key), std::move(value), {}, 0, {}};
}
inline OwnedCommand event(std::string stream, std::string value) {
  return {Operation::kEvent, std::move(stream), std::move(value), {}, 0, {}};
}
inline OwnedCommand expiring(uint64_t expires_at_ns, OwnedCommand command) {
  command.expires_at_ns = expires_at_ns;
  return command;
}
inline OwnedCommand expire(std::string key, uint64_t expires_at_ns) {
  return {Operation::kExpire, std::move(key), {}, {}, 0, {}, expires_at_ns};
}
inline OwnedCommand digest() {
  return {Operation::kDigest, {}, {}, {}, 0, {}};
}
inline OwnedCommand set_rules(const Rules& rules) {
  std::vector<std::byte> bytes;
  encode(rules, bytes);
  return {Operation::kRules, {}, to_string(bytes), {}, 0, {}};
}
inline OwnedCommand in_session(uint64_t client, uint64_t serial, OwnedCommand command) {
  command.session = SessionSerial{{0, client}, serial};
  return command;
}

inline OwnedCommand begins_before(uint64_t bound_ns, OwnedCommand command) {
  command.session->begins_before_ns = bound_ns;
  return command;
}

inline bool operator==(const Answer& left, const Answer& right) {
  return left.outcome == right.outcome && left.has_value == right.has_value &&
         left.value == right.value && left.withheld_bytes == right.withheld_bytes;
}
inline std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  return out << "outcome " << static_cast<int>(answer.outcome) << ", "
             << (answer.has_value ? "value '" + answer.value.substr(0, 40) + "'" : "no value");
}

using Pairs = std::map<std::string, std::string>;

/// Sessions here never expire and forget nothing.
class Model {
 public:
  Answer apply(const OwnedCommand& command) {
    if (!command.session) return act(command);
    Session& session = sessions_[command.session->client];
    const uint64_t serial = command.session->serial;
    if (const auto found = session.answers.find(serial); found != session.answers.end()) {
      return found->second;
    }
    if (session.answers.empty() && serial != 1) return {Outcome::kSessionExpired, false, {}};
    if (serial != session.answers.size() + 1) return {Outcome::kSerialGap, false, {}};
    return session.answers[serial] = act(command);
  }
  const Pairs& pairs() const { return pairs_; }

 private:
  struct Session {
    std::map<uint64_t, Answer> answers;
  };

  Answer act(const OwnedCommand& command) {
    const auto found = pairs_.find(command.key);
    const bool present = found != pairs_.end();
    switch (command.operation) {
      case Operation::kEvent:
      case Operation::kDigest:
      case Operation::kTime:
      case Operation::kCompare:
      case Operation::kRules:
      case Operation::kTxn:  // txn_model_test.cc has its own model, and scavenges
      case Operation::kScavenge:
        return {};
      case Operation::kExpire:  // nothing expires here
        return {present ? Outcome::kDone : Outcome::kAbsent, false, {}};
      case Operation::kPut:
        pairs_[command.key] = command.value;
        return {};
      case Operation::kDelete:
        pairs_.erase(command.key);
        return {present ? Outcome::kDone : Outcome::kAbsent, false, {}};
      case Operation::kCas:
        if (!present) return {Outcome::kCasMismatch, false, {}};
        if (found->second != command.expected) return {Outcome::kCasMismatch, true, found->second};
        found->second = command.value;
        return {};
      case Operation::kInsert:
        if (present) return {Outcome::kCasMismatch, true, found->second};
        pairs_[command.key] = command.value;
        return {};
      case Operation::kAdd: {
        const int64_t before = present ? std::stoll(found->second) : 0;
        return {Outcome::kDone, true, pairs_[command.key] = std::to_string(before + command.delta)};
      }
    }
    return {};
  }

  Pairs pairs_;
  std::map<ClientId, Session> sessions_;
};

}  // namespace tailrace::statemachine
