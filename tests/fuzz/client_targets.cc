// What clients and servers say to each other, each kind of message on purpose, over loopback: the
// server's handlers stand behind a fake node, the client library before a server that lies.
#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <memory>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>
#include <sys/time.h>

#include "core/check.h"
#include "rpc/client/client.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"
#include "tests/fuzz/log_bytes.h"
#include "tests/fuzz/targets.h"
#include "tests/rpc/fake_node.h"
#include "tests/rpc/loopback.h"
#include "tests/rpc/lying_server.h"

namespace tailrace::fuzz {
namespace {

namespace wire = rpc::wire;

/// Of what the client waits for after everything else; no request of an input has it.
constexpr uint64_t kLastId = ~uint64_t{0};

ByteSpan some(Input& from) {
  return from.take_bytes(from.take<uint8_t>());
}

/// Any but the byte at which a text ends on the wire.
std::string text(Input& from) {
  std::string result = to_string(some(from));
  std::replace(result.begin(), result.end(), '\0', '0');
  return result;
}

/// The message as a frame, damaged behind its segment table as the input says: u8 how often, then
/// u16 where, u8 xor. (What is wrong with a table is the target `framing`.)
void append_damaged(capnp::MessageBuilder& message, Input& from, std::vector<std::byte>& to) {
  const size_t begin = to.size();
  rpc::append_frame(message, to);
  const size_t table = align_up(4 * (message.getSegmentsForOutput().size() + 1), 8);
  const size_t words = to.size() - begin - table;
  for (unsigned left = from.take<uint8_t>() % 8; left > 0 && words > 0; --left) {
    const size_t at = from.take<uint16_t>() % words;
    to[begin + table + at] ^= from.take<std::byte>();
  }
}

// ---- Requests.

template <typename Builder>
void fill_read(Input& from, Builder to) {
  to.setLevel(static_cast<wire::ReadLevel>(from.take<uint8_t>() % 5));
  to.setEpoch(from.take<uint8_t>());
  to.setAddress(from.take<uint16_t>());
  to.setTimeoutMs(from.take<uint8_t>());
  to.setStalenessMs(from.take<uint16_t>());
}

void fill_request(Input& from, wire::Request::Builder to) {
  to.setId(from.take<uint8_t>());
  switch (from.take<uint8_t>() % 13) {
    case 0: {
      auto hello = to.initHello();
      hello.setProtocolVersion(from.take<uint8_t>() % 4);
      hello.setNode(from.take<uint32_t>());
      hello.setCluster(text(from).c_str());
      break;
    }
    case 1: {
      auto command = to.initCommand();
      command.setOperation(static_cast<wire::Operation>(from.take<uint8_t>() % 9));
      command.setKey(rpc::to_data(some(from)));
      command.setValue(rpc::to_data(some(from)));
      command.setExpected(rpc::to_data(some(from)));
      command.setDelta(from.take<int64_t>());
      command.setTimeToLiveMs(from.take<uint64_t>());
      auto session = command.initSession();
      session.setClientLow(from.take<uint8_t>());
      session.setSerial(from.take<uint8_t>());
      break;
    }
    case 2: {
      auto append = to.initAppend();
      append.setStream(text(from).c_str());
      auto events = append.initEvents(from.take<uint8_t>() % 16);
      for (unsigned i = 0; i < events.size(); ++i)
        events.set(i, rpc::to_data(some(from)));
      break;
    }
    case 3: {
      auto get = to.initGet();
      get.setKey(rpc::to_data(some(from)));
      fill_read(from, get);
      break;
    }
    case 4: {
      auto tail = to.initTail();
      tail.setFrom(from.take<uint16_t>());
      tail.setTo(from.take<uint16_t>());
      tail.setFromEnd(from.take<uint8_t>() % 2 != 0);
      tail.setFollow(from.take<uint8_t>() % 2 != 0);
      tail.setCreditBytes(from.take<uint64_t>());
      break;
    }
    case 5:
      to.initCredit().setBytes(from.take<uint64_t>());
      break;
    case 6:
      to.setCancelTail();
      break;
    case 7:
      to.setStatus();
      break;
    case 8:
      to.setCheckpoint();
      break;
    case 9: {
      auto digest = to.initDigest();
      digest.setAddress(from.take<uint16_t>());
      digest.setLogFrom(from.take<uint16_t>());
      digest.setTimeoutMs(from.take<uint8_t>());
      break;
    }
    case 10: {
      auto scan = to.initScan();
      scan.setScan(from.take<uint8_t>());
      scan.setSlice(from.take<uint8_t>());
      scan.setPairs(from.take<uint16_t>());
      scan.setPrefix(rpc::to_data(some(from)));
      fill_read(from, scan);
      break;
    }
    case 11:
      to.setTransfer(from.take<uint8_t>());
      break;
    default:
      to.setPromote();
  }
}

void set_role(rpc::testing::FakeReplication& node, uint8_t how) {
  replication::NodeStatus status;
  status.self = NodeId{1};
  status.epoch = Epoch{1};
  status.leader = NodeId{how % 4 == 3 ? 2u : 1u};
  status.role = how % 4 == 3 ? replication::Role::kFollower : replication::Role::kLeader;
  status.serving = how % 4 != 2;
  status.alone = how % 4 == 0;
  if (how % 8 == 7) status.unhealthy = "as the input says";
  node.set(status);
}

/// A served node, and what it has taken: a new one after some time, for it only grows.
rpc::testing::FakeNode& served_node() {
  constexpr int kMostUses = 1000;
  static std::unique_ptr<rpc::testing::FakeNode> node;
  static int uses = 0;
  if (!node || ++uses > kMostUses) {
    node.reset();
    node = std::make_unique<rpc::testing::FakeNode>();
    uses = 0;
  }
  return *node;
}

}  // namespace

// Input: u8 the node's role, then requests, each with its damage. The server answers or closes the
// connection, and goes on with others.
void client_request(ByteSpan input) {
  Input from(input);
  rpc::testing::FakeNode& node = served_node();
  set_role(node.node, from.take<uint8_t>());
  std::vector<std::byte> frames;
  const auto add = [&](auto fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<wire::Request>());
    rpc::append_frame(message, frames);
  };
  add([](wire::Request::Builder to) { to.initHello().setProtocolVersion(rpc::kProtocolVersion); });
  for (int i = 0; i < 16 && !from.empty(); ++i) {
    capnp::MallocMessageBuilder message;
    fill_request(from, message.initRoot<wire::Request>());
    append_damaged(message, from, frames);
  }
  add([](wire::Request::Builder to) {
    to.setId(kLastId);
    to.setStatus();
  });
  const int socket = rpc::testing::connect_to(node.port);
  TAILRACE_CHECK(socket >= 0, "the server takes no connection");
  const timeval patience{30, 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  // A server that has closed takes no more; what it has said is read all the same.
  (void)rpc::testing::send_all(socket, frames);
  rpc::FrameDecoder decoder(64u << 20);
  bool done = false;
  while (!done && rpc::testing::receive(socket, decoder, [&](capnp::MessageReader& message) {
    done |= message.getRoot<wire::Response>().getId() == kLastId;
  })) {
  }
  ::close(socket);
}

namespace {

// ---- Answers.

void fill_status(Input& from, wire::Status::Builder to) {
  to.setNode(from.take<uint32_t>());
  to.setRole(text(from).c_str());
  to.setProblem(text(from).c_str());
  to.setEpoch(from.take<uint64_t>());
  to.setVote(from.take<uint8_t>());
  to.setCoordinator(text(from).c_str());
  to.setUnhealthy(text(from).c_str());
  auto followers = to.initFollowers(from.take<uint8_t>() % 8);
  for (auto follower : followers) {
    follower.setNode(from.take<uint32_t>());
    follower.setLagSeconds(from.take<double>());
    follower.setUnhealthy(text(from).c_str());
  }
  auto anchors = to.initAnchors(from.take<uint8_t>() % 8);
  for (auto anchor : anchors) {
    anchor.setName(text(from).c_str());
    anchor.setAddress(from.take<uint64_t>());
  }
  auto copy = to.initCopy();
  copy.setStage(text(from).c_str());
  copy.setProblem(text(from).c_str());
  if (from.take<uint8_t>() % 2 != 0) return;
  auto activity = to.initActivity();
  activity.setUptimeSeconds(from.take<double>());
  activity.setWrites(from.take<uint64_t>());
  auto bounds = activity.initStageBoundsSeconds(from.take<uint8_t>() % 8);
  for (unsigned i = 0; i < bounds.size(); ++i)
    bounds.set(i, from.take<double>());
  auto stages = activity.initStages(from.take<uint8_t>() % 8);
  for (auto stage : stages) {
    stage.setName(text(from).c_str());
    auto counts = stage.initCounts(from.take<uint8_t>() % 8);
    for (unsigned i = 0; i < counts.size(); ++i)
      counts.set(i, from.take<uint64_t>());
  }
}

void fill_error(Input& from, wire::Error::Builder to) {
  static constexpr std::array kCodes{"not_leader",   "unknown_outcome",    "timed_out",
                                     "unavailable",  "invalid_argument",   "not_found",
                                     "no such code", "resource_exhausted", "unsupported"};
  to.setCode(kCodes[from.take<uint8_t>() % kCodes.size()]);
  to.setMessage(text(from).c_str());
  to.setTryAnother(from.take<uint8_t>() % 2 != 0);
}

void fill_response(Input& from, wire::Response::Builder to) {
  to.setEpoch(from.take<uint8_t>());
  to.setApplied(from.take<uint16_t>());
  switch (from.take<uint8_t>() % 12) {
    case 0: {
      auto hello = to.initHello();
      hello.setProtocolVersion(from.take<uint8_t>() % 4);
      hello.setNode(from.take<uint32_t>());
      hello.setLeader(from.take<uint8_t>() % 2 != 0);
      hello.setMaxFrameBytes(from.take<uint16_t>());
      hello.setError(text(from).c_str());
      break;
    }
    case 1:
      fill_error(from, to.initError());
      break;
    case 2: {
      auto command = to.initCommand();
      command.setFirst(from.take<uint64_t>());
      command.setEnd(from.take<uint64_t>());
      command.setOutcome(from.take<uint8_t>());
      command.setHasValue(from.take<uint8_t>() % 2 != 0);
      command.setValue(rpc::to_data(some(from)));
      break;
    }
    case 3: {
      auto get = to.initGet();
      get.setFound(from.take<uint8_t>() % 2 != 0);
      get.setValue(rpc::to_data(some(from)));
      break;
    }
    case 4: {
      auto records = to.initRecords(from.take<uint8_t>() % 8);
      for (auto record : records) {
        record.setAddress(from.take<uint64_t>());
        record.setEnd(from.take<uint64_t>());
        record.setKind(from.take<uint8_t>());
        record.setPayload(rpc::to_data(some(from)));
      }
      break;
    }
    case 5:
      to.setTailEnd(from.take<uint64_t>());
      break;
    case 6:
      fill_status(from, to.initStatus());
      break;
    case 7:
      to.setCheckpoint(from.take<uint64_t>());
      break;
    case 8:
      to.initDigest().setPairs(from.take<uint64_t>());
      break;
    case 9: {
      auto start = to.initTailStart();
      start.setFrom(from.take<uint64_t>());
      start.setTo(from.take<uint64_t>());
      break;
    }
    case 10: {
      auto scan = to.initScan();
      scan.setScan(from.take<uint8_t>());
      auto pairs = scan.initPairs(from.take<uint8_t>() % 8);
      for (auto pair : pairs) {
        pair.setKey(rpc::to_data(some(from)));
        pair.setValue(rpc::to_data(some(from)));
      }
      break;
    }
    default:
      to.setDone();
  }
}

/// Whether a client would look for the leader elsewhere: not from here.
bool names_a_leader(ByteSpan frame) {
  std::vector<uint64_t> aligned((frame.size() + 7) / 8);
  std::memcpy(aligned.data(), frame.data(), frame.size());
  const ByteSpan bytes(reinterpret_cast<const std::byte*>(aligned.data()), frame.size());
  try {
    capnp::FlatArrayMessageReader message(rpc::to_words(bytes), rpc::reader_options(bytes.size()));
    const auto response = message.getRoot<wire::Response>();
    if (response.isHello()) return response.getHello().getLeaderAddress().size() != 0;
    return response.isError() && response.getError().getLeaderAddress().size() != 0;
  } catch (const kj::Exception&) {
    return false;
  }
}

/// Responses as the input says.
void lie(ByteSpan script, uint64_t id, std::vector<std::byte>& frames) {
  Input from(script);
  for (int i = 0; i < 4 && !from.empty(); ++i) {
    capnp::MallocMessageBuilder message;
    auto response = message.initRoot<wire::Response>();
    response.setId(id);
    fill_response(from, response);
    std::vector<std::byte> frame;
    append_damaged(message, from, frame);
    if (!names_a_leader(frame)) frames.insert(frames.end(), frame.begin(), frame.end());
  }
}

void call(rpc::Client& client, const std::string& server, uint8_t verb) {
  const ByteSpan word = as_bytes("word");
  rpc::ReadOptions any;
  any.level = rpc::ReadOptions::Level::kAny;
  switch (verb % 13) {
    case 0:
      return void(client.put(word, word));
    case 1:
      return void(client.append("stream", {word, word}));
    case 2:
      return void(client.get(word, {}));
    case 3:
      return void(client.get(word, any));
    case 4:
      return void(client.scan(word, {}, [](ByteSpan, ByteSpan) { return true; }));
    case 5:
      return void(client.tail({}, [](const rpc::TailRecord&) { return true; }));
    case 6:
      return void(client.status());
    case 7:
      return void(client.transfer(NodeId{2}));
    case 8:
      return void(client.promote(server));
    case 9:
      return void(client.checkpoint(server));
    case 10:
      return void(client.request_digest());
    case 11:
      return void(client.digest(server, Address{64}, Address{64}));
    default: {
      std::promise<void> answered;
      client.async_put(word, word,
                       [&](const Result<rpc::CommandAnswer>&) { answered.set_value(); });
      answered.get_future().wait();
    }
  }
}

}  // namespace

// Input: u8 the call, u8 whether the hello is a lie too, then responses, each with its damage. The
// call returns, with an answer or an error, and nothing is thrown.
void client_response(ByteSpan input) {
  static rpc::testing::LyingServer server;
  Input from(input);
  const auto verb = from.take<uint8_t>();
  const bool hello = from.take<uint8_t>() % 4 == 3;
  const std::vector<std::byte> script(from.rest().begin(), from.rest().end());
  server.answer_with(
      hello, [script](uint64_t id, std::vector<std::byte>& frames) { lie(script, id, frames); });
  rpc::ClientOptions options;
  options.servers = {server.address()};
  options.timeout = std::chrono::milliseconds(2000);
  options.exactly_once = verb < 128;
  auto client = rpc::Client::create(options);
  TAILRACE_CHECK(client.has_value(), "no client");
  call(**client, server.address(), verb);
}

}  // namespace tailrace::fuzz
