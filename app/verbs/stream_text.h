#pragma once
// What the verbs on streams have in common: their words on the command line, and what they say.

#include <optional>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"
#include "rpc/client/client.h"

namespace tailrace::app {

/// any, none, exists, or a version.
Result<rpc::ExpectedStream> parse_expected(std::string_view text);

/// A state that has what was written there, whichever server answers.
rpc::ReadOptions after(Epoch epoch, Address address);

/// "the stream 's' is at version 3": what is there instead of what was to be.
std::string wrong_stream_text(std::string_view stream, const statemachine::FailedCheck& found);

/// "its newest 10 events and those younger than 7d"; empty: all is kept.
std::string policy_text(const rpc::StreamInfo& stream);
/// Says on standard error, in one line, that the stream's policy keeps some events only.
void warn_of_policy(std::string_view stream, const rpc::StreamInfo& info);

}  // namespace tailrace::app
