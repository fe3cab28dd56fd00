// What the store reads from its directory before it believes anything of it, and how streams stand
// in it.
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "kv/checkpoint/files.h"
#include "statemachine/streams/recent_ids.h"
#include "statemachine/streams/stream_records.h"
#include "storage/atomic_file.h"
#include "tests/fuzz/targets.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fuzz {

void manifest(ByteSpan input) {
  testing::FaultFileSystem disk(1);
  kv::CheckpointDirectory directory(disk, "/kv");
  constexpr uint64_t kToken = 3;  // that of the corpus
  TAILRACE_CHECK(disk.make_directory("/kv") && disk.make_directory("/kv/checkpoints") &&
                     directory.create(kToken),
                 "the disk refuses");
  TAILRACE_CHECK(storage::replace_atomic_file(disk, directory.manifest_path(kToken),
                                              {storage::four_letters("KVCP"), 2}, input),
                 "the disk refuses");
  const auto found = directory.manifest(kToken);
  if (!found) return;
  TAILRACE_CHECK(found->token() == kToken, "another checkpoint's manifest is taken");
  TAILRACE_CHECK(kv::check_manifest(directory.manifest_path(kToken), *found),
                 "an impossible manifest is taken");
  TAILRACE_CHECK(directory.publish(*found), "the disk refuses");
  const auto content = disk.content(directory.manifest_path(kToken));
  TAILRACE_CHECK(ByteSpan(content).size() == input.size() + 32 &&
                     std::equal(input.begin(), input.end(), content.begin() + 32),
                 "a manifest is not what was written");
}

namespace {

using namespace statemachine;

void expect_same(ByteSpan input, std::string_view written) {
  TAILRACE_CHECK(as_text(input) == written, "what was read is written otherwise");
}

/// Every promise of recent_ids.h holds for whatever check_ring() lets through.
void recent_ids(ByteSpan input) {
  if (!check_ring(input)) return;
  IdMatcher matcher;
  const std::vector<EventId> batch = {{1, 2}, {3, 4}};
  (void)matcher.match(input, batch);
  std::string ring = to_string(input);
  limit_ids(ring, 3);
  TAILRACE_CHECK(ring.empty() || check_ring(as_bytes(ring)), "a ring is damaged by a limit");
  TAILRACE_CHECK(remember_ids(ring, batch, 7, 3), "ids are not remembered");
  TAILRACE_CHECK(check_ring(as_bytes(ring)), "a ring is damaged by new ids");
  const IdMatch match = matcher.match(as_bytes(ring), batch);
  TAILRACE_CHECK(match.kind != IdMatch::Kind::kNew, "ids are forgotten at once");
}

}  // namespace

void stream_records(ByteSpan input) {
  if (input.empty()) return;
  const auto kind = static_cast<char>(input[0]);
  input = input.subspan(1);
  if (kind == kHeadKey) {
    const auto head = decode_head(input);
    if (!head) return;
    std::string written;
    encode_head(*head, written);
    expect_same(input, written);
  } else if (kind == kIdsKey) {
    recent_ids(input);
  } else if (kind == kDroppedKey) {
    if (const auto dropped = decode_dropped(input)) expect_same(input, encode_dropped(*dropped));
  } else if (const auto numbers = decode_numbers(input)) {
    expect_same(input, encode_numbers(*numbers));
  }
}

}  // namespace tailrace::fuzz
