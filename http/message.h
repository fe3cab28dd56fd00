#pragma once
// Requests and responses of HTTP/1.1, as a handler sees them.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tailrace::http {

struct Field {
  std::string name, value;
};

/// Checked: the method is a token, the path begins with a slash (or is "*"), no text holds a
/// control character except a tab in a field's value.
struct Request {
  std::string method;         // as it was sent: "GET"
  std::string path;           // as it was sent, nothing decoded: "/metrics"
  std::string query;          // what follows the question mark
  std::vector<Field> fields;  // names in lower case, in the order sent
  unsigned minor_version = 1;
  bool keep_alive = true;  // the other side may ask again on the same connection
  bool has_body = false;   // which is not read: the connection ends with the response

  /// The value of the first field of that name (in lower case), or null.
  const std::string* field(std::string_view name) const;
};

inline constexpr const char* kPlainText = "text/plain; charset=utf-8";

/// Not for a status that has no body (1xx, 204, 304): there is always a Content-Length.
struct Response {
  int status = 200;
  std::string content_type = kPlainText;
  /// Shared by all who get the same bytes; null: empty. Left out where the request was a HEAD.
  std::shared_ptr<const std::string> body;
  /// Further header fields: tokens, and values without a line end.
  std::vector<Field> fields;
};

Response text_response(int status, std::string text);

/// Status line and header, with Date, Content-Length and what a client has to know about the
/// connection. `unix_time_s`: seconds since 1970 UTC.
std::string response_head(const Response& response, unsigned minor_version, bool keep_alive,
                          int64_t unix_time_s);

}  // namespace tailrace::http
