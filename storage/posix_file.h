#pragma once

#include "storage/file_system.h"

namespace tailrace::storage {

/// A File of the operating system. The I/O queues need its descriptor.
class PosixFile final : public File {
 public:
  PosixFile(Path path, int descriptor, bool direct)
      : path_(std::move(path)), descriptor_(descriptor), direct_(direct) {}
  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  int descriptor() const { return descriptor_; }
  bool direct() const { return direct_; }

  const Path& path() const override { return path_; }
  Result<uint64_t> size() const override;
  Result<size_t> read_at(uint64_t offset, MutableByteSpan into) override;
  Result<> write_at(uint64_t offset, ByteSpan bytes) override;
  Result<> sync() override;
  Result<> allocate(uint64_t bytes) override;
  Result<> truncate(uint64_t bytes) override;

 private:
  const Path path_;
  const int descriptor_;
  const bool direct_;  // opened with O_DIRECT
};

}  // namespace tailrace::storage
