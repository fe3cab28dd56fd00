#include "kv/log/cold_reader.h"

#include <algorithm>

#include "kv/log/block_sums.h"
#include "kv/log/format.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kSmallBytes = 2 * kLogBlockBytes;
// With less than this of its first block left, the record is likely to go on in the next one.
constexpr uint64_t kLikelyBytes = 256;
// A slot keeps memory for long records up to here.
constexpr uint64_t kKeptBytes = 64u << 10;
}  // namespace

Result<std::unique_ptr<ColdReader>> ColdReader::create(storage::FileSystem& file_system,
                                                       HybridLog& log, size_t depth) {
  depth = std::max<size_t>(depth, 1);
  std::unique_ptr<ColdReader> reader(new ColdReader(log));
  TAILRACE_ASSIGN_OR_RETURN(reader->memory_, storage::AlignedBuffer::allocate(depth * kSmallBytes));
  reader->slots_.resize(depth);
  for (size_t index = depth; index-- > 0;) {
    reader->slots_[index].small = reader->memory_.span().subspan(index * kSmallBytes, kSmallBytes);
    reader->free_.push_back(index);
  }
  TAILRACE_ASSIGN_OR_RETURN(reader->queue_, file_system.make_queue(depth));
  return reader;
}

ColdReader::~ColdReader() = default;

void ColdReader::start(LogAddress address, uint64_t token) {
  waiting_.push_back({address, token});
  issue();
}

void ColdReader::issue() {
  while (!waiting_.empty() && !free_.empty()) {
    const Request request = waiting_.front();
    waiting_.pop_front();
    if (request.address < log_.begin()) {
      ready_.push_back(gone(request));
      continue;
    }
    Slot& slot = slots_[free_.back()];
    slot.request = request;
    const uint64_t in_block = request.address % kLogBlockBytes;
    const uint64_t page_left = log_.page_bytes() - request.address % log_.page_bytes();
    const bool two = kLogBlockBytes - in_block < kLikelyBytes && page_left > kLogBlockBytes;
    slot.blocks = slot.small.first(two ? kSmallBytes : kLogBlockBytes);
    if (read(slot, slot.blocks.size())) {
      free_.pop_back();
      ++reading_;
    }
  }
}

bool ColdReader::read(Slot& slot, uint64_t bytes) {
  const LogAddress from = align_down(slot.request.address, kLogBlockBytes);
  slot.file = log_.segments().file_of(from);
  if (slot.file == nullptr) {
    // Removed: then begin has passed it, before the file went.
    ready_.push_back(failed(
        slot, Error{ErrorCode::kNotFound, log_.segments().path_of(from).string() + " is missing"}));
    return false;
  }
  const auto index = static_cast<uint64_t>(&slot - slots_.data());
  queue_->read(*slot.file, log_.segments().offset_of(from), slot.blocks, index);
  log_.probe_.cold_reads.add();
  log_.probe_.cold_read_bytes.add(bytes);
  return true;
}

ColdReader::Completion ColdReader::failed(const Slot& slot, Error error) const {
  if (slot.request.address < log_.begin()) return gone(slot.request);
  return {slot.request.token, false, nullptr, slot.request.address, std::move(error)};
}

std::optional<ColdReader::Completion> ColdReader::finish(Slot& slot, const Result<size_t>& bytes) {
  const LogAddress address = slot.request.address;
  const LogAddress from = align_down(address, kLogBlockBytes);
  const LogSegments& segments = log_.segments();
  slot.file.reset();
  if (address < log_.begin()) return gone(slot.request);
  if (!bytes) return failed(slot, bytes.error());
  const auto corrupt = [&](LogAddress at, std::string_view what) {
    return failed(slot,
                  Error{ErrorCode::kCorruption, segments.place_of(at) + ": " + std::string(what)});
  };
  if (*bytes < slot.blocks.size()) {
    return corrupt(from + *bytes, "the file ends where the log goes on");
  }
  sums_.resize(slot.blocks.size() / kLogBlockBytes);
  if (!log_.sums_->copy(from, sums_)) {
    // The second block of the first guess may not be there yet.
    sums_.resize(1);
    if (!log_.sums_->copy(from, sums_)) return corrupt(from, "nothing was ever written there");
    slot.blocks = slot.blocks.first(kLogBlockBytes);
  }
  for (size_t block = 0; block < sums_.size(); ++block) {
    const LogAddress at = from + block * kLogBlockBytes;
    if (block_sum(at, slot.blocks.subspan(block * kLogBlockBytes, kLogBlockBytes)) !=
        sums_[block]) {
      return corrupt(at, "the block does not match its checksum");
    }
  }
  auto* record = reinterpret_cast<Record*>(slot.blocks.data() + (address - from));
  const uint64_t page_left = log_.page_bytes() - address % log_.page_bytes();
  const uint64_t here = slot.blocks.size() - (address - from);
  if (!record->is_present()) return corrupt(address, "no record begins there");
  // The lengths of a wide record may be in the next block.
  uint64_t wanted = 2 * sizeof(Record);
  if (here >= wanted || (record->state.load(std::memory_order_relaxed) & Record::kWide) == 0)
    wanted = record->bytes();
  if (wanted > page_left) return corrupt(address, "the record there goes beyond its page");
  if (wanted <= here) {
    return Completion{slot.request.token, false, record, address, std::nullopt};
  }
  const uint64_t whole = align_up(address - from + wanted, kLogBlockBytes);
  if (whole <= slot.small.size()) {
    slot.blocks = slot.small.first(whole);
  } else {
    if (slot.long_one.size() < whole) {
      auto memory = storage::AlignedBuffer::allocate(whole);
      if (!memory) return failed(slot, std::move(memory).error());
      slot.long_one = std::move(*memory);
    }
    slot.blocks = slot.long_one.span().first(whole);
  }
  if (read(slot, whole)) return std::nullopt;
  Completion missing = std::move(ready_.back());
  ready_.pop_back();
  return missing;
}

Result<> ColdReader::poll(std::vector<Completion>& completions, std::chrono::nanoseconds timeout) {
  completions.clear();
  for (const size_t index : handed_out_) {
    if (slots_[index].long_one.size() > kKeptBytes) slots_[index].long_one = {};
    free_.push_back(index);
  }
  handed_out_.clear();
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    issue();
    completions.insert(completions.end(), std::make_move_iterator(ready_.begin()),
                       std::make_move_iterator(ready_.end()));
    ready_.clear();
    if (reading_ == 0) return {};
    auto left = std::chrono::nanoseconds::zero();
    if (completions.empty() && !woken_.exchange(false)) {
      left = std::max<std::chrono::nanoseconds>(left, deadline - std::chrono::steady_clock::now());
    }
    arrived_.clear();
    TAILRACE_RETURN_IF_ERROR(queue_->wait(arrived_, left));
    for (const storage::Completion& arrival : arrived_) {
      auto completion = finish(slots_[arrival.token], arrival.bytes);
      if (!completion) continue;
      --reading_;
      completions.push_back(std::move(*completion));
      handed_out_.push_back(arrival.token);
    }
    if (!completions.empty() || left == std::chrono::nanoseconds::zero()) return {};
  }
}

void ColdReader::wake() {
  woken_.store(true);
  queue_->wake();
}

}  // namespace tailrace::kv
