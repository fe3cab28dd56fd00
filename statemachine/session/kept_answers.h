#pragma once
// The answers that are kept for sessions: of each session in the order of their serials, and of all
// together in the order in which they were made, so that the oldest can go first. One thread.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "statemachine/command/command.h"

namespace tailrace::statemachine {

using SessionSlot = uint32_t;  // where a session is, as long as it is known
inline constexpr SessionSlot kNoSession = UINT32_MAX;

struct KeptAnswer {
  SessionSlot session = kNoSession;
  uint64_t serial = 0;
  uint64_t made_at = 0;  // end of its command's record; 0: under rules without limits
  Answer answer;
};
using KeptAnswerList = std::list<KeptAnswer>;

/// Those of one session, by ascending serials.
class AnswersOfSession {
 public:
  using Reference = KeptAnswerList::iterator;
  size_t size() const { return references_.size() - first_; }
  Reference oldest() const { return references_[first_]; }
  Reference newest() const { return references_.back(); }
  auto begin() const { return references_.begin() + static_cast<std::ptrdiff_t>(first_); }
  auto end() const { return references_.end(); }
  /// Null when it is not among them.
  const KeptAnswer* find(uint64_t serial) const;
  /// What they count for by their session's own limit: 14 bytes and the value each.
  uint64_t bytes() const { return bytes_; }

 private:
  friend class KeptAnswers;
  std::vector<Reference> references_;
  size_t first_ = 0;  // what stands before it is gone
  uint64_t bytes_ = 0;
};

class KeptAnswers {
 public:
  /// What an answer counts for beside its value when all are counted together: its memory here. A
  /// part of the rules.
  static constexpr uint64_t kOverheadBytes = 224;

  /// The newest of all, and of its session; `of` is made if it is null.
  void add(std::unique_ptr<AnswersOfSession>& of, KeptAnswer answer);
  /// The oldest of a session that has one; `of` is null again after the last.
  void remove_oldest(std::unique_ptr<AnswersOfSession>& of);
  /// Of all, if there is any.
  const KeptAnswer& oldest() const { return list_.front(); }
  size_t size() const { return list_.size(); }
  uint64_t bytes() const { return bytes_; }

  template <typename IsOlder>
  void sort(const IsOlder& is_older) {
    list_.sort(is_older);
  }
  /// After some were added in no order: sorts those of one session.
  static void sort_by_serial(AnswersOfSession& of);

 private:
  KeptAnswerList list_;
  uint64_t bytes_ = 0;
};

}  // namespace tailrace::statemachine
