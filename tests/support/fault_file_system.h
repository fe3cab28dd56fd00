#pragma once
// A disk in memory that behaves as badly as real ones may, for crash and fault tests.
//
// Written sectors (512 bytes) reach the "platter" only by a sync of their file, names only by a
// sync of their directory. A crash keeps or loses each unsynced sector and each unsynced name on
// its own, so writes come back torn and out of order; a rename's two names go the same way, as it
// is atomic. Files opened before a crash fail from then on, as the process that had them is gone.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/mutex.h"
#include "core/random.h"
#include "storage/file_system.h"

namespace tailrace::testing {

enum class FaultKind {
  kError,     // this one operation fails with EIO; a write leaves a random part of itself
  kNoSpace,   // this one operation fails with ENOSPC, a write having done nothing
  kPowerCut,  // this operation is done in part, and it and all later ones fail until crash()
  kShort,     // a write does the first half of its sectors and fails; others as kError
  kTorn,      // as kPowerCut, a write having done exactly the first sectors, as many as wanted
};

enum class CrashPolicy {
  kLoseUnsynced,  // exactly what was synced
  kKeepAll,       // all that was written, synced or not
  kRandom,        // each unsynced sector and name by chance
  kProcessEnds,   // no power cut: all that was written is there, and no more synced than before
};

class FaultFileSystem final : public storage::FileSystem {
 public:
  explicit FaultFileSystem(uint64_t seed) : random_(seed) {}

  // ---- The test's side. Any thread. -----------------------------------------------------------
  /// Operations so far that change the disk: writes, syncs, allocations, truncations, creations,
  /// renames, removals, directory syncs.
  uint64_t operations() const;
  /// Operation number `operation` (counting from 0, see operations()) will fail so.
  /// `sectors` is for kTorn alone.
  void fail_at(uint64_t operation, FaultKind kind, uint64_t sectors = 0);
  /// The next such call ("write", "fdatasync") on that file will fail so, whatever other threads do
  /// to the disk before it. kError, kNoSpace or kShort.
  void fail_next(std::string_view call, const storage::Path& path, FaultKind kind);
  /// Reads of files so far, also those that found nothing.
  uint64_t reads() const;
  /// Read number `read` (counting from 0, see reads()) will fail so: kError and kNoSpace with EIO,
  /// kShort gives the first half of what was asked for, as a file does that ends there.
  void fail_read_at(uint64_t read, FaultKind kind);
  /// How many sectors each operation so far was to write; 0 for those that are no writes.
  std::vector<uint64_t> sectors_of_operations() const;
  /// Power cut (or the process's end) and restart: open files are dead, injected faults are gone.
  void crash(CrashPolicy policy);
  /// The present bytes of a file, and a way to damage them (both views: it is on the platter).
  std::vector<std::byte> content(const storage::Path& path) const;
  void flip_bit(const storage::Path& path, uint64_t byte, int bit);
  std::vector<storage::Path> files() const;
  /// Writes and allocations beyond it fail with ENOSPC.
  void set_capacity(uint64_t bytes);
  /// Nothing more fits, no new file can be made, and what is given back another program takes;
  /// until set_capacity().
  void fill();
  /// Whether exchange() is known, as by most file systems.
  void set_can_exchange(bool can);

  // ---- storage::FileSystem ---------------------------------------------------------------------
  Result<std::unique_ptr<storage::File>> open(const storage::Path& path,
                                              const storage::OpenOptions& options) override;
  Result<std::unique_ptr<storage::IoQueue>> make_queue(size_t depth) override;
  Result<bool> exists(const storage::Path& path) override;
  Result<std::vector<std::string>> list(const storage::Path& directory) override;
  Result<> make_directory(const storage::Path& directory) override;
  Result<> rename(const storage::Path& from, const storage::Path& to) override;
  Result<> exchange(const storage::Path& one, const storage::Path& other) override;
  Result<> remove(const storage::Path& path) override;
  Result<> remove_directory(const storage::Path& directory) override;
  Result<> sync_directory(const storage::Path& directory) override;
  Result<std::unique_ptr<storage::DirectoryLock>> lock(const storage::Path& directory) override;
  Result<> check_unlocked(const storage::Path& directory) override;
  Result<storage::SpaceInfo> space(const storage::Path& directory) override;

 private:
  static constexpr size_t kSectorBytes = 512;

  struct Inode {
    std::vector<std::byte> written;  // what a read sees
    std::vector<std::byte> durable;  // what a power cut cannot take
    std::set<size_t> dirty_sectors;  // where the two may differ
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;

  friend class FaultFile;
  friend class FaultQueue;
  friend class FaultLock;

  struct Fault {
    FaultKind kind;
    uint64_t sectors;
  };
  /// Counts an operation. Nothing: go on; else the fault that strikes it.
  std::optional<Fault> next_fault(uint64_t sectors) TAILRACE_REQUIRES(mutex_);
  std::optional<FaultKind> next_operation() TAILRACE_REQUIRES(mutex_);
  void move_directory(Names& names, const std::string& from, const std::string& to)
      TAILRACE_REQUIRES(mutex_);
  /// The fault that waits for that call on that file, which is used up.
  std::optional<FaultKind> take_named_fault(std::string_view call, const std::string& path)
      TAILRACE_REQUIRES(mutex_);
  tl::unexpected<Error> failure(std::string_view call, const std::string& path, FaultKind kind)
      TAILRACE_REQUIRES(mutex_);
  Result<> write(Inode& inode, const std::string& path, uint64_t offset, ByteSpan bytes)
      TAILRACE_REQUIRES(mutex_);
  Result<> resize(Inode& inode, const std::string& path, std::string_view call, uint64_t bytes,
                  bool only_grow) TAILRACE_REQUIRES(mutex_);
  Result<> sync(Inode& inode, const std::string& path) TAILRACE_REQUIRES(mutex_);
  /// Whether a crash keeps one thing that was not synced.
  bool keeps(CrashPolicy policy) TAILRACE_REQUIRES(mutex_);
  Names names_after(CrashPolicy policy) TAILRACE_REQUIRES(mutex_);
  void lose_sectors(const Names& names, CrashPolicy policy) TAILRACE_REQUIRES(mutex_);
  void take_what_is_free() TAILRACE_REQUIRES(mutex_);
  uint64_t used_bytes() const TAILRACE_REQUIRES(mutex_);
  bool has_room(const Inode& inode, uint64_t bytes) const TAILRACE_REQUIRES(mutex_);

  mutable Mutex mutex_;
  Random random_ TAILRACE_GUARDED_BY(mutex_);
  uint64_t operations_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t generation_ TAILRACE_GUARDED_BY(mutex_) = 0;  // how many crashes there were
  bool power_is_cut_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::map<uint64_t, Fault> faults_ TAILRACE_GUARDED_BY(mutex_);
  /// By call and path.
  std::map<std::pair<std::string, std::string>, FaultKind> named_faults_
      TAILRACE_GUARDED_BY(mutex_);
  uint64_t reads_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, FaultKind> read_faults_ TAILRACE_GUARDED_BY(mutex_);  // by number
  std::vector<uint64_t> sectors_of_operations_ TAILRACE_GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ TAILRACE_GUARDED_BY(mutex_) = uint64_t{1} << 40;
  bool filled_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool can_exchange_ TAILRACE_GUARDED_BY(mutex_) = true;
  Names names_ TAILRACE_GUARDED_BY(mutex_);
  Names durable_names_ TAILRACE_GUARDED_BY(mutex_);
  /// In their order.
  std::vector<std::pair<std::string, std::string>> unsynced_renames_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<std::pair<std::string, std::string>> unsynced_directory_renames_
      TAILRACE_GUARDED_BY(mutex_);
  std::set<std::string> directories_ TAILRACE_GUARDED_BY(mutex_);
  /// Held, and in which generation.
  std::map<std::string, uint64_t> locks_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::testing
