#include "observability/thread_times.h"

#include <cstdlib>
#include <fstream>
#include <utility>

#include <dirent.h>
#include <unistd.h>

namespace tailrace::observability {

namespace {

constexpr std::chrono::milliseconds kMoment{50};

}  // namespace

std::pair<std::string, double> parse_thread_stat(const std::string& line, double ticks,
                                                 bool is_main) {
  // "12 (name) S ...": the name may hold brackets and spaces; user and system time are the 12th and
  // 13th number behind it.
  const size_t open = line.find('('), close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  std::string name = line.substr(open + 1, close - open - 1);
  if (name.starts_with("iou-")) name = "io_uring";
  if (is_main) name = "main";
  size_t at = close + 1;
  for (int field = 0; field < 11 && at != std::string::npos; ++field)
    at = line.find(' ', at + 1);
  if (at == std::string::npos) return {};
  char* end = nullptr;
  const double user = std::strtod(line.c_str() + at, &end);
  const double system = std::strtod(end, nullptr);
  return {std::move(name), (user + system) / ticks};
}

ThreadTimes::Times ThreadTimes::look() {
  const MutexLock lock(mutex_);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - looked_ > kMoment) {
    read();
    looked_ = now;
  }
  return times_;
}

void ThreadTimes::read() {
  DIR* directory = ::opendir("/proc/self/task");
  if (directory == nullptr) return;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const int main = ::getpid();
  std::map<int, Thread> now;
  times_.running.clear();
  while (const dirent* entry = ::readdir(directory)) {
    const int number = std::atoi(entry->d_name);
    if (number <= 0) continue;
    std::ifstream file("/proc/self/task/" + std::string(entry->d_name) + "/stat");
    std::string line;
    std::getline(file, line);
    if (!file.is_open() && seen_.contains(number)) {  // short of descriptors
      now[number] = seen_.at(number);
      times_.running[now[number].name] += 1;
      continue;
    }
    auto [name, cpu_seconds] = parse_thread_stat(line, ticks, number == main);
    if (name.empty()) continue;  // it has just ended
    times_.running[name] += 1;
    // What a thread that has ended has taken stays counted; a number may come again, with less.
    const auto before = seen_.find(number);
    const bool known = before != seen_.end() && before->second.name == name &&
                       before->second.cpu_seconds <= cpu_seconds;
    times_.cpu_seconds[name] += cpu_seconds - (known ? before->second.cpu_seconds : 0);
    now[number] = {std::move(name), cpu_seconds};
  }
  ::closedir(directory);
  seen_ = std::move(now);
}

}  // namespace tailrace::observability
