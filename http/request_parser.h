#pragma once
// Bytes of a connection into requests, by the strict grammar of RFC 9110 and 9112.
//
// What differs between two readings of the same bytes is refused, never repaired: a lone CR or LF,
// a folded line, a space before a colon, two lengths, a length beside a transfer coding, two hosts.
// The library http-parser lets most of these pass, as Debian builds it. A body is not parsed:
// what follows the head of such a request cannot be read.

#include <cstddef>
#include <string>
#include <string_view>

#include "http/message.h"

namespace tailrace::http {

/// What a request may cost. Each is refused when it is passed, with the status that says so.
struct RequestLimits {
  size_t line_bytes = 8u << 10;   // of the request line (414)
  size_t head_bytes = 16u << 10;  // of the request line and all header fields (431)
  size_t fields = 100;            // header fields (431)
};

/// Not thread-safe. Its memory is a small multiple of head_bytes, whatever it is fed.
class RequestParser {
 public:
  enum class State { kIncomplete, kComplete, kRefused };

  explicit RequestParser(RequestLimits limits) : limits_(limits) {}

  /// Takes bytes up to the end of one request, however they are cut into pieces, and returns how
  /// many. Takes none once the request is complete or refused.
  size_t feed(std::string_view bytes);
  /// Forgets the request; the next byte begins another.
  void next();

  State state() const { return state_; }
  /// Whether a byte of the request has come.
  bool begun() const { return head_bytes_ > 0; }
  /// Whole once complete. When refused, the method is there if the request line was good.
  const Request& request() const { return request_; }
  /// Why it is refused: a status from 400 on, and what is wrong in words. Nothing that follows on
  /// the connection can be understood.
  int status() const { return status_; }
  const std::string& reason() const { return reason_; }

 private:
  void take(char next);
  void end_line();
  void take_request_line();
  void take_target(std::string_view target);
  void take_field();
  void end_head();
  void refuse(int status, std::string reason);

  RequestLimits limits_;
  State state_ = State::kIncomplete;
  Request request_;
  std::string line_;       // without its end
  size_t head_bytes_ = 0;  // of the request so far
  bool after_cr_ = false;
  int status_ = 0;
  std::string reason_;
};

}  // namespace tailrace::http
