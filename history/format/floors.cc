#include "history/format/floors.h"

#include <string>

#include "core/varint.h"

namespace tailrace::history {

Result<> check_floor(const StreamFloor& floor) {
  if (floor.stream.empty() || floor.stream.size() > kMostNameBytes)
    return make_error(ErrorCode::kInvalidArgument,
                      "the stream of a floor is " + std::to_string(floor.stream.size()) +
                          " bytes long, 1 to " + std::to_string(kMostNameBytes) + " are allowed");
  if (floor.version == 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "a floor of zero: all versions of a stream are above it");
  return {};
}

bool append_floor(const StreamFloor& floor, size_t most_bytes, std::vector<std::byte>& block) {
  const size_t before = block.size();
  append_varint(block, floor.stream.size());
  append_bytes(block, as_bytes(floor.stream));
  append_varint(block, floor.version);
  if (before == 0 || block.size() <= most_bytes) return true;
  block.resize(before);
  return false;
}

Result<> decode_floors(ByteSpan block, std::vector<StreamFloor>& into) {
  into.clear();
  PackedReader reader(block);
  while (!reader.at_end()) {
    StreamFloor floor;
    const uint64_t bytes = reader.varint(kMostNameBytes, "a long name");
    if (bytes == 0) reader.damaged("a name without bytes");
    floor.stream = as_text(reader.bytes(bytes));
    floor.version = reader.varint();
    if (floor.version == 0) reader.damaged("a floor of zero");
    if (!into.empty() && into.back().stream >= floor.stream)
      reader.damaged("floors that do not ascend by name");
    if (reader.is_sound()) into.push_back(floor);
  }
  return reader.result();
}

}  // namespace tailrace::history
