# Precompiled headers: about a fifth of what compiling a test costs under the address sanitizer is to read
# the standard library and GoogleTest. No header of this project is among them, so that a change to one
# compiles only what includes it, and no folder sees what stands above it. Every file still includes what
# it uses, and compiles without them, as in all other builds.

set(TAILRACE_STANDARD_HEADERS
  <algorithm> <array> <atomic> <bit> <chrono> <condition_variable> <cstdint> <cstring> <deque>
  <functional> <map> <memory> <mutex> <optional> <set> <span> <string> <string_view> <thread>
  <unordered_map> <utility> <vector>
  <fmt/format.h> <tl/expected.hpp>)

# tailrace_precompile(TARGET HEADERS...): the standard headers and these, for one target.
function(tailrace_precompile target)
  if(TAILRACE_PCH)
    target_precompile_headers(${target} PRIVATE ${TAILRACE_STANDARD_HEADERS} ${ARGN})
  endif()
endfunction()

# Compiled once and used by all targets with the same flags (tailrace_library, tailrace_test): those
# of libraries are position-independent, those of tests know GoogleTest.
function(tailrace_shared_precompiled name)
  cmake_parse_arguments(arg "" "" "LINK;HEADERS" ${ARGN})
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/precompiled.cc" CONTENT "")
  add_library(${name} OBJECT EXCLUDE_FROM_ALL "${PROJECT_BINARY_DIR}/precompiled.cc")
  target_link_libraries(${name} PRIVATE tl::expected fmt::fmt tailrace_flags ${arg_LINK})
  tailrace_precompile(${name} ${arg_HEADERS})
endfunction()

if(TAILRACE_PCH)
  tailrace_shared_precompiled(tailrace_precompiled_libraries)
  set_target_properties(tailrace_precompiled_libraries PROPERTIES POSITION_INDEPENDENT_CODE ON)
  if(TAILRACE_TESTS)
    tailrace_shared_precompiled(tailrace_precompiled_tests
      LINK GTest::gtest HEADERS <gtest/gtest.h>)
  endif()
endif()
