#include "tests/fuzz/log_bytes.h"

#include <algorithm>

#include "fasterlog/format/record.h"

namespace tailrace::fuzz {

namespace log = fasterlog;

LogBytes log_bytes(ByteSpan program, size_t most) {
  LogBytes result;
  std::vector<std::byte>& bytes = result.bytes;
  Address batch_begin = log::kFirstAddress;
  Input input(program);
  const auto end = [&] { return log::kFirstAddress + bytes.size(); };
  // Where `size` more bytes begin, in one page; null when they do not fit any more.
  const auto room = [&](uint64_t size) -> std::byte* {
    const uint64_t left = kPageBytes - end().value % kPageBytes;
    if (left < size && left < most - bytes.size()) bytes.resize(bytes.size() + left);
    if (size > kPageBytes || size > most - bytes.size()) return nullptr;
    bytes.resize(bytes.size() + size);
    return bytes.data() + bytes.size() - size;
  };
  while (!input.empty()) {
    const auto operation = input.take<uint8_t>() % 8;
    const uint64_t before = bytes.size();
    if (operation <= 2) {
      const auto kind = input.take<uint8_t>();
      const Epoch epoch{input.take<uint8_t>()};
      const auto size = input.take<uint16_t>();
      std::byte* to = room(log::record_bytes(size));
      if (to == nullptr) break;
      std::memset(to + log::kHeaderBytes, kind, size);
      const Address address = end() - log::record_bytes(size);
      log::seal_record(to, address, epoch, static_cast<log::RecordKind>(kind), size);
    } else if (operation <= 4) {
      const Epoch epoch{input.take<uint8_t>()};
      const Address begin =
          operation == 3 ? batch_begin : Address{uint64_t{input.take<uint16_t>()}};
      std::byte* to = room(log::kLeastMarkBytes);
      if (to == nullptr) break;
      log::write_commit_mark(to, end() - log::kLeastMarkBytes, log::kLeastMarkBytes, epoch,
                             {begin, 1});
      if (operation == 3) result.mark_ends.push_back(batch_begin = end());
    } else if (operation == 5) {
      const Epoch epoch{input.take<uint8_t>()};
      const uint64_t left = kPageBytes - end().value % kPageBytes;
      const Address from = end();
      if (left > most - bytes.size()) break;
      bytes.resize(bytes.size() + left);
      log::write_page_padding(bytes.data() + before, from, from + left, epoch);
    } else if (operation == 6) {
      const ByteSpan some = input.take_bytes(input.take<uint8_t>());
      if (some.size() > most - bytes.size()) break;
      bytes.insert(bytes.end(), some.begin(), some.end());
    } else {
      const auto behind = input.take<uint16_t>();
      const auto value = input.take<uint8_t>();
      if (behind < bytes.size()) bytes[bytes.size() - 1 - behind] ^= std::byte{value};
    }
  }
  return result;
}

}  // namespace tailrace::fuzz
