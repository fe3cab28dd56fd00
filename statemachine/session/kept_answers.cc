#include "statemachine/session/kept_answers.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tailrace::statemachine {
namespace {

constexpr uint64_t kCountedHeader = 14;
constexpr size_t kMostGone = 16;

uint64_t counted_alone(const Answer& answer) {
  return kCountedHeader + answer.value.size();
}
uint64_t counted_together(const Answer& answer) {
  return KeptAnswers::kOverheadBytes + answer.value.size();
}
bool is_below(AnswersOfSession::Reference reference, uint64_t serial) {
  return reference->serial < serial;
}

}  // namespace

const KeptAnswer* AnswersOfSession::find(uint64_t serial) const {
  const auto found = std::lower_bound(begin(), end(), serial, is_below);
  return found != end() && (*found)->serial == serial ? &**found : nullptr;
}

void KeptAnswers::add(std::unique_ptr<AnswersOfSession>& of, KeptAnswer answer) {
  if (!of) of = std::make_unique<AnswersOfSession>();
  of->bytes_ += counted_alone(answer.answer);
  bytes_ += counted_together(answer.answer);
  list_.push_back(std::move(answer));
  of->references_.push_back(std::prev(list_.end()));
}

void KeptAnswers::remove_oldest(std::unique_ptr<AnswersOfSession>& of) {
  const AnswersOfSession::Reference oldest = of->oldest();
  of->bytes_ -= counted_alone(oldest->answer);
  bytes_ -= counted_together(oldest->answer);
  list_.erase(oldest);
  ++of->first_;
  if (of->size() == 0) return of.reset();
  if (of->first_ < kMostGone || of->first_ < of->size()) return;
  of->references_.erase(of->references_.begin(), of->begin());
  of->first_ = 0;
}

void KeptAnswers::sort_by_serial(AnswersOfSession& of) {
  std::sort(of.references_.begin(), of.references_.end(),
            [](const auto& left, const auto& right) { return left->serial < right->serial; });
}

}  // namespace tailrace::statemachine
