#include "observability/process_metrics.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include "observability/metric_table.h"
#include "observability/thread_times.h"

namespace tailrace::observability {

namespace {

double open_fds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return kNotKnown;  // short of descriptors
  double count = 0;
  while (const dirent* entry = readdir(directory))
    if (entry->d_name[0] != '.') ++count;
  closedir(directory);
  return count - 1;  // without the one that reads the directory
}

double max_fds() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kNotKnown;
  return static_cast<double>(limit.rlim_cur);
}

/// Seconds since 1970 at which this process started.
double start_time() {
  std::ifstream stat_file("/proc/self/stat");
  std::string line;
  std::getline(stat_file, line);
  // The program's name may hold spaces; what follows its closing bracket does not.
  const size_t bracket = line.rfind(')');
  if (bracket == std::string::npos) return 0;
  size_t at = bracket + 1;
  for (int field = 3; field < 22 && at != std::string::npos; ++field)
    at = line.find(' ', at + 1);
  if (at == std::string::npos) return 0;
  const double ticks = std::strtod(line.c_str() + at, nullptr);

  std::ifstream system_file("/proc/stat");
  std::string word;
  while (system_file >> word) {
    double boot = 0;
    if (word == "btime" && system_file >> boot)
      return boot + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return 0;
}

}  // namespace

double process_resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  if (!(file >> total_pages >> resident_pages)) return kNotKnown;  // short of descriptors
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double process_cpu_seconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void register_process_metrics(MetricRegistry& registry, MetricRegistry::Registration& to) {
  registry.add_gauge(to, observability::metric("process_resident_memory_bytes"), {},
                     process_resident_bytes);
  registry.add_counter(to, observability::metric("process_cpu_seconds_total"), {},
                       process_cpu_seconds);
  registry.add_gauge(to, observability::metric("process_open_fds"), {}, open_fds);
  registry.add_gauge(to, observability::metric("process_max_fds"), {}, max_fds);
  registry.add_gauge(to, observability::metric("process_start_time_seconds"), {},
                     [start = start_time()] { return start; });
}

void register_thread_metrics(MetricRegistry& registry, MetricRegistry::Registration& to) {
  const auto threads = std::make_shared<ThreadTimes>();
  const auto samples = [](const std::map<std::string, double>& values) {
    MetricRegistry::Samples result;
    for (const auto& [name, value] : values)
      result.push_back({{{"thread", name}}, value});
    return result;
  };
  registry.add_series(to, observability::metric("tailrace_threads"),
                      [threads, samples] { return samples(threads->look().running); });
  registry.add_series(to, observability::metric("tailrace_thread_cpu_seconds_total"),
                      [threads, samples] { return samples(threads->look().cpu_seconds); });
}

}  // namespace tailrace::observability
