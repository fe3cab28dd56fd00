#pragma once
// Checkpoints of format version 1 (docs/formats/fasterkv.md): the live pairs themselves, in a file
// `records` of chunks, and no log. Only read: a directory whose newest checkpoint is one is opened
// by writing its pairs into an empty store, and the next checkpoint is of version 2.

#include <functional>

#include "kv/checkpoint/files.h"

namespace tailrace::kv {

Result<Manifest> decode_legacy_manifest(const storage::Path& path, ByteSpan content);

/// Reads all pairs, checking everything the manifest says. kCorruption names file and offset; what
/// was visited before must then be thrown away. An error of `visit` ends the reading.
Result<> read_legacy_pairs(const CheckpointDirectory& directory, const Manifest& manifest,
                           const std::function<Result<>(ByteSpan key, ByteSpan value)>& visit);

}  // namespace tailrace::kv
