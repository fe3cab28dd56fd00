#include "tests/support/history_json.h"

#include <nlohmann/json.hpp>

namespace tailrace::testing {
namespace {

using Json = nlohmann::json;
using Kind = HistoryKind;
using Seen = HistoryOperation::Seen;

tl::unexpected<Error> bad(const std::string& what) {
  return make_error(ErrorCode::kInvalidArgument, what);
}

std::optional<Kind> kind_of(const std::string& name) {
  if (name == "get") return Kind::kRead;
  if (name == "put") return Kind::kWrite;
  if (name == "delete") return Kind::kErase;
  if (name == "insert") return Kind::kInsertIfAbsent;
  if (name == "cas") return Kind::kCompareAndSwap;
  if (name == "add") return Kind::kAdd;
  return std::nullopt;
}

Result<std::string> text_of(const Json& object, const char* name) {
  const auto at = object.find(name);
  if (at == object.end()) return bad(std::string(name) + " is missing");
  if (at->is_string()) return at->get<std::string>();
  if (at->is_number_integer()) return std::to_string(at->get<int64_t>());
  return bad(std::string(name) + " is neither text nor an integer");
}

Result<uint64_t> number_of(const Json& object, const char* name) {
  const auto at = object.find(name);
  if (at == object.end() || !at->is_number_integer() || at->get<int64_t>() < 0) {
    return bad(std::string(name) + " is not a number");
  }
  return at->get<uint64_t>();
}

/// A value or null, if it is there.
Result<> read_seen(const Json& object, const char* name, HistoryOperation& operation) {
  const auto at = object.find(name);
  if (at == object.end()) return {};
  if (at->is_null()) {
    operation.seen = Seen::kAbsent;
    return {};
  }
  auto text = text_of(object, name);
  if (!text) return tl::unexpected(text.error());
  operation.seen = Seen::kValue;
  operation.seen_value = std::move(*text);
  return {};
}

Result<> read_answer(const Json& object, HistoryOperation& operation) {
  if (operation.kind == Kind::kRead || operation.kind == Kind::kAdd) {
    return read_seen(object, "result", operation);
  }
  const auto at = object.find("result");
  if (operation.kind == Kind::kWrite || at == object.end() || at->is_null()) return {};
  if (!at->is_boolean()) return bad("result is neither true nor false");
  operation.done = at->get<bool>();
  if (*operation.done || operation.kind == Kind::kErase) return {};
  return read_seen(object, "present", operation);
}

}  // namespace

Result<std::optional<HistoryOperation>> parse_history_line(const std::string& line) {
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return bad("not a JSON object");
  const auto outcome = text_of(object, "outcome");
  if (!outcome) return tl::unexpected(outcome.error());
  if (*outcome == "fail") return std::nullopt;
  if (*outcome != "ok" && *outcome != "unknown") {
    return bad("outcome is \"" + *outcome + "\"; it is ok, fail or unknown");
  }
  HistoryOperation operation;
  operation.outcome = *outcome == "ok" ? HistoryOutcome::kOk : HistoryOutcome::kUnknown;
  const auto name = text_of(object, "op");
  if (!name) return tl::unexpected(name.error());
  const auto kind = kind_of(*name);
  if (!kind) return bad("op is \"" + *name + "\"; it is get, put, delete, insert, cas or add");
  operation.kind = *kind;
  const auto take = [&](const char* member, std::string& into) -> Result<> {
    auto text = text_of(object, member);
    if (!text) return tl::unexpected(text.error());
    into = std::move(*text);
    return {};
  };
  TAILRACE_RETURN_IF_ERROR(take("key", operation.key));
  if (*kind != Kind::kRead && *kind != Kind::kErase) {
    TAILRACE_RETURN_IF_ERROR(take("value", operation.value));
  }
  if (*kind == Kind::kCompareAndSwap) {
    TAILRACE_RETURN_IF_ERROR(take("expected", operation.expected));
  }
  const auto client = number_of(object, "client");
  if (!client) return tl::unexpected(client.error());
  operation.client = *client;
  const auto invoked = number_of(object, "invoke_ns");
  if (!invoked) return tl::unexpected(invoked.error());
  operation.invoked = *invoked;
  if (operation.outcome == HistoryOutcome::kUnknown) return operation;
  const auto returned = number_of(object, "return_ns");
  if (!returned) return tl::unexpected(returned.error());
  operation.returned = *returned;
  if (operation.returned < operation.invoked) return bad("it returned before it was invoked");
  TAILRACE_RETURN_IF_ERROR(read_answer(object, operation));
  return operation;
}

Result<std::vector<HistoryOperation>> read_history(std::istream& from) {
  std::vector<HistoryOperation> history;
  uint64_t number = 0;
  for (std::string line; std::getline(from, line);) {
    ++number;
    if (line.empty()) continue;
    auto operation = parse_history_line(line);
    if (!operation) {
      const char* cut = from.eof() ? ", the last, has no end" : "";
      return tl::unexpected(
          with_context("line " + std::to_string(number) + cut, std::move(operation).error()));
    }
    if (*operation) history.push_back(std::move(**operation));
  }
  if (from.bad() || (from.fail() && !from.eof())) {
    return make_error(ErrorCode::kIo, "line " + std::to_string(number + 1) + ": cannot be read");
  }
  return history;
}

}  // namespace tailrace::testing
