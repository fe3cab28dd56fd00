#pragma once
// Which program this is.

#include <string_view>

// By the build (app/CMakeLists.txt).
#ifndef TAILRACE_VERSION
#define TAILRACE_VERSION "unknown"
#endif
#ifndef TAILRACE_REVISION
#define TAILRACE_REVISION "unknown"
#endif

namespace tailrace::app {

inline constexpr std::string_view kVersion = TAILRACE_VERSION;
/// Of the source; "unknown" where it was not built from a checkout.
inline constexpr std::string_view kRevision = TAILRACE_REVISION;
#if defined(__clang__)
inline constexpr std::string_view kCompiler = "clang " __clang_version__;
#else
inline constexpr std::string_view kCompiler = "g++ " __VERSION__;
#endif

}  // namespace tailrace::app
