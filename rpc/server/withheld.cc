#include "rpc/server/withheld.h"

#include <algorithm>

namespace tailrace::rpc {
namespace {

constexpr std::string_view kDataDirectory = "data_dir";
constexpr std::chrono::minutes kNoNewsFor{1};
constexpr size_t kMostKept = 64;  // in that time

/// Whether a word may end before it, and another begin behind it.
bool is_between_words(char letter) {
  return std::string_view(" \t\n'\"`(),;:=<>[]{}|").find(letter) != std::string_view::npos;
}

/// Where the word ends that has `at` in it.
size_t end_of_word(std::string_view text, size_t at) {
  return static_cast<size_t>(
      std::find_if(text.begin() + static_cast<ptrdiff_t>(at), text.end(), is_between_words) -
      text.begin());
}

/// Whether `text` begins with the directory, or with something in it.
bool is_in(std::string_view text, std::string_view directory) {
  if (directory.empty() || !text.starts_with(directory)) return false;
  const std::string_view behind = text.substr(directory.size());
  if (behind.starts_with('/')) return true;
  // What has no slash may be any word.
  return directory.find('/') != std::string_view::npos &&
         (behind.empty() || is_between_words(behind.front()));
}

}  // namespace

std::string without_folders(std::string_view message, std::string_view data_directory) {
  while (data_directory.ends_with('/'))
    data_directory.remove_suffix(1);
  std::string told;
  bool word_begins = true;
  for (size_t at = 0; at < message.size();) {
    const std::string_view rest = message.substr(at);
    if (word_begins && is_in(rest, data_directory)) {
      told += kDataDirectory;
      at += data_directory.size();
      // What is in it may be told, as far as its name goes.
      const size_t end = end_of_word(message, at);
      told += message.substr(at, end - at);
      at = end;
    } else if (word_begins && rest.front() == '/' && !rest.starts_with("//")) {
      const size_t end = end_of_word(message, at);
      const std::string_view path = message.substr(at, end - at);
      const size_t last = path.find_last_not_of('/');
      // A slash alone is none.
      if (last == std::string_view::npos) {
        told += path;
      } else {
        const std::string_view name = path.substr(0, last + 1);
        told += name.substr(name.rfind('/') + 1);
      }
      at = end;
    } else {
      told += rest.front();
      ++at;
    }
    word_begins = at > 0 && at < message.size() && is_between_words(message[at - 1]);
  }
  return told;
}

bool WithheldMessages::is_news(const std::string& message, SteadyTime now) {
  const MutexLock lock(mutex_);
  std::erase_if(logged_, [&](const auto& one) { return now - one.second >= kNoNewsFor; });
  // What clients can make it write is bounded.
  if (logged_.size() >= kMostKept) return false;
  return logged_.emplace(message, now).second;
}

}  // namespace tailrace::rpc
