// The terminal of `tailrace top`, as a pseudo terminal of a child process.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/top/terminal.h"

namespace tailrace::app::top {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kEnded = 7, kGone = 8, kNoTerminal = 9;
constexpr std::chrono::seconds kPatience{20};

/// Draws one screen after the other until a signal ends it.
int draw_on() {
  auto terminal = Terminal::open();
  if (!terminal) return kNoTerminal;
  int ready[2];
  if (::pipe(ready) != 0 || ::write(ready[1], "x", 1) != 1) return kNoTerminal;
  const Lines lines(24, Line(std::string(80, 'x')));
  for (;;) {
    if (!(*terminal)->draw(lines)) return kGone;
    if ((*terminal)->wait(ready[0]).kind == Terminal::Event::Kind::kEnd) return kEnded;
  }
}

/// A child that draws on a pseudo terminal, and the other end of that.
class Child {
 public:
  explicit Child(int flags) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) return;
    const std::string name = ::ptsname(master_);
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int slave = ::open(name.c_str(), O_RDWR | O_NOCTTY | flags);
    ::dup2(slave, STDIN_FILENO);
    ::dup2(slave, STDOUT_FILENO);
    ::_exit(draw_on());
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool is_there() const { return pid_ > 0; }
  void signal(int number) const { ::kill(pid_, number); }
  /// So many bytes of what it draws, or fewer when it has ended.
  size_t read(size_t most) const {
    size_t got = 0;
    char bytes[4096];
    while (got < most) {
      const ssize_t some = ::read(master_, bytes, sizeof bytes);
      if (some <= 0) break;
      got += static_cast<size_t>(some);
    }
    return got;
  }
  /// Its exit code; -1: it does not end.
  int wait() {
    const auto until = SteadyClock::now() + kPatience;
    while (SteadyClock::now() < until) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return -1;
  }

 private:
  int master_ = -1;
  pid_t pid_ = -1;
};

// Promise: a terminal that nobody reads (a hung ssh) does not keep a signal from ending it.
TEST(TopTerminal, ASignalEndsItWhereNobodyReads) {
  for (const int flags : {0, O_NONBLOCK}) {
    Child child(flags);
    if (!child.is_there()) GTEST_SKIP() << "there are no pseudo terminals here";
    EXPECT_GT(child.read(1000), 0u);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // until it takes no more
    child.signal(SIGTERM);
    EXPECT_EQ(child.wait(), kEnded) << flags;
  }
}

// Promise: a slow terminal gets all, also where standard output does not block.
TEST(TopTerminal, ASlowReaderGetsAllFrames) {
  for (const int flags : {0, O_NONBLOCK}) {
    Child child(flags);
    if (!child.is_there()) GTEST_SKIP() << "there are no pseudo terminals here";
    for (int i = 0; i < 20; ++i) {
      EXPECT_GE(child.read(10'000), 10'000u) << flags;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    child.signal(SIGWINCH);
    EXPECT_GE(child.read(100'000), 100'000u);
    child.signal(SIGTERM);
    EXPECT_EQ(child.wait(), kEnded) << flags;
  }
}

}  // namespace
}  // namespace tailrace::app::top
