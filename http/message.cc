#include "http/message.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include <fmt/format.h>

namespace tailrace::http {
namespace {

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";  // clients go by the number
  }
}

/// "Sun, 06 Nov 1994 08:49:37 GMT", whatever the process's locale is.
std::string http_date(int64_t unix_time_s) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto time = static_cast<std::time_t>(unix_time_s);
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday,
                     kMonths[utc.tm_mon], 1900 + utc.tm_year, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

const std::string* Request::field(std::string_view name) const {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const Field& each) { return each.name == name; });
  return found == fields.end() ? nullptr : &found->value;
}

Response text_response(int status, std::string text) {
  Response response;
  response.status = status;
  response.body = std::make_shared<const std::string>(std::move(text));
  return response;
}

std::string response_head(const Response& response, unsigned minor_version, bool keep_alive,
                          int64_t unix_time_s) {
  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
                  response.status, reason_of(response.status), http_date(unix_time_s),
                  response.content_type, response.body ? response.body->size() : 0);
  for (const Field& field : response.fields)
    head += fmt::format("{}: {}\r\n", field.name, field.value);
  if (!keep_alive)
    head += "Connection: close\r\n";
  else if (minor_version == 0)
    head += "Connection: keep-alive\r\n";
  return head + "\r\n";
}

}  // namespace tailrace::http
