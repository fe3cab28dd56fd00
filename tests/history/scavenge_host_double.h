#pragma once
// What the scavenger works for, in place of a node's history.

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/mutex.h"
#include "history/catalogue.h"
#include "history/scavenge_host.h"

namespace tailrace::history {

/// A node's history without its log.
class HostDouble final : public ScavengeHost {
 public:
  explicit HostDouble(std::unique_ptr<Catalogue> catalogue) : catalogue_(std::move(catalogue)) {}

  Catalogue& catalogue() override { return *catalogue_; }
  Address complete() const override { return catalogue_->end(); }
  std::vector<AddressRange> missing() const override {
    return nobody_has ? std::vector<AddressRange>{} : catalogue_->gaps({Address{64}, complete()});
  }
  Result<> check_room(uint64_t /*bytes*/) const override {
    if (!is_full) return {};
    return make_error(ErrorCode::kResourceExhausted, "the disk is full");
  }
  Result<> replace(const EventFileInfo& /*before*/, const EventFileInfo& now,
                   uint32_t left_out) override {
    removed += left_out;
    return catalogue_->add(now);
  }
  void found_damaged(const EventFileInfo& info, const Error& /*error*/) override {
    if (has_others) {
      EXPECT_TRUE(catalogue_->drop(info));
    }
  }
  void set_scavenge_status(ScavengeStatus now) override {
    const MutexLock lock(mutex_);
    status_ = std::move(now);
  }
  Address done() const {
    const MutexLock lock(mutex_);
    return status_.done;
  }
  std::optional<ErrorCode> trouble() const {
    const MutexLock lock(mutex_);
    return status_.trouble ? std::optional(status_.trouble->code) : std::nullopt;
  }

  std::atomic<bool> nobody_has{false}, is_full{false}, has_others{true};
  std::atomic<uint64_t> removed{0};

 private:
  const std::unique_ptr<Catalogue> catalogue_;
  mutable Mutex mutex_;
  ScavengeStatus status_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::history
