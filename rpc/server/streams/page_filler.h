#pragma once
// Events into a page of a stream: from the log, and from history what the log no longer has.
// Internal.

#include <functional>
#include <span>

#include "rpc/server/streams/stream_reads.h"
#include "statemachine/streams/stream_reader.h"

namespace tailrace::rpc {

/// What a read ends with that `wanted` has said no to.
tl::unexpected<Error> not_wanted();

/// Adds the events of the entries, which stand in the order of the query, until the page is full,
/// enough was read, or kCancelled: `wanted` says no. kTruncated: neither source has the first one.
/// What was read before an event that is in neither stands.
Result<> fill_page(const EventSources& sources, const StreamQuery& query,
                   std::span<const statemachine::StreamEntries::Entry> entries, StreamPage& page,
                   const std::function<bool()>& wanted);

/// When an event was, in unix ns. 0: nothing is kept, and the log has it no more; so it is older
/// than all that is there. UINT64_MAX: history lacks it, and nobody knows.
Result<uint64_t> time_of_event(const EventSources& sources, const std::string& stream,
                               const statemachine::StreamEntries::Entry& entry);

}  // namespace tailrace::rpc
