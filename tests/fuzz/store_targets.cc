// What the store reads from its directory before it believes anything of it.
#include "core/check.h"
#include "kv/checkpoint/files.h"
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

}  // namespace tailrace::fuzz
