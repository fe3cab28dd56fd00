#include "rpc/etcd/tls.h"

#include <asio/ssl/context.hpp>
#include <fmt/format.h>

namespace tailrace::rpc {

Result<std::shared_ptr<asio::ssl::context>> make_tls_context(const EtcdTlsOptions& options) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  std::error_code error;
  const auto refused = [&](const char* what, const std::string& file) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{} {}: {}", what, file, error.message()));
  };
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                           asio::ssl::context::no_tlsv1_1,
                       error);
  if (error) return refused("TLS options", "");
  context->set_verify_mode(asio::ssl::verify_peer, error);
  if (error) return refused("TLS options", "");
  if (options.ca.empty()) {
    context->set_default_verify_paths(error);
    if (error) return refused("the system's certificate authorities", "");
  } else {
    context->load_verify_file(options.ca, error);
    if (error) return refused("certificate authorities", options.ca);
  }
  if (!options.certificate.empty()) {
    context->use_certificate_chain_file(options.certificate, error);
    if (error) return refused("certificate", options.certificate);
    context->use_private_key_file(options.key, asio::ssl::context::pem, error);
    if (error) return refused("private key", options.key);
  }
  return context;
}

}  // namespace tailrace::rpc
