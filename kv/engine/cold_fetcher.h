#pragma once
// Follows chains on disk: from the address where a chain leaves memory to the newest record of the
// key that counts. One thread at a time; any number of chains at once.

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "kv/engine/engine.h"
#include "kv/log/cold_reader.h"

namespace tailrace::kv {

class ColdFetcher {
 public:
  /// One chain. Stays where it is until `done`; `key` views bytes that live as long.
  struct Fetch {
    HashedKey key{{}, 0};
    WriteVersion version;               // with `beneath`
    bool beneath = false;               // pass over records of the greater version
    const PointInLog* point = nullptr;  // what counts as of it, instead of what counts now
    /// The address of a record of the key: not read, the chain is only followed to there.
    LogAddress floor = 0;
    ColdFound found;  // out; cleared when the chain is gone: look the key up again
    std::optional<Error> error;
    bool done = true;

   private:
    friend class ColdFetcher;
    LogAddress at_ = 0;
  };

  ColdFetcher(storage::FileSystem& file_system, Engine& engine)
      : file_system_(file_system), engine_(engine) {}

  Result<> start(Fetch& fetch, LogAddress from);
  /// Moves what has come from the disk on; waits up to `timeout` when nothing has. Fetches that
  /// have ended are added to `ended` (may be null).
  Result<> poll(std::chrono::nanoseconds timeout, std::vector<Fetch*>* ended);
  size_t in_flight() const { return in_flight_; }
  /// Makes a poll() that waits return. Any thread, once start() has been called.
  void wake() { reader_->wake(); }
  /// So that wake() may be called before the first start().
  Result<> open();

 private:
  void step(const ColdReader::Completion& completion, std::vector<Fetch*>* ended);
  void end(Fetch& fetch, std::vector<Fetch*>* ended);
  bool counts(const Fetch& fetch, LogAddress address, const Record& record) const;

  storage::FileSystem& file_system_;
  Engine& engine_;
  std::unique_ptr<ColdReader> reader_;  // made when the first record is wanted
  std::vector<ColdReader::Completion> completions_;
  size_t in_flight_ = 0;
};

}  // namespace tailrace::kv
