#include "config/yaml_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <set>

#include "config/keys.h"
#include "core/host_port.h"
#include "core/nearest.h"

namespace tailrace::config {

namespace {

/// Splits "64 MiB" into 64 and "MiB".
std::optional<std::pair<uint64_t, std::string>> split_unit(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? unit.size()
                                                                 : unit.find_first_not_of(' '));
  return std::make_pair(value, unit);
}

std::optional<uint64_t> times(uint64_t value, uint64_t factor) {
  if (value != 0 && factor > UINT64_MAX / value) return std::nullopt;
  return value * factor;
}

}  // namespace

std::optional<uint64_t> parse_size(const std::string& text) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const auto& [value, unit] = *parts;
  if (unit.empty() || unit == "B") return value;
  if (unit == "KiB") return times(value, uint64_t{1} << 10);
  if (unit == "MiB") return times(value, uint64_t{1} << 20);
  if (unit == "GiB") return times(value, uint64_t{1} << 30);
  if (unit == "TiB") return times(value, uint64_t{1} << 40);
  return std::nullopt;
}

std::optional<std::chrono::milliseconds> parse_duration(const std::string& text) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const auto& [value, unit] = *parts;
  // A year is beyond any sensible setting, and far from overflow.
  constexpr uint64_t kMostMs = kMostDays * 24 * 3600 * 1000;
  std::optional<uint64_t> ms;
  if (unit == "ms") ms = value;
  if (unit == "s") ms = times(value, 1000);
  if (unit == "m") ms = times(value, 60'000);
  if (unit == "h") ms = times(value, 3'600'000);
  if (!ms || *ms > kMostMs) return std::nullopt;
  return std::chrono::milliseconds(*ms);
}

void ReadState::fail(const YAML::Node& at, const std::string& message) {
  if (error) return;
  const YAML::Mark mark = at.Mark();
  const std::string line = mark.is_null() ? "" : ":" + std::to_string(mark.line + 1);
  error = Error{ErrorCode::kInvalidArgument, file + line + ": " + message};
}

YamlReader::YamlReader(ReadState& state, const YAML::Node& node, std::string path)
    : state_(state), node_(node), path_(std::move(path)) {
  if (node_ && !node_.IsNull() && !node_.IsMap()) {
    state_.fail(node_,
                (path_.empty() ? "the file" : path_) + " must be a mapping of keys to values");
    node_ = YAML::Node();
  }
}

YAML::Node YamlReader::find(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  if (!node_ || !node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  // A const lookup does not add the key.
  const YAML::Node& map = node_;
  return map[key];
}

bool YamlReader::has(const std::string& key) {
  const YAML::Node found = find(key);
  return found && !found.IsNull();
}

std::optional<std::string> YamlReader::scalar(const std::string& key) {
  const YAML::Node found = find(key);
  if (!found) return std::nullopt;
  if (found.IsNull()) {
    fail(key, "has no value: give one, or leave the key out");
    return std::nullopt;
  }
  if (!found.IsScalar()) {
    state_.fail(found, full(key) + " must be a single value");
    return std::nullopt;
  }
  return found.Scalar();
}

void YamlReader::text(const std::string& key, std::string& into) {
  if (const auto value = scalar(key)) into = *value;
}

void YamlReader::texts(const std::string& key, std::vector<std::string>& into) {
  const YAML::Node found = find(key);
  if (!found || found.IsNull()) return;
  const auto is_scalar = [](const YAML::Node& each) { return each.IsScalar(); };
  if (!found.IsSequence() || !std::all_of(found.begin(), found.end(), is_scalar))
    return fail(key, "must be a list of values");
  into.clear();
  for (const YAML::Node& each : found)
    into.push_back(each.Scalar());
}

void YamlReader::flag(const std::string& key, bool& into) {
  const auto value = scalar(key);
  if (!value) return;
  if (*value != "true" && *value != "false") {
    return fail(key, "is '" + *value + "'; it must be true or false");
  }
  into = *value == "true";
}

void YamlReader::number(const std::string& key, uint64_t least, uint64_t most, uint64_t& into) {
  const auto value = scalar(key);
  if (!value) return;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (error != std::errc() || end != value->data() + value->size() || number < least ||
      number > most) {
    return fail(key, "is '" + *value + "'; it must be a whole number from " +
                         std::to_string(least) + " to " + std::to_string(most));
  }
  into = number;
}

void YamlReader::number(const std::string& key, uint32_t least, uint32_t most, uint32_t& into) {
  uint64_t value = into;
  number(key, uint64_t{least}, uint64_t{most}, value);
  into = static_cast<uint32_t>(value);
}

void YamlReader::fraction(const std::string& key, double& into) {
  const auto value = scalar(key);
  if (!value) return;
  double number = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (error != std::errc() || end != value->data() + value->size() ||
      !(number > 0 && number <= 1)) {
    return fail(key, "is '" + *value + "'; it must be a number above 0, at most 1");
  }
  into = number;
}

void YamlReader::size(const std::string& key, uint64_t least, uint64_t most, uint64_t& into) {
  const auto value = scalar(key);
  if (!value) return;
  const auto bytes = parse_size(*value);
  if (!bytes) {
    return fail(key,
                "is '" + *value + "'; it must be a size such as 4096, 64 KiB, 16 MiB or 1 GiB");
  }
  if (*bytes < least || *bytes > most) {
    return fail(key, "is " + *value + "; it must be from " + std::to_string(least) + " to " +
                         std::to_string(most) + " bytes");
  }
  into = *bytes;
}

void YamlReader::size(const std::string& key, uint32_t least, uint32_t most, uint32_t& into) {
  uint64_t value = into;
  size(key, uint64_t{least}, uint64_t{most}, value);
  into = static_cast<uint32_t>(value);
}

void YamlReader::power_of_two_size(const std::string& key, uint64_t least, uint64_t most,
                                   uint64_t& into) {
  uint64_t value = into;
  size(key, least, most, value);
  if (!std::has_single_bit(value)) {
    return fail(key, "is " + std::to_string(value) + "; it must be a power of two");
  }
  into = value;
}

void YamlReader::power_of_two_size(const std::string& key, uint32_t least, uint32_t most,
                                   uint32_t& into) {
  uint64_t value = into;
  power_of_two_size(key, uint64_t{least}, uint64_t{most}, value);
  into = static_cast<uint32_t>(value);
}

void YamlReader::duration(const std::string& key, std::chrono::milliseconds& into) {
  const auto value = scalar(key);
  if (!value) return;
  const auto duration = parse_duration(*value);
  if (!duration) {
    return fail(
        key, "is '" + *value +
                 "'; it must be a duration such as 250 ms, 10 s, 5 m or 1 h, of at most 366 days");
  }
  into = *duration;
}

void YamlReader::duration(const std::string& key, std::chrono::seconds& into) {
  std::chrono::milliseconds value = into;
  duration(key, value);
  if (value % std::chrono::seconds(1) != std::chrono::milliseconds(0)) {
    return fail(key, "is " + std::to_string(value.count()) + " ms; it must be whole seconds");
  }
  into = std::chrono::duration_cast<std::chrono::seconds>(value);
}

void YamlReader::endpoint(const std::string& key, std::string& into) {
  const auto value = scalar(key);
  if (!value) return;
  if (!parse_host_port(*value))
    return fail(key,
                "is '" + printable(*value) + "'; it must be HOST:PORT with a port from 0 to 65535");
  into = *value;
}

void YamlReader::reachable_endpoint(const std::string& key, const std::string& listen_key,
                                    std::string& into) {
  std::string text;
  endpoint(key, text);
  if (text.empty()) return;
  if (const auto parsed = parse_reachable(text); !parsed)
    return fail(key, parsed.error().message + "; give the address that others reach, and " +
                         listen_key + " where the node itself is to listen");
  into = text;
}

YamlReader YamlReader::mapping(const std::string& key) {
  const YAML::Node found = find(key);
  return YamlReader(state_, found ? found : YAML::Node(), full(key));
}

std::vector<YamlReader> YamlReader::sequence(const std::string& key) {
  std::vector<YamlReader> items;
  const YAML::Node found = find(key);
  if (!found || found.IsNull()) return items;
  if (!found.IsSequence()) {
    fail(key, "must be a list");
    return items;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    items.emplace_back(state_, found[i], full(key) + "[" + std::to_string(i) + "]");
  }
  return items;
}

void YamlReader::fail(const std::string& key, const std::string& message) {
  const std::string text = full(key) + " " + message;
  if (node_ && node_.IsMap())
    for (const auto& entry : node_) {
      if (!entry.first.IsScalar() || entry.first.Scalar() != key) continue;
      // The mark of a value that is left out is where the next key begins.
      return state_.fail(entry.second.IsNull() ? entry.first : entry.second, text);
    }
  state_.fail(node_, text);
}

namespace {

/// "replication.coordinator" as a file has it: "`coordinator:` of `replication:`".
std::string section_text(std::string section) {
  std::string text;
  for (size_t dot = 0; dot != std::string::npos;) {
    dot = section.rfind('.');
    text += (text.empty() ? "`" : " of `") + section.substr(dot == std::string::npos ? 0 : dot + 1);
    if (text.ends_with("[]")) text.resize(text.size() - 2);
    text += ":`";
    section.resize(dot == std::string::npos ? 0 : dot);
  }
  return text;
}

/// Where a key is valid that stands in the wrong place, or has its section's name before it. Empty:
/// the key is valid nowhere.
std::string right_place(const std::string& key, const std::string& path, const YAML::Node& value) {
  const size_t dot = key.rfind('.');
  const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
  const std::string head = dot == std::string::npos ? "" : key.substr(0, dot);
  std::string sections;
  for (const Key& one : keys()) {
    const bool is_head = one.section == head || one.section == path + "." + head;
    if (one.name != name || one.section.empty() || one.section == path) continue;
    if (!head.empty() && !is_head) continue;
    sections += (sections.empty() ? "" : " or ") + section_text(std::string(one.section));
  }
  if (sections.empty()) return {};
  const std::string text = value.IsScalar() ? " " + printable(value.Scalar()) : "";
  return "write `" + name + ":" + text + "` below " + sections;
}

}  // namespace

void YamlReader::finish() {
  if (!node_ || !node_.IsMap()) return;
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
    if (!seen.insert(key).second) {
      state_.fail(entry.first, full(key) + " is given twice");
    }
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::vector<std::string_view> known(known_.begin(), known_.end());
    const auto close = nearest(key, known);
    std::string message = "unknown key '" + full(key) + "'";
    const std::string place = right_place(key, path_, entry.second);
    if (key.find('.') != std::string::npos && !place.empty()) {
      message += "; " + place;
    } else if (close) {
      message += "; did you mean '" + std::string(*close) + "'?";
    } else if (!place.empty()) {
      message += "; " + place;
    } else {
      message += "; valid here:";
      for (const std::string& name : known_)
        message += " " + name;
    }
    state_.fail(entry.first, message);
  }
}

}  // namespace tailrace::config
