#pragma once
// Removes pages that nobody can read any more, a few in each call: a stream may have a million of
// them, and no single command is to take long. What is left waits in the store, so that a node that
// was started again goes on as one that was not. One thread, the store's writer.

#include <array>
#include <optional>
#include <string>

#include "core/result.h"
#include "kv/session.h"
#include "statemachine/streams/stream_records.h"

namespace tailrace::statemachine {

class PageRemover {
 public:
  /// So many pages are removed at once of those that are dropped, and of those that wait.
  static constexpr uint64_t kAtOnce = 8;

  /// `numbers` outlives this, and says which wait; whoever owns it writes it.
  PageRemover(kv::Session& session, StreamNumbers& numbers)
      : session_(session), numbers_(numbers) {}

  /// The first few at once; the rest waits.
  Result<> drop(DroppedPages pages, kv::Serial at);
  /// A few of those that wait.
  Result<> go_on(kv::Serial at);

 private:
  Result<> remove(DroppedPages& pages, kv::Serial at);
  Result<> load_front();
  Result<> write(uint64_t number, const DroppedPages& pages, kv::Serial at);

  kv::Session& session_;
  StreamNumbers& numbers_;
  std::optional<DroppedPages> front_;  // what stands under numbers_.first_dropped, once it was read
  std::array<std::string, kAtOnce> keys_;
  std::string key_;
};

}  // namespace tailrace::statemachine
