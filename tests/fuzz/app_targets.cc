// What `tailrace load` reads: the lines of a dump, which anyone may have edited; and what a life of
// a node leaves to the next.
#include <string>
#include <vector>

#include "app/cli/dumped_record.h"
#include "app/cli/record_json.h"
#include "app/node/last_failure_file.h"
#include "core/check.h"
#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"
#include "storage/atomic_file.h"
#include "tests/fuzz/targets.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fuzz {
namespace {

using statemachine::Command;
using statemachine::Operation;

/// A dump's line of a record with this command.
std::string line_of(const Command& command) {
  std::vector<std::byte> payload;
  statemachine::encode(command, payload);
  JsonLine line;
  app::write_record({Address{64}, Address{128}, Epoch{1}, statemachine::kCommandRecord, payload},
                    line);
  return std::string(line.end());
}

bool is_put_back(Operation operation) {
  return operation != Operation::kDigest && operation != Operation::kTime &&
         operation != Operation::kCompare && operation != Operation::kRules &&
         operation != Operation::kScavenge;
}

/// Whether a leader would have let it in, before it gave it times.
bool is_let_in(ByteSpan body) {
  statemachine::Txn txn;
  if (!statemachine::decode(body, txn)) return false;
  txn.time_ns = 0;
  if (txn.once) txn.once->until_ns = 1;
  return statemachine::validate(txn, {statemachine::kMaxTxnBytes, statemachine::kMaxTxnBytes})
      .has_value();
}

/// What a dump says of a command is what `load` makes of it.
void check_round_trip(const Command& command) {
  if (command.operation == Operation::kTxn && !is_let_in(command.value)) return;
  const auto line = app::parse_dumped_line(line_of(command));
  TAILRACE_CHECK(line.has_value(), "a dump's own line is refused: " + line.error().message);
  TAILRACE_CHECK(line->address == Address{64} && line->end == Address{128}, "another address");
  if (!is_put_back(command.operation)) {
    TAILRACE_CHECK(!line->operation, "what a cluster writes for itself is put back");
    return;
  }
  TAILRACE_CHECK(line->operation == command.operation, "another operation");
  TAILRACE_CHECK(line->key == as_text(command.key), "another key");
  const bool has_value =
      command.operation == Operation::kEvent || command.operation == Operation::kPut ||
      command.operation == Operation::kCas || command.operation == Operation::kInsert ||
      command.operation == Operation::kTxn;
  if (has_value) TAILRACE_CHECK(line->value == as_text(command.value), "another value");
  TAILRACE_CHECK(line->expected == as_text(command.expected), "another expected value");
  TAILRACE_CHECK(line->delta == command.delta, "another delta");
  TAILRACE_CHECK(line->expires_at_ns == command.expires_at_ns, "another time");
  const uint64_t bound_ns = command.session ? command.session->begins_before_ns : 0;
  TAILRACE_CHECK(line->begins_before_ns == bound_ns, "another bound");
  const uint64_t serial = command.session ? command.session->serial : 0;
  TAILRACE_CHECK(line->serial == serial && line->client.empty() == (serial == 0),
                 "another session");
}

}  // namespace

// Input: a line; or a command, as a record has it.
void dumped_line(ByteSpan input) {
  if (const auto command = statemachine::decode(input)) check_round_trip(*command);
  const auto line = app::parse_dumped_line(as_text(input));
  if (!line) {
    TAILRACE_CHECK(line.error().code == ErrorCode::kInvalidArgument ||
                       line.error().code == ErrorCode::kUnsupported,
                   "another error: " + line.error().message);
    return;
  }
  if (!line->operation) return;
  Command command;
  command.operation = *line->operation;
  command.key = as_bytes(line->key);
  command.value = as_bytes(line->value);
  command.expected = as_bytes(line->expected);
  command.delta = line->delta;
  command.expires_at_ns = line->expires_at_ns;
  if (statemachine::validate(command, size_t{1} << 20)) check_round_trip(command);
}

// Input: a byte; then, if that is even, the content of the file, else the file.
void last_failure(ByteSpan input) {
  if (input.empty()) return;
  testing::FaultFileSystem disk(1);
  const storage::Path path("/node/LAST-FAILURE");
  TAILRACE_CHECK(disk.make_directory("/node"), "the disk in memory refuses");
  if (static_cast<uint8_t>(input[0]) % 2 == 0) {
    const storage::AtomicFileFormat format{storage::four_letters("FAIL"), 1};
    TAILRACE_CHECK(storage::replace_atomic_file(disk, path, format, input.subspan(1)),
                   "the disk in memory refuses");
  } else {
    auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite, false});
    TAILRACE_CHECK(file && (*file)->write_at(0, input.subspan(1)), "the disk in memory refuses");
  }
  app::LastFailureFile file(disk, "/node");
  const auto found = file.read();
  if (!found) return;
  TAILRACE_CHECK(found->has_value(), "a file that is there is not");
  TAILRACE_CHECK(file.write(**found), "the disk refuses");
  const auto again = file.read();
  TAILRACE_CHECK(again && *again == *found, "LAST-FAILURE is not what was written");
}

}  // namespace tailrace::fuzz
