// Scans: the slices come from the scan table's thread.
#include <algorithm>

#include "rpc/server/connection.h"

namespace tailrace::rpc {
namespace {

constexpr uint32_t kMostPairs = 4096;

}  // namespace

FramedSocket::Take Connection::handle_scan(uint64_t id, wire::Scan::Reader request) {
  const Asked asked{id, RequestKind::kScan, arrived_};
  const uint32_t pairs = std::min(request.getPairs(), kMostPairs);
  if (pairs > 0 && !has_room_for(ScanTable::kSliceBytes)) return Take::kHold;
  auto done = [back = come_back(), asked](Result<ScanTable::Slice> slice) {
    back([asked, slice = std::move(slice)](Connection& self) {
      self.ended();
      --self.scans_in_flight_;
      if (!slice) return self.reply_error(asked, slice.error());
      self.answer_scan(asked, *slice);
    });
  };
  if (request.getScan() != 0) {
    if (refuse_unhealthy(asked)) return Take::kDone;
    began();
    ++scans_in_flight_;
    context_.scans.next(request.getScan(), request.getSlice(), pairs, std::move(done));
    return Take::kDone;
  }
  const ByteSpan prefix = to_span(request.getPrefix());
  // No key could begin with it.
  if (const auto checked = statemachine::validate_key(prefix); !prefix.empty() && !checked) {
    reply_error(asked, with_context("the prefix", checked.error()));
    return Take::kDone;
  }
  const ReadNeeds needs = needs_of(request);
  if (refuse_read(asked, needs)) return Take::kDone;
  auto then = [asked, level = needs.level, prefix = to_string(prefix), pairs,
               done = std::move(done)](Connection& self, Result<> arrived) {
    if (!arrived) return self.reply_unreadable(asked, level, arrived.error());
    self.began();
    ++self.scans_in_flight_;
    self.context_.scans.open(&self, prefix, pairs, self.shown_state(), done);
  };
  when_readable(needs, prefix.size(), std::move(then));
  return Take::kDone;
}

void Connection::answer_scan(const Asked& asked, const ScanTable::Slice& slice) {
  OutgoingMessage message;
  auto answer = begin_read(message, asked.id, slice.shown).initScan();
  answer.setScan(slice.scan);
  answer.setAddress(slice.shown.point.address.value);
  auto pairs = answer.initPairs(static_cast<unsigned>(slice.pairs.size()));
  for (unsigned i = 0; i < slice.pairs.size(); ++i) {
    pairs[i].setKey(to_data(slice.pairs[i].first));
    pairs[i].setValue(to_data(slice.pairs[i].second));
  }
  reply(asked, message);
}

}  // namespace tailrace::rpc
