# The components of the package, lowest first, and what each needs beyond its own library:
#   _COMPONENTS  other components
#   _PACKAGES    packages that CMake finds
#   _MODULES     PREFIX=MODULE: modules that only pkg-config knows, as PkgConfig::PREFIX
#   _LIBRARIES   what nothing but the linker knows
#
# The libraries are static, so whoever links one needs what its objects refer to, although no public
# header shows it: every log and store counts and logs through observability, whose objects refer to
# prometheus-cpp and spdlog. Cap'n Proto is needed by whoever speaks to a node: wire, client, rpc. Its
# package cannot be found twice, so wire alone asks for it.
# OpenSSL and http-parser are needed from rpc upwards, yaml-cpp by config alone. Asio and nlohmann-json are headers only and are compiled in: nobody has to
# find them.

set(TAILRACE_COMPONENTS
  core net txn command wire client observability http storage fasterlog kv statemachine history
  replication rpc config)

set(TAILRACE_core_COMPONENTS)
set(TAILRACE_core_PACKAGES tl-expected)
set(TAILRACE_core_MODULES)

set(TAILRACE_net_COMPONENTS core)
set(TAILRACE_net_PACKAGES Threads fmt)
set(TAILRACE_net_MODULES)

set(TAILRACE_txn_COMPONENTS core)
set(TAILRACE_txn_PACKAGES)
set(TAILRACE_txn_MODULES)

set(TAILRACE_command_COMPONENTS core txn)
set(TAILRACE_command_PACKAGES)
set(TAILRACE_command_MODULES)

set(TAILRACE_wire_COMPONENTS core net)
set(TAILRACE_wire_PACKAGES Threads fmt CapnProto)
set(TAILRACE_wire_MODULES)

set(TAILRACE_client_COMPONENTS core txn command wire)
set(TAILRACE_client_PACKAGES Threads fmt)
set(TAILRACE_client_MODULES)

set(TAILRACE_observability_COMPONENTS core)
set(TAILRACE_observability_PACKAGES Threads fmt spdlog prometheus-cpp)
set(TAILRACE_observability_MODULES)

set(TAILRACE_http_COMPONENTS core net observability)
set(TAILRACE_http_PACKAGES Threads fmt)
set(TAILRACE_http_MODULES)

set(TAILRACE_storage_COMPONENTS core)
set(TAILRACE_storage_PACKAGES Threads)
set(TAILRACE_storage_MODULES ISAL=libisal LIBURING=liburing)

set(TAILRACE_fasterlog_COMPONENTS core observability storage)
set(TAILRACE_fasterlog_PACKAGES)
set(TAILRACE_fasterlog_MODULES)

set(TAILRACE_kv_COMPONENTS core observability storage)
set(TAILRACE_kv_PACKAGES)
set(TAILRACE_kv_MODULES XXHASH=libxxhash)

set(TAILRACE_statemachine_COMPONENTS core command observability fasterlog kv)
set(TAILRACE_statemachine_PACKAGES fmt)
set(TAILRACE_statemachine_MODULES XXHASH=libxxhash)

set(TAILRACE_history_COMPONENTS core txn storage fasterlog statemachine)
set(TAILRACE_history_PACKAGES fmt)
set(TAILRACE_history_MODULES XXHASH=libxxhash ZSTD=libzstd)

set(TAILRACE_replication_COMPONENTS core observability storage fasterlog statemachine)
set(TAILRACE_replication_PACKAGES fmt)
set(TAILRACE_replication_MODULES)

set(TAILRACE_rpc_COMPONENTS client wire observability http fasterlog kv statemachine history replication)
set(TAILRACE_rpc_PACKAGES Threads fmt OpenSSL)
set(TAILRACE_rpc_MODULES)
set(TAILRACE_rpc_LIBRARIES http_parser)

set(TAILRACE_config_COMPONENTS core observability http history rpc)
set(TAILRACE_config_PACKAGES yaml-cpp)
set(TAILRACE_config_MODULES XXHASH=libxxhash)
