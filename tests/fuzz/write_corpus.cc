// Writes the seeds of corpus/: sound inputs of every kind, for a fuzzer to go on from. Those of
// `manifest` are the golden store's (tests/golden/fasterkv-v2), with the token 3.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <capnp/message.h>

#include "fasterlog/engine/consumers.h"
#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/record.h"
#include "history/event_file_writer.h"
#include "history/format/entries.h"
#include "history/format/file_name.h"
#include "history/format/floors.h"
#include "history/format/index.h"
#include "rpc/peer/codec.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/schema/client.capnp.h"
#include "statemachine/command/command.h"
#include "statemachine/streams/recent_ids.h"
#include "statemachine/streams/stream_records.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"
#include "statemachine/types/rules.h"
#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"

namespace tailrace {
namespace {

using Bytes = std::vector<std::byte>;

std::filesystem::path root;

void write(const std::string& target, const std::string& name, const Bytes& bytes) {
  std::filesystem::create_directories(root / target);
  std::ofstream file(root / target / name, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes result;
  for (const int value : values)
    result.push_back(static_cast<std::byte>(value));
  return result;
}
Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

void records() {
  for (const uint32_t payload : {0u, 5u, 100u}) {
    Bytes bytes(8 + fasterlog::record_bytes(payload));
    store(bytes.data(), uint64_t{64});
    fasterlog::seal_record(bytes.data() + 8, Address{64}, Epoch{1}, fasterlog::RecordKind::kData,
                           payload);
    write("record", "data-" + std::to_string(payload), bytes);
  }
  Bytes mark(8 + fasterlog::kLeastMarkBytes);
  store(mark.data(), uint64_t{4096});
  fasterlog::write_commit_mark(mark.data() + 8, Address{4096}, fasterlog::kLeastMarkBytes, Epoch{1},
                               {Address{64}, 7});
  write("record", "mark", mark);
  Bytes padding(8 + 64);
  store(padding.data(), uint64_t{65536 - 64});
  fasterlog::write_page_padding(padding.data() + 8, Address{65536 - 64}, Address{65536}, Epoch{1});
  write("record", "padding", padding);
}

void small_files() {
  testing::FaultFileSystem disk(1);
  (void)disk.make_directory("/log");
  fasterlog::LogMetadata metadata;
  metadata.owner = "fuzz";
  metadata.page_bytes = 64u << 10;
  metadata.segment_bytes = 128u << 10;
  metadata.proven = Address{4096};
  metadata.epochs = {{Epoch{1}, Address{64}}, {Epoch{4}, Address{1024}}};
  fasterlog::ConsumerTable table(disk, "/log");
  (void)table.open("mailer", Address{64}, 0);
  (void)table.open("another", Address{4096}, 10'000);
  for (const bool cut : {false, true}) {
    if (cut) metadata.cut = metadata.proven;
    (void)fasterlog::write_log_metadata(disk, "/log", metadata);
    Bytes file = disk.content("/log/META");
    write("metadata", cut ? "file-cut" : "file", bytes_of({1}) + file);
    file.erase(file.begin(), file.begin() + 32);
    write("metadata", cut ? "content-cut" : "content", bytes_of({0}) + file);
  }
  metadata.configurations = {{Address{64}, Address{96}, Epoch{1}, bytes_of({1, 2, 3})},
                             {Address{1024}, Address{1048}, Epoch{4}, {}}};
  (void)fasterlog::write_log_metadata(disk, "/log", metadata);
  Bytes with = disk.content("/log/META");
  write("metadata", "file-configurations", bytes_of({1}) + with);
  with.erase(with.begin(), with.begin() + 32);
  write("metadata", "content-configurations", bytes_of({2}) + with);
  Bytes file = disk.content("/log/CONSUMERS");
  write("consumers", "file", bytes_of({1}) + file);
  file.erase(file.begin(), file.begin() + 32);
  write("consumers", "content", bytes_of({0}) + file);
  write("consumers", "empty", bytes_of({0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

void last_failures() {
  // As app/node/last_failure_file.h has them; that is in no library.
  const Bytes head = bytes_of({8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 3, 0, 0, 0, 'w', 'h', 'y'});
  testing::FaultFileSystem disk(1);
  (void)disk.make_directory("/node");
  const storage::AtomicFileFormat format{storage::four_letters("FAIL"), 1};
  (void)storage::replace_atomic_file(disk, "/node/LAST-FAILURE", format, head);
  write("last_failure", "file", bytes_of({1}) + disk.content("/node/LAST-FAILURE"));
  write("last_failure", "content", bytes_of({0}) + head);
}

void logs() {
  // Two batches, in epochs 1 and 2; see log_bytes.h.
  const Bytes batch = bytes_of({0, 16, 1, 50, 0, 1, 17, 1, 0, 2, 3, 1});
  const Bytes next = bytes_of({0, 3, 2, 8, 0, 3, 2});
  const Bytes torn = bytes_of({0, 16, 2, 40, 0, 7, 9, 0, 255, 3, 2});
  const Bytes page_end = bytes_of({5, 2}) + next;
  const std::pair<const char*, Bytes> all[] = {
      {"batches", batch + next},
      {"torn", batch + torn + next},
      {"unfinished", batch + bytes_of({0, 16, 1, 200, 0})},
      {"page-end", batch + page_end},
      {"large", batch + bytes_of({0, 16, 2, 255, 254, 3, 2}) + next},
      {"foreign-mark", batch + bytes_of({0, 16, 1, 9, 0, 4, 1, 64, 0}) + next},
      {"old-epoch", batch + next + batch},
      {"configurations", bytes_of({0, 4, 1, 9, 0}) + batch + bytes_of({0, 4, 2, 0, 0}) + next +
                             bytes_of({0, 4, 2, 3, 0})},
      {"garbage", batch + bytes_of({6, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}) + next},
  };
  for (const auto& [name, program] : all) {
    write("append_raw", name, program);
    for (const int flags : {0, 1, 3, 5, 9})
      write("recovery", std::string(name) + "-" + std::to_string(flags),
            bytes_of({flags == 0 ? 0 : 1, flags}) + program);
  }
}

void frames() {
  const auto content = std::make_shared<const Bytes>(bytes_of({1, 2, 3, 4, 5, 6, 7, 8}));
  const replication::Message messages[] = {
      replication::Subscribe{Epoch{2}, Epoch{1}, Address{64}, Address{4096}, 7},
      replication::Accept{Epoch{2}, Address{4096}, Address{512}},
      replication::Refuse{replication::RefusalReason::kStaleEpoch, Epoch{9}, NodeId{}, "stale"},
      replication::Data{Epoch{2}, Address{64}, content, Address{64}, Address{72}, 5},
      replication::Acknowledge{Epoch{2}, Address{64}, Address{64}}};
  Bytes all = bytes_of({15});
  int number = 0;
  for (const replication::Message& message : messages) {
    capnp::MallocMessageBuilder builder;
    rpc::encode_peer(message, builder.initRoot<rpc::wire::PeerFrame>());
    Bytes frame;
    rpc::append_frame(builder, frame);
    write("framing", "peer-" + std::to_string(number++), bytes_of({255}) + frame);
    all = all + frame;
  }
  write("framing", "peer-all", all);
  capnp::MallocMessageBuilder builder;
  auto request = builder.initRoot<rpc::wire::Request>();
  request.setId(3);
  auto append = request.initAppend();
  append.setStream("orders");
  append.initEvents(2);
  Bytes frame;
  rpc::append_frame(builder, frame);
  write("framing", "append", bytes_of({255}) + frame);
  capnp::MallocMessageBuilder second;
  auto put = second.initRoot<rpc::wire::Request>().initCommand();
  put.setOperation(rpc::wire::Operation::PUT);
  put.initKey(3);
  put.initValue(9);
  put.initSession().setSerial(4);
  frame.clear();
  rpc::append_frame(second, frame);
  write("framing", "put", bytes_of({7}) + frame);
}

Bytes words(std::initializer_list<int> values) {
  Bytes result;
  for (const int value : values)
    result = result + bytes_of({value % 256, value / 256});
  return result;
}

/// Of a message's fields; lengths and counts among them are small.
const Bytes& digits() {
  static const Bytes result = bytes_of(
      {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3});
  return result;
}

void peer_messages() {
  for (int kind = 0; kind < static_cast<int>(std::variant_size_v<replication::Message>); ++kind) {
    const std::string name = std::to_string(kind);
    write("peer_message", name, bytes_of({kind}) + digits() + digits() + digits());
    write("peer_message", name + "-zero", bytes_of({kind}));
    for (int role = 0; role < 4; ++role)
      write("peer_protocol", name + "-role-" + std::to_string(role),
            bytes_of({role, 1, kind}) + digits() + bytes_of({2, kind}) + digits());
  }
  const int offer = static_cast<int>(replication::Message(replication::OfferCheckpoint{}).index());
  write("peer_message", "offer-configuration",
        bytes_of({offer, 0}) + words({1, 2}) + bytes_of({0}) + words({96, 96, 96}) +
            bytes_of({0, 0, 1}) + words({64, 96, 1}) + bytes_of({3, 1, 2, 3}));
  // A leader of epoch 2 with a log up to 536, to which another one comes; see driven_core.h.
  const Bytes subscribe = words({2, 1, 64, 500, 7}) + bytes_of({2});
  const Bytes acknowledge = words({2, 536, 500, 1}) + Bytes(8) + bytes_of({2}) + words({7});
  const Bytes time = bytes_of({0, 20});
  write("peer_protocol", "leader",
        bytes_of({1, 2, 0}) + subscribe + time + bytes_of({2, 4}) + acknowledge + time);
  // A candidate that is sealed by one with a longer log, and fetches it.
  const Bytes sealed = words({2, 1, 64, 900, 7}) + bytes_of({2});
  const Bytes accept = words({2, 500, 64});
  const Bytes data = words({2, 500}) + bytes_of({24}) + Bytes(24) + words({500, 900, 1, 1});
  write("peer_protocol", "candidate",
        bytes_of({2, 0, 1, 1, 6}) + sealed + time + bytes_of({1, 1}) + accept + time +
            bytes_of({1, 3}) + data + Bytes(18) + time);
  // A follower to which another leader comes.
  write("peer_protocol", "follower",
        bytes_of({0, 1, 3}) + data + Bytes(18) + time + bytes_of({2, 7}) + words({3}) + time +
            bytes_of({2, 1}) + words({3, 500, 64}));
}

void client_messages() {
  for (int kind = 0; kind < 13; ++kind)
    for (const int role : {0, 3})
      write("client_request", std::to_string(kind) + "-role-" + std::to_string(role),
            bytes_of({role, 5, kind}) + digits() + digits());
  // The answers to each call that are such.
  const std::pair<int, std::initializer_list<int>> answers[] = {
      {0, {2}},  {1, {2}},  {2, {3}}, {3, {3}},  {4, {10}}, {5, {9, 4, 5}}, {6, {6}},
      {7, {11}}, {8, {11}}, {9, {7}}, {10, {2}}, {11, {8}}, {12, {2}}};
  for (const auto& [call, kinds] : answers) {
    Bytes all = bytes_of({call, 0});
    for (const int kind : kinds)
      all = all + bytes_of({1, 1, 1, kind}) + digits() + digits();
    const std::string name = std::to_string(call);
    write("client_response", name, all);
    // A put and an append: one is sent again, the other never.
    for (int code = 0; code < 9 && call < 2; ++code)
      write("client_response", name + "-error-" + std::to_string(code),
            bytes_of({call, 0, 1, 1, 1, 1, code, 2, 'n', 'o', 0, 0}));
  }
  // The answer's pointer leads nowhere: in a put, an append, and one that nobody waits for.
  for (const int call : {0, 1, 12})
    write("client_response", "malformed-" + std::to_string(call),
          bytes_of({call, 0, 1, 1, 1, 2}) + Bytes(16) + bytes_of({0, 1, 1, 'v', 1, 57, 0, 255}));
  write("client_response", "hello", bytes_of({2, 3, 1, 1, 1, 0, 1}) + digits());
}

void commands() {
  using statemachine::Operation;
  for (const Operation operation :
       {Operation::kEvent, Operation::kPut, Operation::kDelete, Operation::kAdd, Operation::kCas,
        Operation::kDigest, Operation::kExpire, Operation::kTime, Operation::kCompare,
        Operation::kRules, Operation::kInsert, Operation::kTxn, Operation::kScavenge}) {
    for (const bool session : {false, true}) {
      statemachine::Command command;
      command.operation = operation;
      if (session) command.session = statemachine::SessionSerial{{1, 2}, 1, 3};
      const bool has_key = operation != Operation::kDigest && operation != Operation::kTime &&
                           operation != Operation::kCompare && operation != Operation::kRules &&
                           operation != Operation::kTxn && operation != Operation::kScavenge;
      if (has_key) command.key = as_bytes("key");
      if (has_key && operation != Operation::kDelete && operation != Operation::kExpire)
        command.value = as_bytes("value");
      if (operation == Operation::kExpire) command.expires_at_ns = 1'700'000'000'000'000'000;
      if (operation == Operation::kCas) command.expected = as_bytes("expected");
      Bytes rules, body, bytes;
      statemachine::Rules limited;
      if (session) limited.limits.emplace();
      statemachine::Txn txn;
      txn.checks = {{.kind = statemachine::CheckKind::kStreamAbsent, .name = as_bytes("s")}};
      txn.then = {{.kind = statemachine::TxnEffectKind::kAppend, .name = as_bytes("s")}};
      txn.add_event(txn.then[0], {.type = "t", .data = as_bytes("{}")});
      statemachine::encode(txn, body);
      statemachine::encode(limited, rules);
      if (operation == Operation::kRules) command.value = rules;
      if (operation == Operation::kTxn) command.value = body;
      if (operation == Operation::kRules && session) {
        limited.positions = true;
        Bytes with_positions;
        statemachine::encode(limited, with_positions);
        command.value = with_positions;
        statemachine::encode(command, bytes);
        write("command", "10-positions", bytes);
        command.value = rules;
      }
      statemachine::encode(command, bytes);
      const std::string name =
          std::to_string(static_cast<int>(operation)) + (session ? "-session" : "-plain");
      write("command", name, bytes);
      write("dumped_line", name, bytes);
    }
  }
}

void transactions() {
  using namespace statemachine;
  Txn txn;
  const auto write_txn = [&txn](const char* name) {
    Bytes bytes;
    encode(txn, bytes);
    write("txn", name, bytes);
    txn.clear();
  };
  write_txn("empty");
  txn.once = OnceKey{1, 2, 3};
  for (int kind = 1; kind <= static_cast<int>(CheckKind::kLast); ++kind)
    txn.checks.push_back({.kind = static_cast<CheckKind>(kind), .name = as_bytes("name")});
  txn.checks.back().name = {};
  write_txn("checks");
  for (int kind = 1; kind <= static_cast<int>(TxnEffectKind::kLast); ++kind) {
    auto& list = kind % 2 == 0 ? txn.then : txn.otherwise;
    const std::string_view name =
        std::string_view("abcdefghi").substr(static_cast<size_t>(kind) - 1);
    list.push_back({.kind = static_cast<TxnEffectKind>(kind), .name = as_bytes(name)});
    if (list.back().kind == TxnEffectKind::kPut) list.back().expires_at_ns = 7;
    if (list.back().kind == TxnEffectKind::kPolicy) list.back().max_age_ns = list.back().dedupe = 0;
    if (list.back().kind == TxnEffectKind::kAppend) txn.add_event(list.back(), {});
  }
  write_txn("effects");
  txn.then.push_back({.kind = TxnEffectKind::kAppend, .name = as_bytes("stream")});
  txn.then[0].expected = Expected::kExact;
  const std::string_view tags[] = {"a:1", "b"};
  txn.add_event(txn.then[0], {.type = "type", .id = EventIdBytes{}, .data = as_bytes("data")},
                tags);
  txn.add_event(txn.then[0], {.metadata = as_bytes("{}"), .content_type = ContentType::kJson});
  write_txn("events");
}

void transaction_results() {
  using namespace statemachine;
  TxnResult result;
  Bytes bytes;
  for (int found = 1; found <= static_cast<int>(FoundKind::kLast); ++found)
    result.failed.push_back({TxnList::kThen, 1, static_cast<FoundKind>(found), {}, 2});
  encode(result, bytes);
  write("txn", "result-failed", bytes);
  result.clear();
  result.succeeded = true;
  for (int kind = 1; kind <= static_cast<int>(EffectResultKind::kLast); ++kind)
    result.results.push_back({.kind = static_cast<EffectResultKind>(kind), .replayed = true});
  encode(result, bytes);
  write("txn", "result-succeeded", bytes);
}

void dumped_lines() {
  const std::string place = R"("address":64,"end":128,"epoch":1,)";
  const std::string session = R"("client":"00000000000000010000000000000002","serial":1)";
  const std::pair<const char*, std::string> lines[] = {
      {"event", R"("batch":64,"kind":"event","stream":"s","payload":"e")"},
      {"put", R"("kind":"put","key":"k","payload":"v","expires_at_ns":7,)" + session},
      {"base64", R"("kind":"put","key":"/w==","key_encoding":"base64","payload":"\u00e9\n")"},
      {"delete", R"("behind_damage":true,"kind":"delete","key":"k")"},
      {"add", R"("kind":"add","key":"k","delta":-9223372036854775808)"},
      {"cas", R"("kind":"cas","key":"k","expected":"","payload":"v")"},
      {"insert", R"("kind":"insert","key":"k","payload":"v")"},
      {"expire", R"("kind":"expire","key":"k","expires_at_ns":18446744073709551615)"},
      {"rules", R"("kind":"rules","payload":"AQ==","payload_encoding":"base64")"},
      {"other", R"("kind":"77","payload":"x")"}};
  for (const auto& [name, rest] : lines) {
    const std::string line = "{" + place + rest + "}";
    const ByteSpan bytes = as_bytes(line);
    write("dumped_line", std::string("line-") + name, Bytes(bytes.begin(), bytes.end()));
  }
  const Bytes deep(20000, std::byte{'['});
  write("dumped_line", "line-deep", deep);
}

/// What etcd 3.4 answers.
void etcd_answers() {
  const std::pair<const char*, const char*> answers[] = {
      {"range", R"({"header":{"revision":"7"},"kvs":[{"key":"aw==","create_revision":"3",)"
                R"("mod_revision":"5","value":"dg==","lease":"-12"}],"count":"1"})"},
      {"transaction",
       R"({"header":{"revision":"9"},"succeeded":true,"responses":[{"response_put":{}},)"
       R"({"response_range":{"kvs":[{"key":"aw=="}]}}]})"},
      {"lease", R"({"header":{},"ID":"77","TTL":"3"})"},
      {"keep-alive", R"({"result":{"header":{},"ID":"77","TTL":"3"}})"},
      {"watch", R"({"result":{"created":true,"events":[{"type":"DELETE","kv":{"key":"aw=="}}]}})"},
      {"compacted", R"({"result":{"canceled":true,"compact_revision":"5"}})"},
      {"error", R"({"error":{"grpc_code":8,"message":"too many requests"}})"},
      {"refusal", R"({"error":"etcdserver: lease not found","code":5})"},
      {"token", R"({"token":"abc.7"})"}};
  for (const auto& [name, text] : answers) {
    const ByteSpan bytes = as_bytes(text);
    write("etcd", name, Bytes(bytes.begin(), bytes.end()));
  }
}

void http_requests() {
  const std::pair<const char*, const char*> requests[] = {
      {"get", "GET /metrics?a=b HTTP/1.1\r\nHost: localhost:9100\r\nAccept: */*\r\n\r\n"},
      {"pipelined",
       "\r\nHEAD http://h/ HTTP/1.1\r\nHOST:h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: [::1]"
       "\r\nConnection: te, close\r\n\r\nGET / HTTP/1.0\r\n\r\n"},
      {"old", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nX: \t y z\t \r\n\r\n"},
      {"length",
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nPOST / HTTP/1.1\r\n"
       "Host: h\r\nContent-Length: 3\r\n\r\nabc"},
      {"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"folded", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n"},
      {"version", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"tls", "\x16\x03\x01\x02"}};
  for (const auto& [name, text] : requests) {
    const ByteSpan bytes = as_bytes(std::string_view(text));
    write("http_request", name, bytes_of({6}) + Bytes(bytes.begin(), bytes.end()));
  }
  std::string fields = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 9; ++i)
    fields += "X-" + std::to_string(i) + ": " + std::string(100, 'x') + "\r\n";
  const ByteSpan bytes = as_bytes(fields);
  write("http_request", "long", bytes_of({99}) + Bytes(bytes.begin(), bytes.end()));
}

void stream_records() {
  using namespace statemachine;
  const auto write_pair = [](const std::string& name, char kind, const std::string& value) {
    const ByteSpan bytes = as_bytes(value);
    write("stream_records", name, bytes_of({kind}) + Bytes(bytes.begin(), bytes.end()));
  };
  StreamHead head;
  head.dense_id = 1;
  head.next = 3;
  head.last_place = {72, 0};
  head.last_time_ns = 9;
  head.inline_count = 2;
  head.inlined = {EventPlace{64, 0}, EventPlace{72, 0}};
  std::string value;
  encode_head(head, value);
  write_pair("head", kHeadKey, value);
  head.next = 100;
  head.policy.max_count = 5;
  head.remembers_ids = true;
  encode_head(head, value);
  write_pair("head-policy", kHeadKey, value);
  head = {};
  head.dense_id = 2;
  head.tombstoned = true;
  encode_head(head, value);
  write_pair("head-tombstone", kHeadKey, value);
  value.clear();
  const std::vector<EventId> ids = {{1, 2}, {5, 6}, {7, 8}, {9, 10}, {11, 12}};
  remember_ids(value, ids, 0, kDefaultDedupe);
  write_pair("ids", kIdsKey, value);
  write_pair("dropped", kDroppedKey, encode_dropped({1, 2, 9}));
  write_pair("numbers", 'm', encode_numbers({3, 1, 2}));
}

/// Three events of two streams.
void add_events(history::EventFileWriter& writer, history::EntryEncoder& encoder,
                history::IndexBuilder& index) {
  const std::string_view tags[] = {"a", "b"};
  for (uint64_t event = 0; event < 3; ++event) {
    history::EventEntry entry;
    entry.stream = event == 1 ? "b" : "a-1";
    entry.version = event * 2;
    entry.record_address = Address{64 + event * 100};
    entry.position = entry.record_address + 50;
    entry.epoch = Epoch{1 + event};
    entry.time_ns = 1'700'000'000'000'000'000 - event;
    entry.type = event == 0 ? "" : "a";
    if (event == 2) entry.id.emplace();
    entry.tags = std::span(tags).first(event);
    if (event == 1) entry.metadata = as_bytes("{}");
    entry.content_type = statemachine::ContentType::kJson;
    entry.data = as_bytes("data");
    (void)writer.add(entry);
    (void)encoder.add(entry, ~size_t{0});
    (void)index.add(entry);
  }
}

void event_files() {
  using namespace history;
  Bytes leaf, rows;
  for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
    testing::FaultFileSystem disk(1);
    (void)disk.make_directory("/events");
    EventFileOptions options;
    options.compression = compression;
    auto writer = EventFileWriter::create(disk, "/events", Address{64}, options);
    EntryEncoder encoder;
    IndexBuilder index;
    add_events(**writer, encoder, index);
    std::vector<std::byte> floors;
    for (const StreamFloor& floor : {StreamFloor{"a-1", 3}, StreamFloor{"gone", 300}}) {
      (void)(*writer)->add_floor(floor);
      (void)append_floor(floor, ~size_t{0}, floors);
    }
    const auto info = (*writer)->finish(Address{1000}, Epoch{3});
    const std::string name = name_of(*info);
    const std::string kind = compression == Compression::kNone ? "none" : "zstd";
    write("event_file", "file-" + kind, bytes_of({0}) + disk.content("/events/" + name));
    if (compression == Compression::kZstd) continue;
    write("event_file", "entries",
          bytes_of({1, 3}) + Bytes(encoder.bytes().begin(), encoder.bytes().end()));
    (void)index.write([&](const IndexKey& first, ByteSpan bytes) -> Result<> {
      leaf.assign(bytes.begin(), bytes.end());
      append_leaf_row(first, {0, 10, 20, 2, 0, 0}, rows);
      return {};
    });
    write("event_file", "leaf", bytes_of({2}) + leaf);
    write("event_file", "leaves",
          bytes_of({3, 1, 0, 0, 0, 40 + 16 + 10, 0, 0, 0, 0, 0, 0, 0}) + rows);
    write("event_file", "floors", bytes_of({5}) + Bytes(floors.begin(), floors.end()));
    const ByteSpan text = as_bytes(name);
    write("event_file", "name", bytes_of({4}) + Bytes(text.begin(), text.end()));
  }
}

}  // namespace
}  // namespace tailrace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: write_corpus DIRECTORY\n");
    return 2;
  }
  tailrace::root = arguments[1];
  tailrace::records();
  tailrace::small_files();
  tailrace::last_failures();
  tailrace::logs();
  tailrace::frames();
  tailrace::peer_messages();
  tailrace::client_messages();
  tailrace::commands();
  tailrace::transactions();
  tailrace::transaction_results();
  tailrace::dumped_lines();
  tailrace::etcd_answers();
  tailrace::http_requests();
  tailrace::stream_records();
  tailrace::event_files();
  return 0;
}
