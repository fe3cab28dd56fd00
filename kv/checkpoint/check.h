#pragma once
// Whether what is on disk is what a checkpoint's manifest says: of a store at work, and of a copy.

#include "kv/checkpoint/files.h"
#include "kv/log/loader.h"

namespace tailrace::kv {

/// kFailedPrecondition: it is another owner's, or its pages or segments have another size.
Result<> check_settings(const CheckpointDirectory& directory, const Manifest& manifest,
                        const StoreOptions& options);

/// Reads all that the checkpoint, not one of pairs, consists of and compares every checksum; takes
/// a page of memory and a few MiB for each file that is open. `log_sink` sees the log's part.
/// kNotFound is damage, too: a file that should be there.
Result<> check_contents(const CheckpointDirectory& directory, const Manifest& manifest,
                        LogSegments& segments, const LogVerifier::Sink& log_sink);

}  // namespace tailrace::kv
