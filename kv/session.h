#pragma once

#include "kv/checkpoint_coordinator.h"
#include "kv/engine.h"
#include "kv/store.h"

namespace tailrace::kv {

class SessionImpl final : public Session {
 public:
  SessionImpl(Engine& engine, CheckpointCoordinator& coordinator, SessionId id);
  ~SessionImpl() override;
  /// Once, before anything else.
  Result<> open();

  SessionId id() const override { return state_.id; }
  Serial last_serial() const override { return state_.point(); }
  Result<> read(ByteSpan key, std::string& value) override;
  Result<> upsert(ByteSpan key, ByteSpan value, Serial serial) override;
  Result<bool> erase(ByteSpan key, Serial serial) override;
  void prefetch(ByteSpan key) override { engine_.prefetch(key); }
  void refresh(Serial serial) override;

 private:
  Result<bool> write(ByteSpan key, const ByteSpan* value, Serial serial);
  Engine::Outcome attempt(const HashedKey& key, const ByteSpan* value, Serial serial, bool full);
  Result<bool> refuse_full(uint64_t bytes, Serial serial);

  Engine& engine_;
  CheckpointCoordinator& coordinator_;
  SessionState state_;
  bool open_ = false;
};

}  // namespace tailrace::kv
