#pragma once
// What is fuzzed: each target takes any bytes and stops the process when a promise is broken.
// libFuzzer runs them under clang (preset `asan`); corpus_test.cc replays tests/fuzz/corpus/<name>/
// and variations of it with any compiler.

#include <span>

#include "core/bytes.h"

namespace tailrace::fuzz {

struct Target {
  const char* name;
  void (*run)(ByteSpan input);
};

void record(ByteSpan input);           // one record of the log
void metadata(ByteSpan input);         // META
void consumers(ByteSpan input);        // CONSUMERS
void recovery(ByteSpan input);         // a log directory with any bytes in its segment
void append_raw(ByteSpan input);       // bytes that a leader ships
void framing(ByteSpan input);          // frames of clients and peers
void peer_message(ByteSpan input);     // each kind of message between nodes, sound and damaged
void peer_protocol(ByteSpan input);    // what nodes say that lie, to each role
void client_request(ByteSpan input);   // to a server
void client_response(ByteSpan input);  // to the client library
void command(ByteSpan input);          // a record's payload, for the state machine
void txn(ByteSpan input);              // a transaction, and what one came to
void dumped_line(ByteSpan input);      // a line of a dump, for `tailrace load`
void json_forms(ByteSpan input);       // a transaction, and an event, as JSON
void last_failure(ByteSpan input);     // LAST-FAILURE
void etcd(ByteSpan input);             // an answer of etcd's JSON gateway
void http_request(ByteSpan input);     // what comes to an HTTP port
void manifest(ByteSpan input);         // what a checkpoint of the store consists of
void stream_records(ByteSpan input);   // a kind, and how a stream may stand in the store
void event_file(ByteSpan input);       // a kind, and an event file, or a part of one

inline constexpr Target kTargets[] = {
    {"record", record},
    {"metadata", metadata},
    {"consumers", consumers},
    {"recovery", recovery},
    {"append_raw", append_raw},
    {"framing", framing},
    {"command", command},
    {"txn", txn},
    {"dumped_line", dumped_line},
    {"json_forms", json_forms},
    {"last_failure", last_failure},
    {"etcd", etcd},
    {"http_request", http_request},
    {"manifest", manifest},
    {"stream_records", stream_records},
    {"event_file", event_file},
    {"peer_message", peer_message},
    {"peer_protocol", peer_protocol},
    {"client_request", client_request},
    {"client_response", client_response},
};

}  // namespace tailrace::fuzz
