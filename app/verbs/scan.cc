// `tailrace scan`: the pairs whose keys have a prefix, as they were at one address.

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "json/json_line.h"

namespace tailrace::app {

namespace {

// What is shown sorted; more is shown as it comes.
constexpr size_t kMostSortedBytes = size_t{64} << 20;
// What a pair costs besides its bytes.
constexpr size_t kPairBytes = 96;

struct ScanVerbOptions {
  ClientFlags client;
  std::string prefix;
  std::string read = "linearizable";
  uint64_t limit = 0;
  bool json = false, keys_only = false, count = false;
};

/// Pairs that are held back, in order to be shown sorted by key. Their bytes stand one behind the
/// other in pieces that stay where they are: a pair has no memory of its own, and none is moved.
class HeldPairs {
 public:
  void add(std::string_view key, std::string_view value) {
    const size_t bytes = key.size() + value.size();
    if (left_ < bytes || pieces_.empty()) {
      left_ = std::max(bytes, kPieceBytes);
      pieces_.push_back(std::make_unique_for_overwrite<char[]>(left_));
      free_ = pieces_.back().get();
    }
    places_.push_back({sort_prefix(key), free_, key.size(), value.size()});
    free_ = std::copy(key.begin(), key.end(), free_);
    free_ = std::copy(value.begin(), value.end(), free_);
    left_ -= bytes;
  }
  size_t size() const { return places_.size(); }

  /// In the order of the keys; then nothing is held.
  template <typename Visit>
  void hand_out(const Visit& visit) {
    std::sort(places_.begin(), places_.end(), [](const Place& left, const Place& right) {
      if (left.prefix != right.prefix) return left.prefix < right.prefix;
      return left.key() < right.key();
    });
    for (const Place& place : places_)
      visit(place.key(), place.value());
    *this = {};
  }

 private:
  static constexpr size_t kPieceBytes = size_t{1} << 20;

  struct Place {
    uint64_t prefix;  // of the key, in the order of keys: most comparisons end with it
    const char* bytes;
    size_t key_bytes, value_bytes;

    std::string_view key() const { return {bytes, key_bytes}; }
    std::string_view value() const { return {bytes + key_bytes, value_bytes}; }
  };

  static uint64_t sort_prefix(std::string_view key) {
    uint64_t prefix = 0;
    std::memcpy(&prefix, key.data(), std::min(key.size(), sizeof prefix));
    return __builtin_bswap64(prefix);
  }

  std::vector<Place> places_;
  std::vector<std::unique_ptr<char[]>> pieces_;
  char* free_ = nullptr;  // in the last piece
  size_t left_ = 0;       // there
};

/// Prints the pairs: sorted by key as long as they fit in memory, then as they come.
class Pairs {
 public:
  explicit Pairs(const ScanVerbOptions& options) : options_(options) {}

  void take(ByteSpan key, ByteSpan value) {
    if (options_.count) return;
    if (!sorted_) return print(as_text(key), as_text(value));
    const std::string_view kept = options_.keys_only ? std::string_view() : as_text(value);
    held_.add(as_text(key), kept);
    bytes_ += key.size() + kept.size() + kPairBytes;
    if (bytes_ <= kMostSortedBytes) return;
    const size_t held = held_.size();
    finish();
    sorted_ = false;
    print_error(
        "tailrace: only the first {} pairs are sorted: more than {} MiB are not kept in "
        "memory\n",
        held, kMostSortedBytes >> 20);
  }

  /// Prints what is held back.
  void finish() {
    held_.hand_out([this](std::string_view key, std::string_view value) { print(key, value); });
  }

  bool sorted() const { return sorted_; }

 private:
  void print(std::string_view key, std::string_view value) {
    if (options_.json) {
      line_.text("key", key);
      if (!options_.keys_only) line_.text("value", value);
      write_out(line_.end());
      return;
    }
    write_out(key);
    if (!options_.keys_only) {
      write_out("\t");
      write_out(value);
    }
    write_out("\n");
  }

  const ScanVerbOptions& options_;
  HeldPairs held_;
  JsonLine line_;
  size_t bytes_ = 0;
  bool sorted_ = true;
};

int scan(const ScanVerbOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  gather_output();
  Pairs pairs(options);
  const auto visit = [&](ByteSpan key, ByteSpan value) {
    pairs.take(key, value);
    return !output_fails();
  };
  const auto end = (*client)->scan(as_bytes(options.prefix), {*level, options.limit}, visit);
  pairs.finish();
  if (end && options.count && !options.json) print_out("{}\n", end->pairs);
  if (end && options.json) {
    JsonLine line;
    line.number("address", end->address.value);
    line.number("epoch", end->epoch.value);
    line.number("pairs", end->pairs);
    line.flag("complete", end->complete);
    line.flag("sorted", pairs.sorted());
    write_out(line.end());
  }
  const auto flushed = flush_output();
  if (!end) return report_answer(end.error());
  if (!flushed) return report(flushed.error());
  if (!options.json && !options.count) {
    print_error("tailrace: {} pairs{} at address {} of epoch {}\n", end->pairs,
                end->complete ? "" : ", and there may be more,", end->address.value,
                end->epoch.value);
  }
  return end->pairs > 0 ? kDone : kNegative;
}

}  // namespace

void add_scan_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "scan",
      "Prints the pairs whose keys begin with PREFIX, exactly as they were at one address, sorted "
      "by "
      "key (when there is more than 64 MiB of them, the first 64 MiB). Exit code 1 when there are "
      "none");
  const auto options = std::make_shared<ScanVerbOptions>();
  verb->add_option("PREFIX", options->prefix, "What the keys begin with; '' shows all pairs")
      ->required();
  whole_number(verb->add_option("-n,--limit", options->limit,
                                "At most so many pairs, whichever come first; 0: all"),
               0, UINT64_MAX)
      ->capture_default_str();
  verb->add_flag("--keys-only", options->keys_only, "Prints the keys, one a line, without values");
  verb->add_flag("--count", options->count, "Prints how many pairs there are, and none of them");
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag(
      "--json", options->json,
      "One object a pair and line, and a last one with address, epoch, pairs, complete and "
      "sorted");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = scan(*options); });
}

}  // namespace tailrace::app
