// Scans: the slices come from the scan table's thread.
#include <algorithm>

#include "rpc/connection.h"

namespace tailrace::rpc {
namespace {

constexpr uint32_t kMostPairs = 4096;

}  // namespace

void Connection::handle_scan(uint64_t id, wire::Scan::Reader request) {
  const Asked asked{id, RequestKind::kScan, std::chrono::steady_clock::now()};
  const uint32_t pairs = std::min(request.getPairs(), kMostPairs);
  auto done = [back = come_back(), asked](Result<ScanTable::Slice> slice) {
    back([asked, slice = std::move(slice)](Connection& self) {
      self.ended();
      if (!slice) return self.reply_error(asked, slice.error());
      self.answer_scan(asked, *slice);
    });
  };
  if (request.getScan() != 0) {
    began();
    context_.scans.next(request.getScan(), request.getSlice(), pairs, std::move(done));
    return;
  }
  const auto needed =
      needed_for(asked, request.getLevel(), request.getAddress(), request.getEpoch());
  if (!needed) return;
  began();
  auto waited = [weak = weak_from_this(), asked, prefix = to_string(request.getPrefix()), pairs,
                 done = std::move(done)](Result<> arrived) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return;
    if (arrived) return self->context_.scans.open(prefix, pairs, done);
    self->ended();
    self->status_.reset();
    self->reply_error(asked, arrived.error());
    self->thread_.touch(self);
  };
  thread_.when_applied(needed->first, needed->second, deadline(request.getTimeoutMs()),
                       std::move(waited));
}

void Connection::answer_scan(const Asked& asked, const ScanTable::Slice& slice) {
  OutgoingMessage message;
  auto answer = begin_response(message, asked.id).initScan();
  answer.setScan(slice.scan);
  answer.setAddress(slice.address.value);
  auto pairs = answer.initPairs(static_cast<unsigned>(slice.pairs.size()));
  for (unsigned i = 0; i < slice.pairs.size(); ++i) {
    pairs[i].setKey(to_data(slice.pairs[i].first));
    pairs[i].setValue(to_data(slice.pairs[i].second));
  }
  reply(asked, message);
}

}  // namespace tailrace::rpc
