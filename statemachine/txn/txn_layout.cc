#include "statemachine/txn/txn_layout.h"

namespace tailrace::statemachine {

void ByteReader::fail(ErrorCode code, std::string_view what) {
  if (error_) return;
  std::string message(subject_);
  message.append(": at byte ").append(std::to_string(read_from_)).append(": ").append(what);
  error_ = Error{code, std::move(message)};
}

void ByteReader::damaged(std::string_view what) {
  fail(ErrorCode::kCorruption, what);
}

void ByteReader::newer(const std::string& what) {
  fail(ErrorCode::kUnsupported, what + " is of a newer version; upgrade this node");
}

void ByteReader::ends_early(size_t count) {
  damaged(std::to_string(count) + " bytes are to follow, " + std::to_string(bytes_.size() - at_) +
          " are left");
}

void ByteReader::expect_end() {
  read_from_ = at_;
  if (at_ != bytes_.size())
    damaged(std::to_string(bytes_.size() - at_) + " bytes are left behind its end");
}

Result<> ByteReader::result() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

}  // namespace tailrace::statemachine
