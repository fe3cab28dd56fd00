// scan(): slices, one after the other, of one server.
#include <algorithm>
#include <future>

#include "rpc/client/impl.h"

namespace tailrace::rpc {
namespace {

constexpr uint32_t kPairsOfSlice = 1024;

struct Slice {
  uint64_t scan = 0;
  Epoch epoch;
  Address address;
  std::vector<std::pair<std::string, std::string>> pairs;
};

Result<Slice> read_slice(const Result<wire::Response::Reader>& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isScan())
    return make_error(ErrorCode::kUnsupported,
                      "the server answered with something else than was asked");
  const auto from = reply->getScan();
  Slice slice{from.getScan(), Epoch{reply->getEpoch()}, Address{from.getAddress()}, {}};
  slice.pairs.reserve(from.getPairs().size());
  for (const auto pair : from.getPairs())
    slice.pairs.emplace_back(to_string(pair.getKey()), to_string(pair.getValue()));
  return slice;
}

}  // namespace

Result<Client::ScanEnd> ClientImpl::scan(ByteSpan prefix, const ScanOptions& options,
                                         const PairVisitor& visit) {
  TAILRACE_RETURN_IF_ERROR(check_thread());
  const Call call(*this);
  RequestQueue& queue = queue_for(options.read);
  const auto ask = [&](uint64_t scan, uint64_t slice, uint32_t pairs) {
    ClientRequest request = request_of(ClientRequest::Verb::kScan, prefix);
    request.read = options.read;
    request.scan = scan;
    request.slice = slice;
    request.pairs = pairs;
    auto promise = std::make_shared<std::promise<Result<Slice>>>();
    auto answer = promise->get_future();
    request.done = [promise](const Result<wire::Response::Reader>& reply) {
      promise->set_value(read_slice(reply));
    };
    queue.submit(std::move(request));
    return answer.get();
  };
  ScanEnd end;
  uint64_t scan = 0;
  for (uint64_t number = 0;; ++number) {
    const uint64_t left = options.limit == 0 ? kPairsOfSlice : options.limit - end.pairs;
    auto slice = ask(scan, number, static_cast<uint32_t>(std::min<uint64_t>(left, kPairsOfSlice)));
    if (!slice) {
      Error error = std::move(slice).error();
      if (number > 0 && error.code == ErrorCode::kNotFound) error.code = ErrorCode::kUnavailable;
      return tl::unexpected(std::move(error));
    }
    scan = slice->scan;
    end.epoch = slice->epoch;
    end.address = slice->address;
    bool wanted = true;
    for (const auto& [key, value] : slice->pairs) {
      ++end.pairs;
      wanted = visit(as_bytes(key), as_bytes(value));
      if (!wanted || (options.limit != 0 && end.pairs == options.limit)) {
        wanted = false;
        break;
      }
    }
    end.complete = scan == 0;
    if (scan == 0) return end;
    if (wanted) continue;
    // Not waited for any longer than it takes; the server would close it by itself.
    (void)ask(scan, number + 1, 0);
    return end;
  }
}

}  // namespace tailrace::rpc
