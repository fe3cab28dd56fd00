#include "observability/logging.h"

#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace tailrace::observability {

namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

// Never destroyed: threads may log while the process exits.
spdlog::logger& logger() {
  static auto* const instance = [] {
    auto* made =
        new spdlog::logger("tailrace", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc));
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

Counter& lines(LogLevel level) {
  static auto* const counters = new Counter[static_cast<size_t>(LogLevel::kOff) + 1];
  return counters[static_cast<size_t>(level)];
}

}  // namespace

const Counter& lines_logged(LogLevel level) {
  return lines(level);
}

bool parse_log_level(std::string_view text, LogLevel& level) {
  if (text == "debug") return level = LogLevel::kDebug, true;
  if (text == "info") return level = LogLevel::kInfo, true;
  if (text == "warning") return level = LogLevel::kWarning, true;
  if (text == "error") return level = LogLevel::kError, true;
  if (text == "off") return level = LogLevel::kOff, true;
  return false;
}

void set_log_level(LogLevel level) {
  logger().set_level(spdlog_level(level));
}

bool log_enabled(LogLevel level) {
  return level != LogLevel::kOff && logger().should_log(spdlog_level(level));
}

void write_log(LogLevel level, std::string_view line) {
  if (log_enabled(level)) lines(level).add();
  // As an argument, never as a format: lines may hold braces.
  logger().log(spdlog_level(level), "{}", line);
}

}  // namespace tailrace::observability
