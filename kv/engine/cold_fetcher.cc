#include "kv/engine/cold_fetcher.h"

#include <cstring>

namespace tailrace::kv {

Result<> ColdFetcher::open() {
  if (reader_) return {};
  TAILRACE_ASSIGN_OR_RETURN(reader_, ColdReader::create(file_system_, engine_.log()));
  return {};
}

Result<> ColdFetcher::start(Fetch& fetch, LogAddress from) {
  TAILRACE_RETURN_IF_ERROR(open());
  fetch.found.clear();
  fetch.found.from = from;
  fetch.found.beneath = fetch.beneath;
  fetch.error.reset();
  fetch.done = false;
  fetch.at_ = from;
  ++in_flight_;
  reader_->start(from, reinterpret_cast<uint64_t>(&fetch));
  return {};
}

Result<> ColdFetcher::poll(std::chrono::nanoseconds timeout, std::vector<Fetch*>* ended) {
  completions_.clear();
  TAILRACE_RETURN_IF_ERROR(reader_->poll(completions_, timeout));
  for (const ColdReader::Completion& completion : completions_)
    step(completion, ended);
  return {};
}

void ColdFetcher::end(Fetch& fetch, std::vector<Fetch*>* ended) {
  fetch.done = true;
  --in_flight_;
  if (ended != nullptr) ended->push_back(&fetch);
}

bool ColdFetcher::counts(const Fetch& fetch, LogAddress address, const Record& record) const {
  if (fetch.point != nullptr) return fetch.point->counts(address, record, engine_.undone());
  if (fetch.beneath) return engine_.counts_beneath(address, record, fetch.version);
  return engine_.undone().counts(address, record);
}

void ColdFetcher::step(const ColdReader::Completion& completion, std::vector<Fetch*>* ended) {
  Fetch& fetch = *reinterpret_cast<Fetch*>(completion.token);
  if (completion.error) {
    fetch.error = completion.error;
    fetch.found.clear();
    end(fetch, ended);
    return;
  }
  if (completion.gone) {
    fetch.found.clear();
    end(fetch, ended);
    return;
  }
  const Record& record = *completion.record;
  if (record.has_key(fetch.key.bytes) && counts(fetch, completion.address, record)) {
    const uint64_t bytes = record.bytes();
    fetch.found.address = completion.address;
    fetch.found.copy.resize(bytes / sizeof(uint64_t));
    std::memcpy(fetch.found.copy.data(), static_cast<const void*>(&record), bytes);
    end(fetch, ended);
    return;
  }
  const LogAddress previous = record.previous();
  if (fetch.floor != 0 && previous <= fetch.floor) {
    if (previous == fetch.floor) fetch.found.address = previous;
    end(fetch, ended);
    return;
  }
  if (previous < engine_.log().begin()) {  // the chain ends: the key is not there
    end(fetch, ended);
    return;
  }
  fetch.at_ = previous;
  reader_->start(previous, completion.token);
}

}  // namespace tailrace::kv
