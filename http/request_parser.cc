#include "http/request_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace tailrace::http {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), to_lower);
  return result;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool is_token(std::string_view text) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'z') ||
           kSigns.find(c) != std::string_view::npos;
  });
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// The one value of a field; null when there is none, or more than one.
const std::string* only(const Request& request, std::string_view name) {
  const auto same = [&](const Field& each) { return each.name == name; };
  const auto count = std::count_if(request.fields.begin(), request.fields.end(), same);
  return count == 1 ? request.field(name) : nullptr;
}

/// Whether one of the comma-separated words of the fields `name` is `word`.
bool lists(const Request& request, std::string_view name, std::string_view word) {
  for (const Field& field : request.fields) {
    if (field.name != name) continue;
    std::string_view rest = field.value;
    for (;;) {
      const size_t comma = std::min(rest.find(','), rest.size());
      if (lower(trim(rest.substr(0, comma))) == word) return true;
      if (comma == rest.size()) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

}  // namespace

size_t RequestParser::feed(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && state_ == State::kIncomplete)
    take(bytes[taken++]);
  return taken;
}

void RequestParser::next() {
  *this = RequestParser(limits_);
}

void RequestParser::refuse(int status, std::string reason) {
  state_ = State::kRefused;
  status_ = status;
  reason_ = std::move(reason);
}

void RequestParser::take(char next) {
  if (++head_bytes_ > limits_.head_bytes)
    return refuse(431, fmt::format("a request's header has at most {} bytes", limits_.head_bytes));
  if (after_cr_) {
    after_cr_ = false;
    return next == '\n' ? end_line() : refuse(400, "CR without LF");
  }
  if (next == '\r') {
    after_cr_ = true;
    return;
  }
  if (is_control(next) && next != '\t')
    return refuse(400, fmt::format("control character {}", static_cast<unsigned char>(next)));
  line_ += next;
  if (request_.method.empty() && line_.size() > limits_.line_bytes)
    refuse(414, fmt::format("a request line has at most {} bytes", limits_.line_bytes));
}

void RequestParser::end_line() {
  if (request_.method.empty()) {
    // An empty line before a request is what some clients send behind the one before.
    if (!line_.empty()) take_request_line();
  } else if (!line_.empty()) {
    take_field();
  } else {
    end_head();
  }
  line_.clear();
}

void RequestParser::take_request_line() {
  const std::string_view line = line_;
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == last || !is_token(line.substr(0, first)))
    return refuse(400, "a request begins with: METHOD TARGET HTTP/1.1");
  const std::string_view version = line.substr(last + 1);
  const bool is_version = version.size() == 8 && version.starts_with("HTTP/") &&
                          is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
  if (!is_version) return refuse(400, "a request line ends with its version: HTTP/1.1");
  request_.method = line.substr(0, first);
  if (version[5] != '1') return refuse(505, "this server speaks HTTP/1.1 and HTTP/1.0");
  request_.minor_version = static_cast<unsigned>(version[7] - '0');
  take_target(line.substr(first + 1, last - first - 1));
}

void RequestParser::take_target(std::string_view target) {
  const auto is_foreign = [](unsigned char c) { return c <= ' ' || c >= 0x7f || c == '#'; };
  if (std::any_of(target.begin(), target.end(), is_foreign))
    return refuse(400, "a target holds characters that have to be encoded");
  constexpr std::string_view kScheme = "http://";
  if (lower(target.substr(0, kScheme.size())) == kScheme) {
    target.remove_prefix(kScheme.size());
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (!target.starts_with('/')) request_.path = "/";
  } else if (!target.starts_with('/') && !(target == "*" && request_.method == "OPTIONS")) {
    return refuse(400, "a target begins with a slash");
  }
  const size_t question = std::min(target.find('?'), target.size());
  request_.path += target.substr(0, question);
  if (question < target.size()) request_.query = target.substr(question + 1);
}

void RequestParser::take_field() {
  const std::string_view line = line_;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return refuse(400, "a header field is written as NAME: VALUE, on one line");
  if (request_.fields.size() == limits_.fields)
    return refuse(431, fmt::format("a request has at most {} header fields", limits_.fields));
  request_.fields.push_back(
      {lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1)))});
}

void RequestParser::end_head() {
  const std::string* const host = only(request_, "host");
  const bool no_host = request_.field("host") == nullptr;
  if ((no_host && request_.minor_version > 0) || (!no_host && host == nullptr))
    return refuse(400, "a request names its Host once");
  if (host != nullptr && host->find_first_of(" \t,/?#@\\") != std::string::npos)
    return refuse(400, "Host is not a name or an address");
  const std::string* const length = only(request_, "content-length");
  if (request_.field("content-length") != nullptr) {
    if (length == nullptr || length->empty() ||
        !std::all_of(length->begin(), length->end(), is_digit))
      return refuse(400, "Content-Length is one number");
  }
  if (request_.field("transfer-encoding") != nullptr) {
    if (length != nullptr || request_.minor_version == 0)
      return refuse(400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0");
    request_.has_body = true;
  }
  if (length != nullptr && length->find_first_not_of('0') != std::string::npos)
    request_.has_body = true;
  const bool close = lists(request_, "connection", "close");
  request_.keep_alive = !close && !request_.has_body &&
                        (request_.minor_version > 0 || lists(request_, "connection", "keep-alive"));
  state_ = State::kComplete;
}

}  // namespace tailrace::http
