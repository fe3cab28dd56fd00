#pragma once

#include <utility>

#include <unistd.h>

namespace tailrace::net {

/// Owns a file descriptor; -1: none. One thread.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number() const { return number_; }
  void close() {
    if (number_ >= 0) (void)::close(std::exchange(number_, -1));
  }

 private:
  int number_;
};

}  // namespace tailrace::net
