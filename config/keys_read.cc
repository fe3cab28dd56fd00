// From the table: reading a section, and the page that documents it.

#include <algorithm>
#include <sstream>

#include <fmt/format.h>
#include <xxhash.h>

#include "config/keys.h"
#include "config/yaml_reader.h"
#include "core/check.h"

namespace tailrace::config {

namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

/// The number with the greatest unit that divides it.
std::string in_units(uint64_t number, std::initializer_list<std::pair<uint64_t, const char*>> units,
                     const char* least) {
  for (const auto& [factor, unit] : units)
    if (number != 0 && number % factor == 0) return std::to_string(number / factor) + " " + unit;
  return std::to_string(number) + (*least != '\0' ? " " : "") + least;
}

std::string size_text(uint64_t bytes) {
  return in_units(
      bytes, {{1ull << 40, "TiB"}, {1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}},
      "");
}

std::vector<std::string> words_of(const Key& key) {
  std::vector<std::string> words;
  std::istringstream stream{std::string(key.words)};
  for (std::string word; stream >> word;)
    words.push_back(word);
  return words;
}

void read_choice(YamlReader& reader, const Key& key, uint8_t& into) {
  const std::string name(key.name);
  std::string chosen;
  reader.text(name, chosen);
  if (!reader.has(name)) return;
  const std::vector<std::string> words = words_of(key);
  const auto found = std::find(words.begin(), words.end(), chosen);
  if (found != words.end()) {
    into = static_cast<uint8_t>(key.least + static_cast<uint64_t>(found - words.begin()));
    return;
  }
  std::string all = words[0];
  for (size_t i = 1; i < words.size(); ++i)
    all += (i + 1 == words.size() ? " or " : ", ") + words[i];
  reader.fail(name, "is '" + chosen + "'; it must be " + all);
}

/// Of a time: "at least 1 s and at most 8784 h".
std::string bounds_of(const Key& key) {
  return std::string(key.form == Form::kTimeOrNever ? "0 s (never), or " : "") + "at least " +
         time_text(key.least) + " and at most " + time_text(key.most);
}

template <typename Duration>
void read_time(YamlReader& reader, const Key& key, Duration& into) {
  const std::string name(key.name);
  reader.duration(name, into);
  const auto ms = static_cast<uint64_t>(std::chrono::milliseconds(into).count());
  const bool is_never = key.form == Form::kTimeOrNever && ms == 0;
  if (!reader.has(name) || is_never || (ms >= key.least && ms <= key.most)) return;
  reader.fail(name, "is " + time_text(ms) + "; it must be " + bounds_of(key));
}

template <typename Integer>
void read_integer(YamlReader& reader, const Key& key, Integer& into) {
  const std::string name(key.name);
  const auto least = static_cast<Integer>(key.least), most = static_cast<Integer>(key.most);
  if (key.form == Form::kNumber)
    reader.number(name, least, most, into);
  else if (key.form == Form::kPowerOfTwo)
    reader.power_of_two_size(name, least, most, into);
  else
    reader.size(name, least, most, into);
}

void read(YamlReader& reader, const Key& key, NodeConfig& config) {
  const std::string name(key.name);
  std::visit(Overloaded{[&](bool* into) { reader.flag(name, *into); },
                        [&](uint32_t* into) { read_integer(reader, key, *into); },
                        [&](uint64_t* into) { read_integer(reader, key, *into); },
                        [&](double* into) { reader.fraction(name, *into); },
                        [&](std::string* into) {
                          if (key.form == Form::kAddress)
                            reader.endpoint(name, *into);
                          else
                            reader.text(name, *into);
                        },
                        [&](std::vector<std::string>* into) { reader.texts(name, *into); },
                        [&](std::chrono::milliseconds* into) { read_time(reader, key, *into); },
                        [&](std::chrono::seconds* into) { read_time(reader, key, *into); },
                        [&](uint8_t* into) { read_choice(reader, key, *into); }},
             key.target(config));
}

// ---- The page. ---------------------------------------------------------------------------------

std::string number_text(const Key& key, uint64_t value) {
  if (key.form == Form::kNumber) return std::to_string(value);
  // Sizes of a table are counts, not bytes.
  return key.name == "index_buckets" ? std::to_string(value) : size_text(value);
}

std::string value_text(const Key& key, NodeConfig& config) {
  return std::visit(
      Overloaded{[&](const bool* of) { return std::string(*of ? "true" : "false"); },
                 [&](const uint32_t* of) { return number_text(key, *of); },
                 [&](const uint64_t* of) { return number_text(key, *of); },
                 [&](const double* of) {
                   std::ostringstream text;
                   text << *of;
                   return text.str();
                 },
                 [&](const std::string* of) { return *of; },
                 [&](const std::vector<std::string>* of) {
                   std::string all;
                   for (const std::string& each : *of)
                     all += (all.empty() ? "" : ", ") + each;
                   return all.empty() ? std::string("none") : all;
                 },
                 [&](const std::chrono::milliseconds* of) {
                   return time_text(static_cast<uint64_t>(of->count()));
                 },
                 [&](const std::chrono::seconds* of) {
                   return time_text(static_cast<uint64_t>(of->count()) * 1000);
                 },
                 [&](const uint8_t* of) { return words_of(key).at(*of - key.least); }},
      key.target(config));
}

std::string default_of(const Key& key, NodeConfig& config) {
  if (!key.otherwise.empty()) return std::string(key.otherwise);
  TAILRACE_CHECK(key.target != nullptr, "a key that the table does not read says its default");
  return value_text(key, config);
}

/// What nodes of one cluster may well have differently.
bool is_of_one_node(const Key& key) {
  if (key.form == Form::kAddress) return true;
  for (const std::string_view name : {"node", "data_dir", "log_level", "io", "huge_pages",
                                      "recovery_threads", "io_threads", "old_names"})
    if (key.name == name) return true;
  return false;
}

std::string range_of(const Key& key) {
  switch (key.form) {
    case Form::kText:
      return "text";
    case Form::kTexts:
      return "list of texts";
    case Form::kFlag:
      return "true, false";
    case Form::kFraction:
      return "above 0, at most 1";
    case Form::kAddress:
      return "HOST:PORT";
    case Form::kNumber:
      if (key.most == UINT32_MAX) return "number from " + std::to_string(key.least);
      return std::to_string(key.least) + " to " + std::to_string(key.most);
    case Form::kSize:
      return "size, " + size_text(key.least) + " to " + size_text(key.most);
    case Form::kPowerOfTwo:
      return "power of two, " + number_text(key, key.least) + " to " + number_text(key, key.most);
    case Form::kTime:
      return "time, " + time_text(key.least) + " to " + time_text(key.most);
    case Form::kTimeOrNever:
      return "time, 0 s or " + time_text(key.least) + " to " + time_text(key.most);
    case Form::kChoice: {
      std::string all;
      for (const std::string& word : words_of(key))
        all += (all.empty() ? "" : ", ") + word;
      return all;
    }
  }
  return "";
}

}  // namespace

std::string time_text(uint64_t ms) {
  if (ms == 0) return "0 s";
  return in_units(ms, {{3'600'000, "h"}, {60'000, "m"}, {1000, "s"}}, "ms");
}

void read_section(YamlReader& reader, std::string_view section, NodeConfig& config) {
  for (const Key& key : keys())
    if (key.section == section && key.target != nullptr) read(reader, key, config);
}

std::string shared_digest(const NodeConfig& config) {
  NodeConfig copy = config;
  std::string text;
  for (const Key& key : keys())
    if (key.target != nullptr && !is_of_one_node(key))
      text += std::string(key.section) + "." + std::string(key.name) + "=" + value_text(key, copy) +
              "\n";
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string reference_page() {
  std::string page =
      "# Configuration\n\n"
      "A node reads one YAML file at its start: `tailrace serve --config FILE`; `--check` reads it "
      "and\n"
      "says what is wrong, without starting. Every key is here. Another one is refused, with the\n"
      "nearest valid one. A change takes a restart of the node.\n\n"
      "Sizes are bytes, or have KiB, MiB, GiB or TiB; times have ms, s, m or h. `config/examples/` "
      "has\n"
      "whole files.\n\n"
      "<!-- Written by tests/config/reference_test.cc from config/keys.cc. -->\n";
  NodeConfig config;
  std::string_view section = "none";
  for (const Key& key : keys()) {
    if (key.section != section) {
      section = key.section;
      page += section.empty() ? "\n## The node\n" : "\n## `" + std::string(section) + "`\n";
      page += "\n| key | default | value | what it does |\n|---|---|---|---|\n";
    }
    page += "| `" + std::string(key.name) + "` | " + default_of(key, config) + " | " +
            range_of(key) + " | " + std::string(key.sentence) + " |\n";
  }
  return page;
}

}  // namespace tailrace::config
