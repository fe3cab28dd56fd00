// read_stream(), streams() and mget(): pages, one after the other, until what was asked for is
// there.
#include <algorithm>

#include "rpc/client/impl.h"

namespace tailrace::rpc {
namespace {

// As many as a server gives at most: each page is a round to it, and to a majority.
constexpr uint32_t kEventsOfPage = 4096;
// The first page comes soon. Each costs the server a look at all of its store, so those behind it
// are long.
constexpr uint32_t kStreamsOfFirstPage = 1024, kStreamsOfPage = 65'536;
// A long page has 4 MiB.
constexpr size_t kFrameOfLongPage = 8u << 20;

struct Page {
  StreamEnd end;
  struct Event {
    uint64_t version, position, time_ns;
    std::string bytes;
  };
  std::vector<Event> events;
  std::optional<uint64_t> next;
};

StreamInfo read_info(auto from) {
  StreamInfo info;
  info.first = from.getFirst();
  info.end = from.getEnd();
  const auto policy = from.getPolicy();
  info.max_count = policy.getMaxCount();
  info.max_age_ns = policy.getMaxAgeNs();
  info.dedupe = policy.getDedupe();
  return info;
}

Result<Page> read_page(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isStream()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getStream();
  Page page;
  page.end.stream = read_info(from);
  page.end.stream.state = static_cast<StreamState>(
      std::min<uint8_t>(from.getState(), static_cast<uint8_t>(StreamState::kTombstoned)));
  page.end.epoch = Epoch{reply->getEpoch()};
  page.end.applied = Address{reply->getApplied()};
  for (const auto event : from.getEvents())
    page.events.push_back(
        {event.getVersion(), event.getPosition(), event.getTimeNs(), to_string(event.getEvent())});
  if (from.getMore()) page.next = from.getNext();
  return page;
}

struct StreamsPage {
  std::vector<ListedStream> streams;
  bool more = false;
};

Result<StreamsPage> read_streams(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isStreams()) return tl::unexpected(unexpected_answer());
  StreamsPage page;
  for (const auto stream : reply->getStreams().getStreams()) {
    ListedStream& listed = page.streams.emplace_back();
    listed.name = to_string(stream.getName());
    listed.stream = read_info(stream);
    listed.stream.state = StreamState::kExists;
    listed.last_time_ns = stream.getLastTimeNs();
  }
  page.more = reply->getStreams().getMore();
  return page;
}

Result<MgetAnswer> read_mget(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isMget()) return tl::unexpected(unexpected_answer());
  MgetAnswer answer;
  answer.epoch = Epoch{reply->getEpoch()};
  answer.applied = Address{reply->getApplied()};
  answer.staleness_bound_ms = reply->getStalenessBoundMs();
  for (const auto value : reply->getMget().getValues()) {
    KeyAnswer& key = answer.values.emplace_back();
    key.found = value.getFound();
    key.value = to_string(value.getValue());
    key.withheld_bytes = value.getWithheldBytes();
    key.modified_at = value.getModifiedAt();
  }
  return answer;
}

/// The next page is to be of this state or a newer one, whichever server answers it.
void go_on_after(const StreamEnd& end, ReadOptions& read) {
  if (read.level != ReadOptions::Level::kAny && read.level != ReadOptions::Level::kBounded) return;
  read.level = ReadOptions::Level::kAtLeast;
  read.epoch = end.epoch;
  read.address = end.applied;
}

}  // namespace

/// One read of a stream: which page is next, and what was found so far.
struct ClientImpl::StreamWalk {
  uint32_t most() const {
    const uint64_t wanted = left.limit ? *left.limit - end.events : uint64_t{kEventsOfPage};
    return static_cast<uint32_t>(std::min<uint64_t>(wanted, kEventsOfPage));
  }
  /// Visits a page's events; whether there is another page to be asked for.
  Result<bool> take(const Page& page) {
    const uint64_t visited = end.events;
    end = page.end;
    end.events = visited;
    for (const Page::Event& each : page.events) {
      TAILRACE_ASSIGN_OR_RETURN(const auto event,
                                statemachine::event_alone(as_bytes(each.bytes), tags));
      ++end.events;
      if (!visit({each.version, each.position, each.time_ns, event, tags})) return false;
    }
    end.complete = !page.next;
    if (!page.next || (left.limit && end.events >= *left.limit)) return false;
    left.from = page.next;
    go_on_after(end, left.read);
    return true;
  }

  std::string stream;
  StreamReadOptions left;
  EventVisitor visit;
  StreamCallback done = nullptr;
  StreamEnd end = {};
  std::vector<std::string_view> tags = {};
};

ClientRequest ClientImpl::page_request(const StreamWalk& walk) const {
  ClientRequest request =
      request_of(ClientRequest::Verb::kReadStream, as_bytes(std::string_view(walk.stream)));
  request.read = walk.left.read;
  request.from = walk.left.from;
  request.backwards = walk.left.backwards;
  request.most = walk.most();
  return request;
}

Result<StreamEnd> ClientImpl::read_stream(std::string_view stream, const StreamReadOptions& options,
                                          const EventVisitor& visit) {
  TAILRACE_RETURN_IF_ERROR(check_thread());
  const Call call(*this);
  StreamWalk walk{std::string(stream), options, visit};
  for (bool more = true; more;) {
    TAILRACE_ASSIGN_OR_RETURN(
        const auto page,
        submit<Page>(queue_for(walk.left.read), page_request(walk), read_page).get());
    TAILRACE_ASSIGN_OR_RETURN(more, walk.take(page));
  }
  return walk.end;
}

void ClientImpl::async_read_stream(std::string_view stream, const StreamReadOptions& options,
                                   EventVisitor visit, StreamCallback done) {
  ask_page(std::make_shared<StreamWalk>(
      StreamWalk{std::string(stream), options, std::move(visit), std::move(done)}));
}

/// Each page asks for the next one; the queue answers every request before the client ends.
void ClientImpl::ask_page(std::shared_ptr<StreamWalk> walk) {
  ClientRequest request = page_request(*walk);
  RequestQueue& queue = queue_for(walk->left.read);
  request.done = [this, walk = std::move(walk)](const Reply& reply) {
    const auto page = read_page(reply);
    if (!page) return walk->done(tl::unexpected(page.error()));
    const auto more = walk->take(*page);
    if (!more) return walk->done(tl::unexpected(more.error()));
    if (*more) return ask_page(walk);
    walk->done(walk->end);
  };
  queue.submit(std::move(request));
}

Result<uint64_t> ClientImpl::streams(std::string_view prefix, const StreamsOptions& options,
                                     const StreamVisitor& visit) {
  TAILRACE_RETURN_IF_ERROR(check_thread());
  const Call call(*this);
  uint64_t count = 0;
  for (std::string after = options.after;;) {
    const bool is_short = count == 0 || options_.max_frame_bytes < kFrameOfLongPage;
    const uint32_t most = is_short ? kStreamsOfFirstPage : kStreamsOfPage;
    const uint64_t wanted = options.limit == 0 ? most : options.limit - count;
    ClientRequest request = request_of(ClientRequest::Verb::kListStreams, as_bytes(prefix));
    request.value = after;
    request.read = options.read;
    request.most = static_cast<uint32_t>(std::min<uint64_t>(wanted, most));
    TAILRACE_ASSIGN_OR_RETURN(
        const auto page,
        submit<StreamsPage>(queue_for(options.read), std::move(request), read_streams).get());
    for (const ListedStream& stream : page.streams) {
      ++count;
      if (!visit(stream)) return count;
    }
    const bool enough = options.limit != 0 && count >= options.limit;
    if (!page.more || enough || page.streams.empty()) return count;
    after = page.streams.back().name;
  }
}

ClientRequest ClientImpl::mget_request(const std::vector<ByteSpan>& keys,
                                       ReadOptions options) const {
  ClientRequest request = request_of(ClientRequest::Verb::kMget);
  request.read = options;
  for (const ByteSpan key : keys) {
    request.value += as_text(key);
    request.event_sizes.push_back(static_cast<uint32_t>(key.size()));
  }
  return request;
}

Result<MgetAnswer> ClientImpl::mget(const std::vector<ByteSpan>& keys, ReadOptions options) {
  return wait_for<MgetAnswer>(queue_for(options), mget_request(keys, options), read_mget);
}

void ClientImpl::async_mget(const std::vector<ByteSpan>& keys, ReadOptions options,
                            std::function<void(Result<MgetAnswer>)> done) {
  ClientRequest request = mget_request(keys, options);
  request.done = [done = std::move(done)](Reply reply) { done(read_mget(reply)); };
  queue_for(options).submit(std::move(request));
}

}  // namespace tailrace::rpc
