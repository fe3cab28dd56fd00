#include "rpc/wire/hello.h"

#include <fmt/format.h>

namespace tailrace::rpc {

Result<> check_protocol_version(uint32_t theirs) {
  if (theirs == 0)
    return make_error(ErrorCode::kInvalidArgument, "the other side states no protocol version");
  if (theirs > kProtocolVersion)
    return make_error(
        ErrorCode::kUnsupported,
        fmt::format("protocol version {} is newer than {}, the newest one known here: update this "
                    "program, or connect with an older one",
                    theirs, kProtocolVersion));
  return {};
}

}  // namespace tailrace::rpc
