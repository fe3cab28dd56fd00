#pragma once
// Operations whose outcome is known beforehand, for proving that a checkpoint holds exactly a
// prefix of every session.
//
// What a session does at a serial is a function of the seed, the session and the serial alone. Each
// session has keys of its own; keys that all share hold one counter for each session, and are only
// added to. So the state at any vector of points is that of each session's model at its point.

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/random.h"
#include "kv/store.h"

namespace tailrace::kv {

struct PrefixShape {
  uint64_t seed = 0;
  uint64_t sessions = 4;  // with ids from 1 on
  uint64_t keys = 300;    // of one session
  uint64_t value_bytes = 60;
  uint64_t shared_keys = 3;
};

struct PrefixWrite {
  enum class Kind : uint8_t { kUpsert, kErase, kInsert, kSwap, kAppend, kAdd };
  Kind kind = Kind::kUpsert;
  std::string key;
  std::string value;     // kAppend: the piece
  std::string expected;  // kSwap
  uint64_t amount = 0;   // kAdd
  /// What the store must answer: Operation::done.
  bool done = true;

  /// kAppend and kAdd on the store.
  Modification modify(uint64_t session, uint64_t sessions, const ByteSpan* present,
                      std::string& next) const;
};

/// What one session has done, and what comes next.
class SessionModel {
 public:
  SessionModel(const PrefixShape& shape, uint64_t session) : shape_(shape), session_(session) {
    added_.resize(shape.shared_keys);
  }

  uint64_t session() const { return session_; }
  Serial serial() const { return serial_; }
  /// Does serial() + 1 and returns its writes.
  const std::vector<PrefixWrite>& advance();
  void advance_to(Serial serial) {
    while (serial_ < serial)
      advance();
  }

  using Pairs = std::unordered_map<std::string, std::string>;
  const Pairs& pairs() const { return pairs_; }
  /// By shared key.
  const std::vector<uint64_t>& added() const { return added_; }
  /// Some key of this session, present or not.
  std::string any_key(Random& random) const;

  static std::string shared_key(uint64_t number) { return "shared/" + std::to_string(number); }

 private:
  std::string key_of(uint64_t number) const;
  std::string value_of(Random& random) const;
  void add_private_write(Random& random, std::string key);

  const PrefixShape shape_;
  const uint64_t session_;
  Serial serial_ = 0;
  Pairs pairs_;
  std::vector<uint64_t> added_;
  std::vector<PrefixWrite> writes_;
};

/// The models of all sessions at `points`; a session without a point has done nothing.
std::vector<SessionModel> models_at(const PrefixShape& shape,
                                    const std::vector<SessionPoint>& points);

/// Compares pairs, in whatever order they come, with the state at the models' points.
class PrefixCheck {
 public:
  explicit PrefixCheck(const std::vector<SessionModel>& models);
  void pair(ByteSpan key, ByteSpan value);
  /// After the last pair: what was wrong, some lines; empty when nothing was.
  std::string finish();
  uint64_t pairs() const { return pairs_; }

 private:
  void wrong(const std::string& what);

  const std::vector<SessionModel>& models_;
  std::unordered_map<std::string, const std::string*> left_;
  std::map<std::string, std::string> shared_left_;
  uint64_t pairs_ = 0;
  uint64_t errors_ = 0;
  std::string told_;
};

}  // namespace tailrace::kv
