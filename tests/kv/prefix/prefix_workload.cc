#include "tests/kv/prefix/prefix_workload.h"

#include <cctype>

namespace tailrace::kv {
namespace {

constexpr uint64_t kMostErrorsTold = 12;

/// Appends until it is long, then begins again with nothing.
Modification append(const std::string* present, const std::string& piece, size_t most,
                    std::string& next) {
  if (piece.empty()) return Modification::kKeep;
  if (present == nullptr) {
    next = piece;
    return Modification::kWrite;
  }
  if (present->size() + piece.size() > most) return Modification::kErase;
  next = *present + piece;
  return Modification::kWrite;
}

std::string readable(std::string_view text) {
  std::string out;
  for (const char letter : text.substr(0, 60))
    out += std::isprint(static_cast<unsigned char>(letter)) != 0 ? letter : '?';
  if (text.size() > 60) out += "...";
  return "'" + out + "' (" + std::to_string(text.size()) + " bytes)";
}

constexpr size_t kMostAppendedBytes = 400;

}  // namespace

Modification PrefixWrite::modify(uint64_t session, uint64_t sessions, const ByteSpan* present,
                                 std::string& next) const {
  if (kind == Kind::kAppend) {
    if (present == nullptr) return append(nullptr, value, kMostAppendedBytes, next);
    const std::string text = tailrace::to_string(*present);
    return append(&text, value, kMostAppendedBytes, next);
  }
  next.assign(sessions * 8, '\0');
  if (present != nullptr && present->size() == next.size()) {
    std::memcpy(next.data(), present->data(), next.size());
  }
  auto* at = reinterpret_cast<std::byte*>(next.data()) + (session - 1) * 8;
  store<uint64_t>(at, load<uint64_t>(at) + amount);
  return Modification::kWrite;
}

std::string SessionModel::key_of(uint64_t number) const {
  std::string key = "s" + std::to_string(session_) + "/" + std::to_string(number);
  if (number % 41 == 7) key.resize(240 + number % 32, 'k');  // around the longest narrow one
  if (number % 41 == 7) key += std::to_string(number);
  return key;
}

std::string SessionModel::any_key(Random& random) const {
  return key_of(random.below(shape_.keys));
}

std::string SessionModel::value_of(Random& random) const {
  std::string value = std::to_string(serial_) + ".";
  if (random.chance(1, 60)) return "";
  const uint64_t most = random.chance(1, 20) ? shape_.value_bytes * 10 : shape_.value_bytes;
  value.resize(std::max<uint64_t>(value.size(), random.below(most + 1)), 'v');
  return value;
}

void SessionModel::add_private_write(Random& random, std::string key) {
  PrefixWrite write;
  write.key = std::move(key);
  const auto present = pairs_.find(write.key);
  const bool is_present = present != pairs_.end();
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      write.kind = PrefixWrite::Kind::kUpsert;
      write.value = value_of(random);
      pairs_[write.key] = write.value;
      break;
    case 3:
      write.kind = PrefixWrite::Kind::kErase;
      write.done = is_present;
      if (is_present) pairs_.erase(present);
      break;
    case 4:
      write.kind = PrefixWrite::Kind::kInsert;
      write.value = value_of(random);
      write.done = !is_present;
      if (!is_present) pairs_[write.key] = write.value;
      break;
    case 5:
      write.kind = PrefixWrite::Kind::kSwap;
      write.value = value_of(random);
      write.expected = is_present && random.chance(3, 4) ? present->second : "another";
      write.done = is_present && present->second == write.expected;
      if (write.done) present->second = write.value;
      break;
    default: {
      write.kind = PrefixWrite::Kind::kAppend;
      if (random.chance(9, 10)) write.value = "+" + std::to_string(serial_);
      std::string next;
      const Modification decision =
          append(is_present ? &present->second : nullptr, write.value, kMostAppendedBytes, next);
      write.done = decision != Modification::kKeep;
      if (decision == Modification::kWrite) pairs_[write.key] = next;
      if (decision == Modification::kErase) pairs_.erase(present);
      break;
    }
  }
  writes_.push_back(std::move(write));
}

const std::vector<PrefixWrite>& SessionModel::advance() {
  ++serial_;
  writes_.clear();
  Random random(shape_.seed * 0x9e3779b97f4a7c15u + session_ * 1'000'003 + serial_ * 64);
  const uint64_t dice = random.below(10);
  if (dice < 5) {
    add_private_write(random, any_key(random));
  } else if (dice < 7) {
    // Two keys that are written together or not at all.
    const uint64_t number = random.below(shape_.keys);
    PrefixWrite write;
    write.key = key_of(number);
    write.value = value_of(random);
    pairs_[write.key] = write.value;
    writes_.push_back(write);
    write.key += "/twin";
    pairs_[write.key] = write.value;
    writes_.push_back(write);
  } else {
    for (uint64_t count = random.below(3); count > 0; --count)
      add_private_write(random, any_key(random));
    PrefixWrite write;
    write.kind = PrefixWrite::Kind::kAdd;
    const uint64_t number = random.below(shape_.shared_keys);
    write.key = shared_key(number);
    write.amount = 1 + random.below(1000);
    added_[number] += write.amount;
    writes_.push_back(std::move(write));
    if (random.chance(1, 3)) add_private_write(random, any_key(random));
  }
  return writes_;
}

std::vector<SessionModel> models_at(const PrefixShape& shape,
                                    const std::vector<SessionPoint>& points) {
  std::vector<SessionModel> models;
  for (uint64_t session = 1; session <= shape.sessions; ++session) {
    models.emplace_back(shape, session);
    for (const SessionPoint& point : points) {
      if (point.session == session) models.back().advance_to(point.point);
    }
  }
  return models;
}

PrefixCheck::PrefixCheck(const std::vector<SessionModel>& models) : models_(models) {
  if (models.empty()) return;
  std::vector<std::string> shared(models[0].added().size());
  std::vector<bool> is_there(shared.size());
  for (const SessionModel& model : models) {
    for (const auto& [key, value] : model.pairs())
      left_.emplace(key, &value);
    for (size_t number = 0; number < shared.size(); ++number) {
      const uint64_t sum = model.added()[number];
      shared[number].append(reinterpret_cast<const char*>(&sum), 8);
      is_there[number] = is_there[number] || sum != 0;
    }
  }
  for (size_t number = 0; number < shared.size(); ++number) {
    if (is_there[number]) shared_left_[SessionModel::shared_key(number)] = shared[number];
  }
}

void PrefixCheck::wrong(const std::string& what) {
  if (++errors_ <= kMostErrorsTold) told_ += "  " + what + "\n";
}

void PrefixCheck::pair(ByteSpan key_bytes, ByteSpan value) {
  ++pairs_;
  const std::string key = tailrace::to_string(key_bytes);
  if (const auto shared = shared_left_.find(key); shared != shared_left_.end()) {
    if (shared->second != as_text(value)) {
      std::string sums;
      for (size_t at = 0; at + 8 <= value.size(); at += 8) {
        sums += " " + std::to_string(load<uint64_t>(value.data() + at)) + " for " +
                std::to_string(load<uint64_t>(as_bytes(shared->second).data() + at));
      }
      wrong(key + " holds the sums" + sums);
    }
    shared_left_.erase(shared);
    return;
  }
  const auto known = left_.find(key);
  if (known == left_.end()) {
    wrong(readable(key) + " is there (twice, or should not be) with " + readable(as_text(value)));
    return;
  }
  if (*known->second != as_text(value)) {
    wrong(readable(key) + " is " + readable(as_text(value)) + " and should be " +
          readable(*known->second));
  }
  left_.erase(known);
}

std::string PrefixCheck::finish() {
  for (const auto& [key, value] : left_)
    wrong(readable(key) + " is missing; it should be " + readable(*value));
  for (const auto& [key, value] : shared_left_)
    wrong(key + " is missing");
  if (errors_ == 0) return "";
  std::string text = std::to_string(errors_) + " pairs are wrong, for the points";
  for (const SessionModel& model : models_)
    text += " " + std::to_string(model.session()) + ":" + std::to_string(model.serial());
  return text + "\n" + told_;
}

}  // namespace tailrace::kv
