#pragma once
// What is said to etcd and what it answers, and both as the JSON of its gateway (etcd 3.4, /v3/…):
// keys and values in base64, numbers as strings, fields that are zero absent.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace tailrace::rpc {

struct EtcdKeyValue {
  std::string key, value;
  int64_t create_revision = 0;
  int64_t mod_revision = 0;
  int64_t lease = 0;
};

/// Keys as they were at `revision`.
struct EtcdRange {
  int64_t revision = 0;
  std::vector<EtcdKeyValue> pairs;
};

/// True when the key's revision is this one; 0: when there is no such key.
struct EtcdCompare {
  enum class Of { kCreated, kModified } of = Of::kCreated;
  std::string key;
  int64_t revision = 0;
};

struct EtcdOperation {
  enum class Kind { kPut, kDelete, kRange } kind = Kind::kRange;
  std::string key;
  std::string value;      // kPut
  int64_t lease = 0;      // kPut; 0: none
  std::string range_end;  // kRange; empty: the one key
};

/// If all the compares hold then the one list is done, else the other, all in one revision.
struct EtcdTransaction {
  std::vector<EtcdCompare> compares;
  std::vector<EtcdOperation> then, otherwise;
};

struct EtcdTransactionResult {
  int64_t revision = 0;
  bool succeeded = false;
  std::vector<EtcdKeyValue> pairs;  // of all the ranges done
};

struct EtcdLeaseGrant {
  int64_t id = 0;
  int64_t ttl_s = 0;
};

struct EtcdEvent {
  bool deleted = false;
  EtcdKeyValue pair;  // deleted: key and mod_revision only
};

/// One line of a watch.
struct EtcdWatchPart {
  bool created = false;          // the watch stands: what happens from its revision on will be told
  bool canceled = false;         // it has ended
  int64_t compact_revision = 0;  // not 0: it ended because its revision is compacted away
  std::string cancel_reason;
  std::vector<EtcdEvent> events;
};

std::string encode_base64(std::string_view bytes);
Result<std::string> decode_base64(std::string_view text);

std::string encode_range(const std::string& key, const std::string& range_end);
std::string encode_put(const std::string& key, const std::string& value, int64_t lease);
std::string encode_transaction(const EtcdTransaction& transaction);
std::string encode_lease_grant(int64_t ttl_s);
std::string encode_lease(int64_t id);
std::string encode_watch(const std::string& key, const std::string& range_end, int64_t from);
std::string encode_authenticate(const std::string& username, const std::string& password);

/// Any bytes: kCorruption for what is no such answer.
Result<EtcdRange> decode_range(std::string_view text);
Result<int64_t> decode_put(std::string_view text);  // the revision
Result<EtcdTransactionResult> decode_transaction(std::string_view text);
Result<EtcdLeaseGrant> decode_lease_grant(std::string_view text);
/// The seconds left; 0 when there is no such lease.
Result<int64_t> decode_keep_alive(std::string_view text);
Result<int64_t> decode_time_to_live(std::string_view text);
Result<EtcdWatchPart> decode_watch(std::string_view line);
Result<std::string> decode_token(std::string_view text);
/// What an answer of another status says; the text itself, cut, when it is none of etcd's.
std::string decode_error(std::string_view text);

}  // namespace tailrace::rpc
