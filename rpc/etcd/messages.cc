#include "rpc/etcd/messages.h"

#include <charconv>

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

namespace tailrace::rpc {
namespace {

using nlohmann::json;

constexpr size_t kMostOfForeignText = 200;
constexpr int kMostDepth = 16;

/// Reads fields and remembers whether one of them was of another kind than it should be. An absent
/// field is zero: so says protobuf's JSON.
class Reader {
 public:
  explicit Reader(std::string_view text) {
    int depth = 0;
    const auto shallow = [&](int at, json::parse_event_t, json&) {
      depth = std::max(depth, at);
      return true;
    };
    root_ = json::parse(text, shallow, false);
    good_ = root_.is_object() && depth <= kMostDepth;
  }
  /// The same marks for a part of the answer.
  const json& root() const { return root_; }
  bool good() const { return good_; }
  void bad() { good_ = false; }

  int64_t number(const json& object, const char* name) {
    const json* const field = find(object, name);
    if (field == nullptr) return 0;
    if (field->is_number_integer()) return field->get<int64_t>();
    int64_t value = 0;
    if (field->is_string()) {
      const std::string& text = field->get_ref<const std::string&>();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error == std::errc() && end == text.data() + text.size()) return value;
    }
    good_ = false;
    return 0;
  }
  bool flag(const json& object, const char* name) {
    const json* const field = find(object, name);
    if (field == nullptr) return false;
    if (!field->is_boolean()) good_ = false;
    return field->is_boolean() && field->get<bool>();
  }
  std::string text(const json& object, const char* name) {
    const json* const field = find(object, name);
    if (field == nullptr) return {};
    if (field->is_string()) return field->get<std::string>();
    good_ = false;
    return {};
  }
  std::string bytes(const json& object, const char* name) {
    auto decoded = decode_base64(text(object, name));
    if (decoded) return std::move(*decoded);
    good_ = false;
    return {};
  }
  /// An empty one when absent.
  const json& object(const json& from, const char* name) {
    static const json kNone = json::object();
    const json* const field = find(from, name);
    if (field == nullptr) return kNone;
    if (field->is_object()) return *field;
    good_ = false;
    return kNone;
  }
  const json& list(const json& from, const char* name) {
    static const json kNone = json::array();
    const json* const field = find(from, name);
    if (field == nullptr) return kNone;
    if (field->is_array()) return *field;
    good_ = false;
    return kNone;
  }

  int64_t revision() { return number(object(root_, "header"), "revision"); }

  EtcdKeyValue pair(const json& from) {
    EtcdKeyValue pair;
    pair.key = bytes(from, "key");
    pair.value = bytes(from, "value");
    pair.create_revision = number(from, "create_revision");
    pair.mod_revision = number(from, "mod_revision");
    pair.lease = number(from, "lease");
    return pair;
  }
  void pairs(const json& from, std::vector<EtcdKeyValue>& into) {
    for (const json& each : list(from, "kvs"))
      into.push_back(pair(each));
  }

  /// The value when everything was as it should be.
  template <typename T>
  Result<T> result(T value, const char* of) const {
    if (good_) return value;
    return make_error(ErrorCode::kCorruption, std::string("the answer is no ") + of);
  }

 private:
  static const json* find(const json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  json root_;
  bool good_ = true;
};

json operation(const EtcdOperation& from) {
  const std::string key = encode_base64(from.key);
  switch (from.kind) {
    case EtcdOperation::Kind::kPut: {
      json put = {{"key", key}, {"value", encode_base64(from.value)}};
      if (from.lease != 0) put["lease"] = std::to_string(from.lease);
      return {{"request_put", std::move(put)}};
    }
    case EtcdOperation::Kind::kDelete:
      return {{"request_delete_range", {{"key", key}}}};
    case EtcdOperation::Kind::kRange:
      break;
  }
  json range = {{"key", key}};
  if (!from.range_end.empty()) range["range_end"] = encode_base64(from.range_end);
  return {{"request_range", std::move(range)}};
}

json operations(const std::vector<EtcdOperation>& from) {
  json list = json::array();
  for (const EtcdOperation& each : from)
    list.push_back(operation(each));
  return list;
}

/// Names and passwords come from files: what is not UTF-8 is replaced, and etcd refuses it.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string encode_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

Result<std::string> decode_base64(std::string_view text) {
  if (text.empty()) return std::string();
  // The library forgives surrounding space, takes '=' for a digit and counts the padding as bytes.
  const size_t stop = std::min(text.find_last_not_of('=') + 1, text.size());
  const size_t padding = text.size() - stop;
  const bool shape = text.size() % 4 == 0 && padding <= 2 &&
                     text.substr(0, stop).find_first_of("= \t\r\n-") == std::string_view::npos;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length = shape ? EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                             reinterpret_cast<const unsigned char*>(text.data()),
                                             static_cast<int>(text.size()))
                           : -1;
  if (length < 0) return make_error(ErrorCode::kCorruption, "the text is no base64");
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

std::string encode_range(const std::string& key, const std::string& range_end) {
  return dump({{"key", encode_base64(key)}, {"range_end", encode_base64(range_end)}});
}

std::string encode_put(const std::string& key, const std::string& value, int64_t lease) {
  return dump({{"key", encode_base64(key)},
               {"value", encode_base64(value)},
               {"lease", std::to_string(lease)}});
}

std::string encode_transaction(const EtcdTransaction& transaction) {
  json compares = json::array();
  for (const EtcdCompare& each : transaction.compares) {
    const bool created = each.of == EtcdCompare::Of::kCreated;
    compares.push_back(
        {{"key", encode_base64(each.key)},
         {"result", "EQUAL"},
         {"target", created ? "CREATE" : "MOD"},
         {created ? "create_revision" : "mod_revision", std::to_string(each.revision)}});
  }
  return dump({{"compare", std::move(compares)},
               {"success", operations(transaction.then)},
               {"failure", operations(transaction.otherwise)}});
}

std::string encode_lease_grant(int64_t ttl_s) {
  return dump({{"TTL", std::to_string(ttl_s)}});
}

std::string encode_lease(int64_t id) {
  return dump({{"ID", std::to_string(id)}});
}

std::string encode_watch(const std::string& key, const std::string& range_end, int64_t from) {
  return dump({{"create_request",
                {{"key", encode_base64(key)},
                 {"range_end", encode_base64(range_end)},
                 {"start_revision", std::to_string(from)}}}});
}

std::string encode_authenticate(const std::string& username, const std::string& password) {
  return dump({{"name", username}, {"password", password}});
}

Result<EtcdRange> decode_range(std::string_view text) {
  Reader reader(text);
  EtcdRange range;
  range.revision = reader.revision();
  reader.pairs(reader.root(), range.pairs);
  if (range.revision <= 0) reader.bad();
  return reader.result(std::move(range), "answer to a range");
}

Result<int64_t> decode_put(std::string_view text) {
  Reader reader(text);
  const int64_t revision = reader.revision();
  if (revision <= 0) reader.bad();
  return reader.result(revision, "answer to a put");
}

Result<EtcdTransactionResult> decode_transaction(std::string_view text) {
  Reader reader(text);
  EtcdTransactionResult result;
  result.revision = reader.revision();
  result.succeeded = reader.flag(reader.root(), "succeeded");
  for (const json& each : reader.list(reader.root(), "responses"))
    reader.pairs(reader.object(each, "response_range"), result.pairs);
  if (result.revision <= 0) reader.bad();
  return reader.result(std::move(result), "answer to a transaction");
}

Result<EtcdLeaseGrant> decode_lease_grant(std::string_view text) {
  Reader reader(text);
  const EtcdLeaseGrant grant{reader.number(reader.root(), "ID"),
                             reader.number(reader.root(), "TTL")};
  if (grant.id == 0 || grant.ttl_s <= 0) reader.bad();
  return reader.result(grant, "lease");
}

Result<int64_t> decode_keep_alive(std::string_view text) {
  Reader reader(text);
  const json& result = reader.object(reader.root(), "result");
  // Garbage must not look like a lost lease.
  if (reader.number(result, "ID") == 0) reader.bad();
  return reader.result(reader.number(result, "TTL"), "answer to a keep-alive");
}

Result<int64_t> decode_time_to_live(std::string_view text) {
  Reader reader(text);
  if (reader.number(reader.root(), "ID") == 0) reader.bad();
  const int64_t ttl = reader.number(reader.root(), "TTL");
  return reader.result(std::max<int64_t>(ttl, 0), "answer about a lease");
}

Result<EtcdWatchPart> decode_watch(std::string_view line) {
  Reader reader(line);
  EtcdWatchPart part;
  if (reader.good() && reader.root().contains("error")) {
    part.canceled = true;
    part.cancel_reason = decode_error(line);
    return part;
  }
  const json& result = reader.object(reader.root(), "result");
  if (result.empty()) reader.bad();
  part.created = reader.flag(result, "created");
  part.canceled = reader.flag(result, "canceled");
  part.compact_revision = reader.number(result, "compact_revision");
  part.cancel_reason = reader.text(result, "cancel_reason");
  for (const json& each : reader.list(result, "events")) {
    const std::string type = reader.text(each, "type");
    if (!type.empty() && type != "PUT" && type != "DELETE") reader.bad();
    part.events.push_back({type == "DELETE", reader.pair(reader.object(each, "kv"))});
  }
  return reader.result(std::move(part), "part of a watch");
}

Result<std::string> decode_token(std::string_view text) {
  Reader reader(text);
  std::string token = reader.text(reader.root(), "token");
  // It becomes a header's value.
  const bool clean =
      std::all_of(token.begin(), token.end(), [](char c) { return c > 32 && c < 127; });
  if (token.empty() || !clean) reader.bad();
  return reader.result(std::move(token), "token");
}

std::string decode_error(std::string_view text) {
  Reader reader(text);
  std::string message;
  if (reader.good()) {
    // A stream's error is an object of its own.
    const json& nested = reader.root().contains("error") ? reader.root()["error"] : reader.root();
    message =
        nested.is_object() ? reader.text(nested, "message") : reader.text(reader.root(), "error");
    if (message.empty()) message = reader.text(reader.root(), "message");
  }
  if (message.empty()) message = text.substr(0, kMostOfForeignText);
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 32) c = ' ';
  }
  return message;
}

}  // namespace tailrace::rpc
