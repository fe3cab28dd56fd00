# What `cmake --install` puts in place: the program, one static library a component, the headers
# that an embedder may include, and the files by which find_package and pkg-config find them.
#
# Every component has an export file of its own, so that a project which asks for one of them needs
# the dependencies of that one and of those beneath it, and no others. The components and what each
# needs stand in TailraceComponents.cmake, which is installed too: the package reads the same list.

include(CMakePackageConfigHelpers)
include(TailraceComponents)

set(TAILRACE_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/tailrace")
set(TAILRACE_PKGCONFIG_DIR "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# The headers that an embedder may include, and what they include in turn. All others are internal:
# they may change with any release and are not installed.
set(TAILRACE_PUBLIC_HEADERS
  core/address.h core/bytes.h core/clock.h core/cluster_identity.h core/cluster_version.h
  core/counter.h core/mutex.h core/record_kind.h core/result.h core/shared_bytes.h core/vote.h
  statemachine/command/command.h
  statemachine/txn/names.h statemachine/txn/txn.h statemachine/txn/txn_result.h
  rpc/client/client.h rpc/client/events.h rpc/client/runtime.h rpc/wire/status.h
  observability/logging.h observability/metric_table.h observability/metrics.h
  observability/process_metrics.h
  http/message.h http/monitoring.h http/request_parser.h http/server.h
  storage/aligned_buffer.h storage/file_system.h storage/io_choice.h storage/stream_writer.h
  fasterlog/batch_writer.h fasterlog/format/log_metadata.h fasterlog/format/segment_files.h
  fasterlog/log.h fasterlog/offline/check_log.h fasterlog/offline/dump_log.h
  fasterlog/offline/inspect.h fasterlog/offline/log_files.h fasterlog/offline/repair.h
  fasterlog/time/log_time.h fasterlog/types/options.h fasterlog/types/reader.h
  fasterlog/types/records.h
  kv/checkpoint_source.h kv/session.h kv/store.h kv/types/checkpoint.h kv/types/copied_file.h
  kv/types/log_address.h kv/types/operation.h kv/types/options.h
  statemachine/anchors.h statemachine/cost.h statemachine/outcomes/outcome_log.h
  statemachine/state_copy.h
  statemachine/state_machine.h statemachine/step_times.h statemachine/streams/stream.h
  statemachine/streams/stream_reader.h statemachine/streams/stream_records.h
  statemachine/types/copy_plan.h statemachine/types/rules.h statemachine/types/scavenge_point.h
  statemachine/types/state_value.h statemachine/watermarks.h
  history/block_cache.h history/catalogue.h history/event_cursor.h history/event_file.h
  history/event_file_writer.h history/event_outcomes.h history/floor_cursor.h
  history/format/event_entry.h
  history/historian.h history/history.h history/logged_outcomes.h history/scavenge_host.h history/types/options.h
  replication/coordinator.h replication/copy/checkpoint_copy_status.h replication/node.h
  replication/protocol/membership.h replication/protocol/messages.h replication/protocol/role.h
  replication/transport.h
  rpc/awaitables/async_enqueue.h rpc/awaitables/durable_wait.h rpc/awaitables/store_read.h
  rpc/etcd/coordinator.h rpc/history/fetcher.h rpc/peer/transport.h rpc/server/server.h
  config/coordinator_config.h config/node_config.h)

install(TARGETS tailrace RUNTIME)

foreach(header IN LISTS TAILRACE_PUBLIC_HEADERS)
  get_filename_component(folder "${header}" DIRECTORY)
  install(FILES "${PROJECT_SOURCE_DIR}/${header}"
          DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tailrace/${folder}")
endforeach()

# What a client in another language is made from.
install(DIRECTORY "${PROJECT_SOURCE_DIR}/rpc/wire/schema"
        DESTINATION "${CMAKE_INSTALL_DATADIR}/tailrace" FILES_MATCHING PATTERN "*.capnp")

foreach(component IN LISTS TAILRACE_COMPONENTS)
  install(TARGETS tailrace_${component} EXPORT tailrace-${component} ARCHIVE)
  install(EXPORT tailrace-${component} NAMESPACE tailrace::
          FILE tailrace-${component}-targets.cmake DESTINATION "${TAILRACE_PACKAGE_DIR}")
endforeach()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/tailraceConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/package/tailraceConfig.cmake"
  INSTALL_DESTINATION "${TAILRACE_PACKAGE_DIR}"
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a new minor version may change interfaces.
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/package/tailraceConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/package/tailraceConfig.cmake"
  "${PROJECT_BINARY_DIR}/package/tailraceConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/TailraceComponents.cmake"
  DESTINATION "${TAILRACE_PACKAGE_DIR}")

# tailrace-COMPONENT.pc. The libraries are static, so what each needs is required and not private.
# tl-expected is headers only.
set(pc_fmt fmt)
set(pc_spdlog spdlog)
set(pc_prometheus-cpp prometheus-cpp-core)
set(pc_CapnProto capnp)
set(pc_OpenSSL openssl)
set(pc_yaml-cpp yaml-cpp)
set(libraries_Threads " -pthread")
file(RELATIVE_PATH pc_up "/${TAILRACE_PKGCONFIG_DIR}" "/")
string(REGEX REPLACE "/$" "" pc_up "${pc_up}")
foreach(component IN LISTS TAILRACE_COMPONENTS)
  set(pc_requires)
  set(pc_libraries)
  foreach(needed IN LISTS TAILRACE_${component}_COMPONENTS)
    list(APPEND pc_requires tailrace-${needed})
  endforeach()
  foreach(package IN LISTS TAILRACE_${component}_PACKAGES)
    list(APPEND pc_requires ${pc_${package}})
    string(APPEND pc_libraries "${libraries_${package}}")
  endforeach()
  foreach(library IN LISTS TAILRACE_${component}_LIBRARIES)
    string(APPEND pc_libraries " -l${library}")
  endforeach()
  foreach(module IN LISTS TAILRACE_${component}_MODULES)
    string(REGEX REPLACE ".*=" "" module "${module}")
    list(APPEND pc_requires ${module})
  endforeach()
  list(JOIN pc_requires " " pc_requires)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/tailrace.pc.in"
                 "${PROJECT_BINARY_DIR}/package/tailrace-${component}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/package/tailrace-${component}.pc"
          DESTINATION "${TAILRACE_PKGCONFIG_DIR}")
endforeach()
