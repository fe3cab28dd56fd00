#pragma once
// Reads one YAML mapping key by key, and remembers the first thing that is wrong with it. Private
// to config/.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "core/result.h"

namespace tailrace::config {

/// "64 MiB", "64MiB", "4096": bytes. Nothing when the text is no size.
std::optional<uint64_t> parse_size(const std::string& text);
/// The longest duration that a file can say.
inline constexpr uint64_t kMostDays = 366;
/// "250 ms", "10s", "5 m", "1h": a duration. A number without a unit is refused.
std::optional<std::chrono::milliseconds> parse_duration(const std::string& text);

/// Where errors are collected while one file is read: the first one stays.
struct ReadState {
  std::string file;
  std::optional<Error> error;

  void fail(const YAML::Node& at, const std::string& message);
};

class YamlReader {
 public:
  /// `path` is the mapping's name in messages ("replication.coordinator"), empty at the top.
  YamlReader(ReadState& state, const YAML::Node& node, std::string path);

  bool has(const std::string& key);
  /// Absent keys leave `into` as it is.
  void text(const std::string& key, std::string& into);
  /// A list of texts.
  void texts(const std::string& key, std::vector<std::string>& into);
  void flag(const std::string& key, bool& into);
  void number(const std::string& key, uint64_t least, uint64_t most, uint64_t& into);
  void number(const std::string& key, uint32_t least, uint32_t most, uint32_t& into);
  void fraction(const std::string& key, double& into);
  void size(const std::string& key, uint64_t least, uint64_t most, uint64_t& into);
  void size(const std::string& key, uint32_t least, uint32_t most, uint32_t& into);
  void power_of_two_size(const std::string& key, uint32_t least, uint32_t most, uint32_t& into);
  void power_of_two_size(const std::string& key, uint64_t least, uint64_t most, uint64_t& into);
  void duration(const std::string& key, std::chrono::milliseconds& into);
  void duration(const std::string& key, std::chrono::seconds& into);
  /// "HOST:PORT" to listen on.
  void endpoint(const std::string& key, std::string& into);
  /// One that others are told; `listen_key` is where the error says that one listens elsewhere.
  void reachable_endpoint(const std::string& key, const std::string& listen_key, std::string& into);
  /// The mapping under `key`; an empty one when absent.
  YamlReader mapping(const std::string& key);
  /// The sequence of mappings under `key`.
  std::vector<YamlReader> sequence(const std::string& key);

  /// The key's name in messages.
  std::string full(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  /// A complaint about the value of `key`.
  void fail(const std::string& key, const std::string& message);
  /// To be called last: complains about keys that nobody asked for.
  void finish();

 private:
  YAML::Node find(const std::string& key);
  std::optional<std::string> scalar(const std::string& key);

  ReadState& state_;
  YAML::Node node_;
  std::string path_;
  std::vector<std::string> known_;
};

}  // namespace tailrace::config
