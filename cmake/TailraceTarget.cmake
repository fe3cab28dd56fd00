# How every target of this project is compiled. Dependencies never see these flags.

find_program(TAILRACE_CCACHE ccache)
if(TAILRACE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TAILRACE_CCACHE}")
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG" CACHE STRING "" FORCE)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1" CACHE STRING "" FORCE)

add_library(tailrace_flags INTERFACE)
target_compile_options(tailrace_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
  -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports uninitialised and overlapping uses inside optional/expected/coroutine frames
  # that are not there.
  target_compile_options(tailrace_flags INTERFACE
    -Wno-maybe-uninitialized -Wno-restrict -Wno-mismatched-new-delete)
endif()
if(NOT TAILRACE_METRICS)
  target_compile_definitions(tailrace_flags INTERFACE TAILRACE_NO_METRICS)
endif()
if(TAILRACE_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "TAILRACE_FUZZ needs clang++ (and libclang-rt-14-dev); the compiler is "
                        "${CMAKE_CXX_COMPILER_ID}")
  endif()
  # Only g++ decides about warnings; clang about locks, below. A test's own code is not fuzzed.
  target_compile_options(tailrace_flags INTERFACE -Wno-error
    $<$<NOT:$<BOOL:$<TARGET_PROPERTY:TAILRACE_IS_TEST>>>:-fsanitize=fuzzer-no-link>)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # core/mutex.h: data is accessed only with its lock held. g++ cannot check that.
  target_compile_options(tailrace_flags INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(TAILRACE_SANITIZE STREQUAL "address")
  # The address sanitizer finds these two as well, and a seventh of the compiler's time is theirs.
  target_compile_options(tailrace_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize=null,object-size -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(tailrace_flags INTERFACE -fsanitize=address,undefined)
elseif(TAILRACE_SANITIZE STREQUAL "thread")
  target_compile_options(tailrace_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
  target_link_options(tailrace_flags INTERFACE -fsanitize=thread)
elseif(NOT TAILRACE_SANITIZE STREQUAL "")
  message(FATAL_ERROR "TAILRACE_SANITIZE is '${TAILRACE_SANITIZE}'; use address, thread or nothing")
endif()

# For a folder whose code waits more than it computes: clang takes three times as long for -O1 with the address
# sanitizer as for -O0, and the tests hardly notice. Applies to the folders below as well.
macro(tailrace_computes_little)
  if(TAILRACE_SANITIZE STREQUAL "address")
    string(REPLACE "-O1" "-O0" CMAKE_CXX_FLAGS_DEBUG "${CMAKE_CXX_FLAGS_DEBUG}")
  endif()
endmacro()

# All sources of this folder and of those below it that have no CMakeLists.txt of their own. Names
# are relative: a checkout's path may have any letters.
function(tailrace_sources result)
  file(GLOB_RECURSE sources RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS *.cc)
  file(GLOB_RECURSE others RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS CMakeLists.txt)
  set(own)
  foreach(source IN LISTS sources)
    set(is_own TRUE)
    foreach(other IN LISTS others)
      get_filename_component(other "${other}" DIRECTORY)
      string(FIND "${source}" "${other}/" at)
      if(NOT other STREQUAL "" AND at EQUAL 0)
        set(is_own FALSE)
      endif()
    endforeach()
    if(is_own)
      list(APPEND own "${source}")
    endif()
  endforeach()
  set(${result} ${own} PARENT_SCOPE)
endfunction()

# tailrace_library(NAME [SOURCES generated...] [PUBLIC deps...] [PRIVATE deps...])
#
# One static library of a folder's sources, exported as tailrace::NAME. Headers are included from
# the project's root as "folder/file.h", installed below include/tailrace/.
function(tailrace_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  tailrace_sources(sources)
  add_library(tailrace_${name} STATIC ${sources} ${arg_SOURCES})
  add_library(tailrace::${name} ALIAS tailrace_${name})
  set_target_properties(tailrace_${name} PROPERTIES EXPORT_NAME ${name}
                        POSITION_INDEPENDENT_CODE ON)
  target_include_directories(tailrace_${name} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tailrace>")
  target_compile_features(tailrace_${name} PUBLIC cxx_std_20)
  target_link_libraries(tailrace_${name}
    PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} "$<BUILD_INTERFACE:tailrace_flags>")
endfunction()

# What the sanitizer presets build: all tests with that label.
add_custom_target(unit_tests)
add_custom_target(concurrent_tests)

# tailrace_test(NAME SOURCES... [LINK deps...] [LABELS labels...] [TIMEOUT seconds] [SERIAL] [COMPUTES]
#               [ONE_THREAD cases...])
#
# One GoogleTest program, one CTest entry. LABELS: `unit` runs under address+undefined as well,
# `concurrent` under the thread sanitizer too. SERIAL: what it promises holds within a time, such as a
# lease, and no other test may run beside it. COMPUTES: its own code takes most of its time, so
# that is optimised under the address sanitizer too. ONE_THREAD: long cases (as in --gtest_filter) in which no
# threads meet that do not meet in the other cases; the thread sanitizer runs the program without them. What
# may take longest is started first.
function(tailrace_test name)
  cmake_parse_arguments(arg "SERIAL;COMPUTES" "TIMEOUT" "SOURCES;LINK;LABELS;ONE_THREAD" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest GTest::gmock GTest::gtest_main
                        fmt::fmt tailrace_flags)
  if(TAILRACE_SANITIZE STREQUAL "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # g++ says so itself; tests are shorter then, or leave out what a sanitizer changes.
    target_compile_definitions(${name} PRIVATE __SANITIZE_ADDRESS__=1)
  endif()
  if(arg_COMPUTES AND TAILRACE_SANITIZE STREQUAL "address")
    target_compile_options(${name} PRIVATE -O1)
  endif()
  set_target_properties(${name} PROPERTIES TAILRACE_IS_TEST ON
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  foreach(label unit concurrent)
    if(label IN_LIST arg_LABELS)
      add_dependencies(${label}_tests ${name})
    endif()
  endforeach()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
                       COST ${arg_TIMEOUT} RUN_SERIAL ${arg_SERIAL})
  if(TAILRACE_SANITIZE STREQUAL "thread" AND arg_ONE_THREAD)
    list(JOIN arg_ONE_THREAD ":" left_out)
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "GTEST_FILTER=-${left_out}")
  endif()
endfunction()

# tailrace_lane(TESTS...): programs of real processes, most of whose time is waiting. They run in two lanes, one
# test of a lane at a time, so two of them run beside a test of another kind. They start first, as there are many.
function(tailrace_lane)
  foreach(name IN LISTS ARGN)
    get_property(number GLOBAL PROPERTY TAILRACE_NEXT_LANE)
    if(NOT number)
      set(number 0)
    endif()
    math(EXPR next "(${number} + 1) % 2")
    set_property(GLOBAL PROPERTY TAILRACE_NEXT_LANE ${next})
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK "lane${number}" COST 2000)
  endforeach()
endfunction()
