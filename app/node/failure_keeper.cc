#include "app/node/failure_keeper.h"

#include <system_error>
#include <utility>

#include "app/cli/printable.h"
#include "app/cli/utc_text.h"
#include "core/last_words.h"
#include "core/thread.h"
#include "observability/logging.h"
#include "observability/metric_table.h"

namespace tailrace::app {

struct FailureKeeper::State {
  State(storage::FileSystem& file_system, const storage::Path& directory, const Clock& its_clock)
      : clock(its_clock), file(file_system, directory) {}

  void keep(const std::shared_ptr<State>& self, FailureReason reason, const std::string& message);
  void write_newest();
  bool wait(std::chrono::milliseconds most);

  const Clock& clock;
  Mutex file_mutex;  // of one writing thread at a time; held while the disk is written
  LastFailureFile file TAILRACE_GUARDED_BY(file_mutex);
  Mutex mutex;
  Condition changed;
  int writing TAILRACE_GUARDED_BY(mutex) = 0;  // threads
  bool ends TAILRACE_GUARDED_BY(mutex) = false;
  bool store_failed TAILRACE_GUARDED_BY(mutex) = false;
  std::optional<LastFailure> last TAILRACE_GUARDED_BY(mutex);
};

void FailureKeeper::State::keep(const std::shared_ptr<State>& self, FailureReason reason,
                                const std::string& message) {
  LastFailure failure{clock.unix_time_ns(), reason, message};
  {
    const MutexLock lock(mutex);
    const bool of_store = reason == FailureReason::kStore;
    if (ends || (of_store && store_failed)) return;
    (of_store ? store_failed : ends) = true;
    last = std::move(failure);
    ++writing;
  }
  try {
    named_thread("last failure", [self] { self->write_newest(); }).detach();
  } catch (const std::system_error&) {  // no thread is left: it is not kept
    const MutexLock lock(mutex);
    --writing;
  }
}

/// Of two threads any may come first: each writes what is the newest by then.
void FailureKeeper::State::write_newest() {
  {
    const MutexLock file_lock(file_mutex);
    LastFailure newest;
    {
      const MutexLock lock(mutex);
      newest = *last;
    }
    if (const auto written = file.write(newest); !written)
      observability::log_warning("the next start will not know of this failure: {}",
                                 written.error().message);
  }
  const MutexLock lock(mutex);
  --writing;
  changed.notify_all();
}

bool FailureKeeper::State::wait(std::chrono::milliseconds most) {
  MutexLock lock(mutex);
  return changed.wait_for(lock, most, [this]() TAILRACE_REQUIRES(mutex) { return writing == 0; });
}

FailureKeeper::FailureKeeper(storage::FileSystem& file_system, const storage::Path& directory,
                             const Clock& clock)
    : state_(std::make_shared<State>(file_system, directory, clock)) {}

FailureKeeper::~FailureKeeper() {
  Listening& now = listening();
  const MutexLock lock(now.mutex);
  if (now.state != state_) return;
  set_last_words_listener(nullptr);
  now.state.reset();
}

/// Never destroyed: threads may find something broken while the process exits.
FailureKeeper::Listening& FailureKeeper::listening() {
  static auto* const instance = new Listening;
  return *instance;
}

void FailureKeeper::on_last_words(std::string_view message) noexcept {
  std::shared_ptr<State> state;
  {
    Listening& now = listening();
    const MutexLock lock(now.mutex);
    state = now.state;
  }
  if (!state) return;
  state->keep(state, FailureReason::kInvariant, std::string(message));
  (void)state->wait(kMostWait);
}

void FailureKeeper::start() {
  const auto found = [this] {
    const MutexLock lock(state_->file_mutex);
    return state_->file.read();
  }();
  if (!found)
    observability::log_warning("it is not known whether this node has failed before: {}",
                               found.error().message);
  if (found && *found) {
    const LastFailure& last = **found;
    observability::log_warning("this node last failed at {} ({}): {}", utc_text(last.unix_time_ns),
                               name_of(last.reason), printable(last.message));
    const MutexLock lock(state_->mutex);
    state_->last = last;
  }
  {
    Listening& now = listening();
    const MutexLock lock(now.mutex);
    now.state = state_;
  }
  set_last_words_listener(&FailureKeeper::on_last_words);
}

void FailureKeeper::reserve() {
  const MutexLock lock(state_->file_mutex);
  state_->file.reserve();
}

void FailureKeeper::keep(FailureReason reason, const std::string& message) {
  state_->keep(state_, reason, message);
}

bool FailureKeeper::wait(std::chrono::milliseconds most) {
  return state_->wait(most);
}

std::optional<LastFailure> FailureKeeper::last() const {
  const MutexLock lock(state_->mutex);
  return state_->last;
}

void FailureKeeper::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  registry.add_series(metrics_, observability::metric("tailrace_last_failure_timestamp_seconds"),
                      [this] {
                        const auto last = this->last();
                        observability::MetricRegistry::Samples samples;
                        for (size_t i = 0; i < kFailureReasons; ++i) {
                          const auto reason = static_cast<FailureReason>(i);
                          samples.push_back({{{"reason", std::string(name_of(reason))}},
                                             last && last->reason == reason
                                                 ? static_cast<double>(last->unix_time_ns) * 1e-9
                                                 : observability::kNotKnown});
                        }
                        return samples;
                      });
}

}  // namespace tailrace::app
