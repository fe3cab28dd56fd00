#include "tests/statemachine/history/history.h"

#include <utility>

#include <fmt/format.h>

#include "fasterlog/format/record.h"
#include "statemachine/streams/stream_records.h"

namespace tailrace::statemachine::history {
namespace {

constexpr uint32_t kPageBytes = 256u << 10;
constexpr const char* kOutcomes[] = {
    "done",       "absent",          "mismatch",         "not an integer",
    "serial gap", "session expired", "answer forgotten", "a check failed"};

std::string in_words(const Answer& answer) {
  std::string text = kOutcomes[static_cast<size_t>(answer.outcome)];
  if (answer.withheld_bytes != 0) text += fmt::format(", {} bytes withheld", answer.withheld_bytes);
  if (answer.has_value && (answer.withheld_bytes == 0 || !answer.value.empty()))
    text += ", " + in_quotes(answer.value);
  else if (answer.has_value != (answer.withheld_bytes != 0))
    text += ", which is no answer";
  return text;
}

uint64_t number_at(const std::string& bytes, size_t at) {
  return load<uint64_t>(as_bytes(bytes).data() + at);
}

/// "1 2 3", or quoted where the bytes are no such numbers.
std::string as_numbers(const std::string& bytes) {
  if (bytes.empty() || bytes.size() % sizeof(uint64_t) != 0) return in_quotes(bytes);
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t))
    text += fmt::format("{}{}", at == 0 ? "" : " ", number_at(bytes, at));
  return text;
}

std::string name_of_key(const std::string& key) {
  if (key.front() == kUserKey) return "key " + in_quotes(key.substr(1));
  if (key.front() == kMachineKey) return key.substr(1);
  if (key.front() == kHeadKey) return "stream " + in_quotes(key.substr(1));
  if (key.front() == kPageKey || key.front() == kIdsKey || key.front() == kDroppedKey)
    return fmt::format("{} {}", key.front(), in_hex(key.substr(1)));
  const std::string id = fmt::format("{}/{}", number_at(key, 1), number_at(key, 9));
  if (key.front() == kSessionKey) return "session " + id;
  if (key.front() == kOnceKey) return "once " + id;
  return fmt::format("answer {} serial {}", id, number_at(key, 17));
}

std::string in_words(const std::string& key, const std::string& value) {
  const std::string name = name_of_key(key) + ": ";
  if (key.front() == kAnswerKey)
    return name +
           fmt::format("outcome {} flags {} ", static_cast<int>(value.at(0)),
                       static_cast<int>(value.at(1))) +
           in_quotes(value.substr(2));
  if (key == "mformat" || key == "mrules" || key.front() == kHeadKey) return name + in_hex(value);
  if (key.front() == kPageKey || key.front() == kIdsKey || key.front() == kOnceKey)
    return name + in_quotes(value);
  if (key.front() != kUserKey) return name + as_numbers(value);
  if (value.size() >= 9 && value[0] == 1)
    return name + in_quotes(value.substr(9)) + fmt::format(" until {}", number_at(value, 1));
  if (value.size() >= 9 && value[0] == 2)
    return name + in_quotes(value.substr(9)) + fmt::format(" of {}", number_at(value, 1));
  if (value.size() >= 17 && value[0] == 3)
    return name + in_quotes(value.substr(17)) +
           fmt::format(" until {} of {}", number_at(value, 1), number_at(value, 9));
  return name + (value.at(0) == 0 ? "" : "not plain: ") + in_quotes(value.substr(1));
}

}  // namespace

History::History() {
  open();
}

void History::open() {
  replica_.reset();
  log_.reset();
  disk_ = std::make_unique<testing::FaultFileSystem>(1);
  shown_.clear();
  epoch_ = Epoch{1};
  time_ns_ = 0;
  fasterlog::LogOptions log_options = small_log("/log");
  log_options.page_bytes = kPageBytes;
  log_options.segment_bytes = kPageBytes;
  auto log = fasterlog::Log::open(*disk_, log_options, clock_);
  ASSERT_TRUE(log) << log.error().message;
  log_ = std::move(*log);
  ASSERT_TRUE(log_->become_copy());
  kv::StoreOptions store_options = small_store("/kv");
  store_options.page_bytes = kPageBytes;
  store_options.memory_bytes = 4u << 20;
  StateMachineOptions options = quiet();
  // What holds until the log has rules.
  options.session_ttl = std::chrono::seconds(1000);
  options.session_answers = 3;
  auto replica = Replica::open(*disk_, *log_, store_options, options, clock_);
  ASSERT_TRUE(replica) << replica.error().message;
  replica_ = std::move(*replica);
  replica_->machine().start();
}

void History::begin_anew(const std::string& title) {
  open();
  page_ += fmt::format("{}==== {}: a new log\n", page_.empty() ? "" : "\n", title);
}

History::Batch History::lay_out(const std::vector<Written>& records) const {
  namespace log = fasterlog;
  Batch batch;
  const Address begin = log_->tail();
  const auto end = [&] { return begin + batch.bytes.size(); };
  const auto make_room = [&](uint64_t bytes) {
    const Address page_end{align_up(end().value + 1, kPageBytes)};
    if (end() + bytes > page_end) {
      const uint64_t left = page_end - end();
      batch.bytes.resize(batch.bytes.size() + left);
      log::write_page_padding(batch.bytes.data() + batch.bytes.size() - left, page_end - left,
                              page_end, epoch_);
    }
    batch.bytes.resize(batch.bytes.size() + bytes);
    return batch.bytes.data() + batch.bytes.size() - bytes;
  };
  for (const Written& record : records) {
    const uint64_t bytes = log::record_bytes(record.payload.size());
    std::byte* place = make_room(bytes);
    std::memcpy(place + log::kHeaderBytes, record.payload.data(), record.payload.size());
    batch.ranges.push_back({end() - bytes, end()});
    log::seal_record(place, batch.ranges.back().first, epoch_, record.kind,
                     static_cast<uint32_t>(record.payload.size()));
  }
  std::byte* mark = make_room(log::kLeastMarkBytes);
  log::write_commit_mark(mark, end() - log::kLeastMarkBytes, log::kLeastMarkBytes, epoch_,
                         {begin, time_ns_});
  batch.end = end();
  return batch;
}

bool History::append(const Batch& batch) {
  const auto taken = log_->try_append_raw(log_->tail(), batch.bytes);
  EXPECT_TRUE(taken) << taken.error().message;
  if (!taken) return false;
  const auto durable = log_->wait_durable(batch.end, soon());
  EXPECT_TRUE(durable) << durable.error().message;
  return durable.has_value();
}

void History::step(const std::string& why, const std::vector<Written>& records) {
  page_ += "\n# " + why + "\n";
  const Batch batch = lay_out(records);
  if (!append(batch)) return;
  const auto applied = replica_->apply_to(batch.end);
  ASSERT_TRUE(applied) << why << ": " << applied.error().message;
  show_answers(batch, records, batch.end);
  show_changes();
  show_digest();
}

void History::stops_at(const std::string& why, const std::vector<Written>& records) {
  page_ += "\n# " + why + "\n";
  const Batch batch = lay_out(records);
  if (!append(batch)) return;
  const auto applied = replica_->apply_to(batch.end);
  ASSERT_FALSE(applied) << why << ": it is applied";
  show_answers(batch, records, replica_->watermarks.applied());
  page_ += fmt::format("stops: {}\n", name_of(applied.error().code));
  show_digest();
  open();
}

void History::show_answers(const Batch& batch, const std::vector<Written>& records,
                           Address applied) {
  for (size_t i = 0; i < records.size(); ++i) {
    const AddressRange range = batch.ranges[i];
    if (range.end > applied) {
      page_ += fmt::format("{} {}\n", range.end.value, records[i].words);
      return;
    }
    const Answer answer = replica_->heard.at(range.first);
    page_ += fmt::format("{} {}: {}\n", range.end.value, records[i].words, in_words(answer));
    if (records[i].kind != RecordKind::kData) continue;
    operations_.insert(static_cast<uint8_t>(records[i].payload.at(0)));
    outcomes_.insert(answer.outcome);
  }
}

Pairs History::all_pairs() {
  Pairs pairs;
  const auto quiet = replica_->store().hold_compaction(true);
  const auto visited = replica_->store().for_each(
      [&](ByteSpan key, ByteSpan value) { pairs[to_string(key)] = to_string(value); });
  EXPECT_TRUE(visited) << visited.error().message;
  return pairs;
}

void History::show_changes() {
  Pairs pairs = all_pairs();
  for (const auto& [key, value] : pairs)
    // Every mark that moves it writes this one.
    if (key != "mlog_time" && (!shown_.contains(key) || shown_.at(key) != value))
      page_ += "  " + in_words(key, value) + "\n";
  for (const auto& [key, value] : shown_)
    if (!pairs.contains(key)) page_ += "  " + name_of_key(key) + " is gone\n";
  shown_ = std::move(pairs);
}

void History::show_digest() {
  const StateDigest digest = replica_->state_digest();
  page_ +=
      fmt::format("  at {} log time {}: {} pairs, digest {:016x} {:016x}\n", digest.address.value,
                  replica_->machine().log_time_ns(), digest.pairs, digest.high, digest.low);
}

}  // namespace tailrace::statemachine::history
