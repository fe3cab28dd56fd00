#include "app/cli/dumped_record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"
#include "json/txn_json.h"
#include "statemachine/command/command_table.h"

namespace tailrace::app {

namespace {

using nlohmann::json;
using statemachine::Operation;

/// Takes fields out of one object; the first that is wrong is kept.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  uint64_t number(const char* name, bool needed) {
    const json* found = find(name, needed);
    if (found == nullptr) return 0;
    if (!found->is_number_unsigned()) return fail(name, "a whole number"), 0;
    return found->get<uint64_t>();
  }
  int64_t signed_number(const char* name) {
    const json* found = find(name, true);
    if (found == nullptr) return 0;
    const bool fits = found->is_number_integer() &&
                      (!found->is_number_unsigned() || found->get<uint64_t>() <= INT64_MAX);
    if (!fits) return fail(name, "a whole number of 64 bits"), 0;
    return found->get<int64_t>();
  }
  bool flag(const char* name) {
    const json* found = find(name, false);
    if (found == nullptr) return false;
    if (!found->is_boolean()) return fail(name, "true or false"), false;
    return found->get<bool>();
  }
  std::string text(const char* name, bool needed) {
    const json* found = find(name, needed);
    if (found == nullptr) return {};
    if (!found->is_string()) return fail(name, "text"), std::string();
    const auto encoding = object_.find(std::string(name) + "_encoding");
    if (encoding == object_.end()) return found->get<std::string>();
    auto bytes = *encoding == "base64" ? from_base64(found->get_ref<const std::string&>())
                                       : std::optional<std::string>();
    if (!bytes) return fail(name, "in base64, as its encoding says"), std::string();
    return std::move(*bytes);
  }
  const std::string& problem() const { return problem_; }

 private:
  const json* find(const char* name, bool needed) {
    const auto found = object_.find(name);
    if (found != object_.end()) return &*found;
    if (needed && problem_.empty()) problem_ = fmt::format("'{}' is missing", name);
    return nullptr;
  }
  void fail(const char* name, const char* what) {
    if (problem_.empty()) problem_ = fmt::format("'{}' is not {}", name, what);
  }

  const json& object_;
  std::string problem_;
};

/// Nothing: another kind. An empty operation: of the cluster's own, which no client asks for.
std::optional<std::optional<Operation>> operation_of(std::string_view kind) {
  if (kind == "epoch_start" || kind == "configuration") return std::optional<Operation>();
  const auto operation = statemachine::operation_named(kind);
  if (!operation) return std::nullopt;
  const bool of_clients = has(*operation, statemachine::kHasKey | statemachine::kHasStream) ||
                          *operation == Operation::kTxn;
  return of_clients ? operation : std::optional<Operation>();
}

/// From the text, where numbers and members of events are as they were written.
Result<std::string> read_txn_body(std::string_view text) {
  const auto view = JsonView::parse(text);
  auto items = view ? view->items() : JsonView::parse("{}")->items();
  while (items.next()) {
    if (items.name() != "txn") continue;
    TAILRACE_ASSIGN_OR_RETURN(const auto owned, parse_logged_txn(items.value()));
    // As it was before the leader gave it times.
    statemachine::Txn undated = owned.txn;
    undated.time_ns = 0;
    if (undated.once && undated.once->until_ns != 0) undated.once->until_ns = 1;
    const statemachine::TxnLimits limits{statemachine::kMaxTxnBytes, statemachine::kMaxTxnBytes};
    TAILRACE_RETURN_IF_ERROR(statemachine::validate(undated, limits));
    std::string body(statemachine::encoded_bytes(owned.txn), '\0');
    statemachine::encode_at(owned.txn, reinterpret_cast<std::byte*>(body.data()));
    return body;
  }
  return make_error(ErrorCode::kInvalidArgument, "'txn' is missing");
}

void read_session(Fields& fields, DumpedLine& line) {
  line.client = fields.text("client", false);
  line.serial = fields.number("serial", false);
  line.begins_before_ns = fields.number("begins_before_ns", false);
}

void read_command(Fields& fields, DumpedLine& line) {
  const auto carries = [&](uint8_t field) { return has(*line.operation, field); };
  line.key = fields.text(carries(statemachine::kHasStream) ? "stream" : "key",
                         *line.operation != Operation::kTxn);
  if (carries(statemachine::kHasValue)) line.value = fields.text("payload", true);
  if (carries(statemachine::kHasExpected)) line.expected = fields.text("expected", true);
  if (carries(statemachine::kHasDelta)) line.delta = fields.signed_number("delta");
  line.expires_at_ns = fields.number("expires_at_ns", false);
  read_session(fields, line);
}

}  // namespace

Result<DumpedLine> parse_dumped_line(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object())
    return make_error(ErrorCode::kInvalidArgument,
                      "it is not a JSON object, as `tailrace log dump --json` writes them");
  Fields fields(object);
  DumpedLine line;
  line.address = Address{fields.number("address", true)};
  line.end = Address{fields.number("end", true)};
  line.batch = Address{fields.number("batch", false)};
  line.log_time_ns = fields.number("log_time_ns", false);
  line.behind_damage = fields.flag("behind_damage");
  const std::string kind = fields.text("kind", true);
  if (fields.problem().empty()) {
    const auto operation = operation_of(kind);
    if (!operation)
      return make_error(
          ErrorCode::kUnsupported,
          fmt::format("a record of kind '{}' cannot be put back; take its line out of the dump "
                      "to go on without it",
                      kind));
    line.operation = *operation;
    line.begins_epoch = kind == "epoch_start";
    if (line.operation == Operation::kTxn) {
      TAILRACE_ASSIGN_OR_RETURN(line.value, read_txn_body(text));
      read_session(fields, line);
    } else if (line.operation) {
      read_command(fields, line);
    }
    if (kind == "rules") {
      const auto rules = statemachine::decode_rules(as_bytes(fields.text("payload", false)));
      if (rules) line.rules = *rules;
    }
  }
  if (fields.problem().empty()) return line;
  return make_error(ErrorCode::kInvalidArgument, fields.problem());
}

}  // namespace tailrace::app
