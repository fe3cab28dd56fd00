#pragma once

#include <memory>

#include "core/result.h"
#include "rpc/etcd/coordinator.h"

namespace asio::ssl {
class context;
}

namespace tailrace::rpc {

/// A context that demands a certificate of a trusted authority. Errors name the file.
Result<std::shared_ptr<asio::ssl::context>> make_tls_context(const EtcdTlsOptions& options);

}  // namespace tailrace::rpc
