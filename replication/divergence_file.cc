#include "replication/divergence_file.h"

#include "storage/atomic_file.h"

namespace tailrace::replication {
namespace {

constexpr storage::AtomicFileFormat kFormat{storage::four_letters("DIVG"), 1};

struct Content {
  uint64_t address;
  uint64_t own_high, own_low, own_pairs;
  uint64_t cluster_high, cluster_low, cluster_pairs;
  uint64_t unix_time_ns;
};
static_assert(sizeof(Content) == 64 && std::is_trivially_copyable_v<Content>);

}  // namespace

Result<std::optional<Divergence>> DivergenceFile::read() const {
  const auto content = storage::read_atomic_file(file_system_, path_, kFormat);
  if (!content && content.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!content) return tl::unexpected(with_context("read the mark of divergence", content.error()));
  if (content->bytes.size() != sizeof(Content))
    return make_error(ErrorCode::kCorruption,
                      path_.string() + " has " + std::to_string(content->bytes.size()) +
                          " bytes: this node's state has diverged; remove its data directory");
  const auto in = load<Content>(content->bytes.data());
  const Address address{in.address};
  return Divergence{{address, in.own_high, in.own_low, in.own_pairs},
                    {address, in.cluster_high, in.cluster_low, in.cluster_pairs}};
}

Result<> DivergenceFile::reserve() {
  TAILRACE_RETURN_IF_ERROR(storage::reserve_atomic_file(file_system_, path_, sizeof(Content)));
  return {};
}

Result<> DivergenceFile::write(const Divergence& divergence, uint64_t unix_time_ns) {
  const StateDigest &own = divergence.own, &cluster = divergence.cluster;
  const Content content{own.address.value, own.high,    own.low,       own.pairs,
                        cluster.high,      cluster.low, cluster.pairs, unix_time_ns};
  std::byte bytes[sizeof content];
  store(bytes, content);
  return storage::replace_reserved_file(file_system_, path_, kFormat, bytes);
}

}  // namespace tailrace::replication
