#include "app/node/last_failure_file.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/utf8.h"
#include "storage/atomic_file.h"

namespace tailrace::app {

namespace {

constexpr storage::AtomicFileFormat kLastFailureFormat{storage::four_letters("FAIL"), 1};

struct FailureHead {
  uint64_t unix_time_ns;
  uint32_t reason;
  uint32_t message_bytes;
};
static_assert(sizeof(FailureHead) == 16 && std::is_trivially_copyable_v<FailureHead>);

constexpr uint64_t kMostFileBytes =
    32 + sizeof(FailureHead) + LastFailureFile::kMostMessageBytes;  // with the header of all files

/// As many whole characters as fit.
std::string_view cut_to_fit(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const size_t next = end + std::max<size_t>(1, first_character(text.substr(end)).bytes);
    if (next > LastFailureFile::kMostMessageBytes) break;
    end = next;
  }
  return text.substr(0, end);
}

}  // namespace

std::string_view name_of(FailureReason reason) {
  switch (reason) {
    case FailureReason::kOther:
      return "other";
    case FailureReason::kDisk:
      return "disk";
    case FailureReason::kDamage:
      return "damage";
    case FailureReason::kInvariant:
      return "invariant";
    case FailureReason::kStore:
      return "store";
  }
  return "other";
}

FailureReason reason_of(const Error& error) {
  if (error.code == ErrorCode::kIo || error.code == ErrorCode::kResourceExhausted)
    return FailureReason::kDisk;
  return error.code == ErrorCode::kCorruption ? FailureReason::kDamage : FailureReason::kOther;
}

Result<std::optional<LastFailure>> LastFailureFile::read() const {
  auto file = file_system_.open(path_, {storage::OpenMode::kReadOnly, false});
  if (!file && file.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!file) return tl::unexpected(std::move(file).error());
  // What a damaged file of another kind advises is not for this one.
  const auto damaged = [this] {
    return make_error(ErrorCode::kCorruption,
                      path_.string() + " does not check; it may be removed");
  };
  TAILRACE_ASSIGN_OR_RETURN(const auto size, (*file)->size());
  if (size > kMostFileBytes) return damaged();
  const auto content = storage::read_atomic_file(file_system_, path_, kLastFailureFormat);
  if (!content && content.error().code == ErrorCode::kCorruption) return damaged();
  if (!content && content.error().code == ErrorCode::kUnsupported)
    return make_error(ErrorCode::kUnsupported, path_.string() + " is of a newer version");
  if (!content) return tl::unexpected(content.error());
  const std::vector<std::byte>& bytes = content->bytes;
  if (bytes.size() < sizeof(FailureHead)) return damaged();
  const auto head = load<FailureHead>(bytes.data());
  if (bytes.size() != sizeof(FailureHead) + head.message_bytes) return damaged();
  const bool known = head.reason < kFailureReasons;
  return LastFailure{head.unix_time_ns,
                     known ? static_cast<FailureReason>(head.reason) : FailureReason::kOther,
                     to_string(ByteSpan(bytes).subspan(sizeof(FailureHead)))};
}

void LastFailureFile::reserve() {
  (void)storage::reserve_atomic_file(file_system_, path_, sizeof(FailureHead) + kMostMessageBytes);
}

Result<> LastFailureFile::write(const LastFailure& failure) {
  const std::string_view message = cut_to_fit(failure.message);
  std::vector<std::byte> bytes(sizeof(FailureHead) + message.size());
  store(bytes.data(), FailureHead{failure.unix_time_ns, static_cast<uint32_t>(failure.reason),
                                  static_cast<uint32_t>(message.size())});
  if (!message.empty())
    std::memcpy(bytes.data() + sizeof(FailureHead), message.data(), message.size());
  return storage::replace_reserved_file(file_system_, path_, kLastFailureFormat, bytes);
}

}  // namespace tailrace::app
