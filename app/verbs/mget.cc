// `tailrace mget`: several keys as they are at one address.

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "json/json_writer.h"

namespace tailrace::app {

namespace {

struct MgetOptions {
  ClientFlags client;
  std::vector<std::string> keys;
  std::string read = "linearizable";
  bool json = false;
};

void print_values(const MgetOptions& options, const rpc::MgetAnswer& answer) {
  std::string line;
  JsonWriter to(line);
  to.begin_object().name("values").begin_array();
  for (size_t i = 0; i < answer.values.size(); ++i) {
    const rpc::KeyAnswer& key = answer.values[i];
    to.begin_object().bytes("key", options.keys[i]);
    to.name("found").flag(key.found);
    if (key.found) to.bytes("value", key.value);
    if (key.modified_at != 0) to.name("modified_at").number(key.modified_at);
    to.end_object();
  }
  to.end_array();
  to.name("epoch").number(answer.epoch.value);
  to.name("applied").number(answer.applied.value);
  to.name("staleness_bound_ms");
  if (answer.staleness_bound_ms == std::numeric_limits<uint64_t>::max())
    to.json("null");
  else
    to.number(answer.staleness_bound_ms);
  to.end_object();
  write_out(line + "\n");
}

int get_several(const MgetOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  std::vector<ByteSpan> keys;
  for (const std::string& key : options.keys)
    keys.push_back(as_bytes(key));
  const auto answer = (*client)->mget(keys, *level);
  if (!answer) return report_answer(answer.error());
  if (answer->values.size() != keys.size())
    return report_answer(Error{ErrorCode::kUnsupported, "the server answered for other keys"});
  bool all = true;
  for (size_t i = 0; i < keys.size(); ++i) {
    const rpc::KeyAnswer& key = answer->values[i];
    all &= key.found;
    if (options.json) continue;
    if (key.found)
      write_out(options.keys[i] + "\t" + key.value + "\n");
    else
      print_error("tailrace: no key '{}' at address {} of epoch {}\n", printable(options.keys[i]),
                  answer->applied.value, answer->epoch.value);
  }
  if (options.json) print_values(options, *answer);
  const auto flushed = flush_output();
  if (!flushed) return report(flushed.error());
  return all ? kDone : kNegative;
}

}  // namespace

void add_mget_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "mget",
      "Prints the values of several keys, all as they are at one address: KEY, tab, VALUE. Exit "
      "code 1 when one is absent");
  const auto options = std::make_shared<MgetOptions>();
  verb->add_option("KEY", options->keys, "The keys, 1 to 1024 of them")->required();
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag("--json", options->json,
                 "One object: values (key, found, value, modified_at), and of the state that was "
                 "read its epoch, its applied address and staleness_bound_ms");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = get_several(*options); });
}

}  // namespace tailrace::app
