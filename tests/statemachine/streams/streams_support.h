#pragma once
// A store with the index of streams in it, on a disk that may lose its power.

#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "statemachine/streams/stream_index.h"
#include "statemachine/streams/stream_reader.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {

inline constexpr kv::SessionId kWriter = 1;

class StreamsNode {
 public:
  explicit StreamsNode(uint64_t seed, kv::StoreOptions options = kv::small_options("/kv"))
      : disk_(seed), options_(std::move(options)) {
    open();
  }

  StreamIndex& index() { return *index_; }
  kv::Store& store() { return *store_; }
  kv::Session& session() { return *session_; }

  /// All of the serial is done.
  void done(kv::Serial serial) { session_->refresh(serial); }
  void checkpoint(kv::CheckpointKind kind = kv::CheckpointKind::kFoldOver) {
    finish_checkpoint();
    const auto taken = kv::checkpoint(*store_, kind);
    ASSERT_TRUE(taken) << taken.error().message;
  }
  /// Goes on beside whatever comes next; a restart may come before its end.
  void begin_checkpoint(kv::CheckpointKind kind) {
    finish_checkpoint();
    running_ = kv::begin_checkpoint(*store_, nullptr, kind);
  }
  void finish_checkpoint() {
    if (!running_.valid()) return;
    const auto taken = running_.get();
    ASSERT_TRUE(taken) << taken.error().message;
  }
  /// Returns the serial up to which all is there.
  kv::Serial restart(testing::CrashPolicy policy) {
    close();
    disk_.crash(policy);
    open();
    return session_->last_serial();
  }
  kv::Model pairs() { return kv::contents(*store_); }
  ~StreamsNode() { close(); }

 private:
  void open() {
    store_ = kv::open_or_die(disk_, options_);
    ASSERT_NE(store_, nullptr);
    session_ = kv::session_or_die(*store_, kWriter);
    ASSERT_NE(session_, nullptr);
    auto opened = StreamIndex::open(*store_, *session_);
    ASSERT_TRUE(opened) << opened.error().message;
    index_ = std::move(*opened);
  }
  void close() {
    index_.reset();
    session_.reset();
    store_.reset();
    running_ = {};
  }

  testing::FaultFileSystem disk_;
  const kv::StoreOptions options_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<kv::Session> session_;
  std::unique_ptr<StreamIndex> index_;
  std::future<Result<kv::CheckpointInfo>> running_;
};

inline EventId stream_event_id(uint64_t number) {
  return {number * 0x9e3779b97f4a7c15, number};
}

inline std::vector<EventPlace> places_in(uint64_t address, size_t events) {
  std::vector<EventPlace> places;
  for (size_t i = 0; i < events; ++i)
    places.push_back({address, static_cast<uint16_t>(i)});
  return places;
}

inline ExpectedVersion exactly(StreamVersion version) {
  return {ExpectedVersion::Kind::kExact, version};
}
inline constexpr ExpectedVersion kExpectAny{ExpectedVersion::Kind::kAny, 0};
inline constexpr ExpectedVersion kExpectNone{ExpectedVersion::Kind::kNone, 0};
inline constexpr ExpectedVersion kExpectExists{ExpectedVersion::Kind::kExists, 0};

}  // namespace tailrace::statemachine
