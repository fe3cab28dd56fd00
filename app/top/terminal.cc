#include "app/top/terminal.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace tailrace::app::top {
namespace {

constexpr size_t kLeastWidth = 20, kMostWidth = 1000;

// The alternate screen, no cursor, no new line after the last character of a line.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

// How long a terminal may take to be as it was before. One that nobody reads never is.
constexpr int kLeavingMs = 200;

/// The terminal of standard output, opened anew: that it does not block is then nobody else's
/// matter. The shell has the same standard output. -1: this does not work.
int open_output() {
  return ::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/// Removes from `bytes` what the terminal took, which may be nothing. False: it is gone.
bool write_some(int output, std::string_view& bytes) {
  // A write that blocks may wait even where poll() says that there is room. Who shares standard
  // output has it as it was after the write.
  const int flags = ::fcntl(output, F_GETFL);
  const bool blocks = (flags & O_NONBLOCK) == 0;
  if (blocks) (void)::fcntl(output, F_SETFL, flags | O_NONBLOCK);
  const ssize_t written = ::write(output, bytes.data(), bytes.size());
  const int error = errno;
  if (blocks) (void)::fcntl(output, F_SETFL, flags);
  errno = error;
  if (written < 0) return error == EINTR || error == EAGAIN;
  bytes.remove_prefix(static_cast<size_t>(written));
  return true;
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view{} : std::string_view(value);
}

sigset_t watched_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH})
    sigaddset(&signals, one);
  return signals;
}

}  // namespace

bool has_screen() {
  const std::string_view kind = environment("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && !kind.empty() && kind != "dumb";
}

bool has_colours() {
  const std::string_view kind = environment("TERM");
  const bool mono = kind.starts_with("vt") || kind.ends_with("-m") || kind.ends_with("-mono");
  return has_screen() && !mono && environment("NO_COLOR").empty();
}

size_t batch_width() {
  constexpr size_t kUsual = 100;
  const long columns = std::strtol(std::string(environment("COLUMNS")).c_str(), nullptr, 10);
  return columns <= 0 ? kUsual : std::clamp(static_cast<size_t>(columns), kLeastWidth, kMostWidth);
}

Result<std::unique_ptr<Terminal>> Terminal::open() {
  std::unique_ptr<Terminal> terminal(new Terminal());
  terminal->colours_ = has_colours();
  terminal->keys_ = ::isatty(STDIN_FILENO) == 1;
  if (const int output = open_output(); output >= 0) terminal->output_ = output;
  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, &terminal->signals_before_);
  terminal->signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (terminal->signals_ < 0) return tl::unexpected(io_error("watch", "signals", errno));
  terminal->enter();
  return terminal;
}

Terminal::~Terminal() {
  leave();
  if (signals_ >= 0) ::close(signals_);
  if (output_ != STDOUT_FILENO) ::close(output_);
  ::pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
}

void Terminal::enter() {
  if (keys_ && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;  // a key that does not come is not waited for
    raw.c_cc[VTIME] = 0;
    (void)::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  entered_ = true;
  (void)write(kEnter);
}

void Terminal::leave() {
  if (!entered_) return;
  entered_ = false;
  std::string_view left = kLeave;
  pollfd room{output_, POLLOUT, 0};
  while (!left.empty() && ::poll(&room, 1, kLeavingMs) > 0 && write_some(output_, left)) {
  }
  if (!keys_) return;
  // What was typed meanwhile is not for the shell. Not TCSAFLUSH, which waits until all is read.
  (void)::tcflush(STDIN_FILENO, TCIFLUSH);
  (void)::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

bool Terminal::write(std::string_view bytes) {
  while (!bytes.empty() && !ended_) {
    pollfd all[] = {{output_, POLLOUT, 0}, {signals_, POLLIN, 0}};
    if (::poll(all, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (all[1].revents != 0) note_signal();
    if (all[0].revents != 0 && !write_some(output_, bytes)) return false;
  }
  return true;
}

Terminal::Size Terminal::size() const {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0)
    return {};
  return {std::clamp<size_t>(window.ws_col, kLeastWidth, kMostWidth), window.ws_row};
}

Result<> Terminal::draw(const Lines& lines) {
  const size_t width = size().width;
  std::string frame = "\x1b[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    frame += (i > 0 ? "\r\n" : "") + lines[i].ansi(colours_);
    // Behind the last column it would erase the last character.
    if (lines[i].width() < width) frame += "\x1b[K";
  }
  if (lines.size() < size().height) frame += "\x1b[J";
  if (!write(frame)) return tl::unexpected(io_error("write", "standard output", errno));
  return {};
}

void Terminal::note_signal() {
  signalfd_siginfo signal{};
  if (::read(signals_, &signal, sizeof signal) != sizeof signal) return;
  if (signal.ssi_signo == SIGWINCH)
    resized_ = true;
  else if (signal.ssi_signo == SIGTSTP)
    stopped_ = true;
  else
    ended_ = true;
}

Terminal::Event Terminal::on_signal() {
  if (ended_) return {Event::Kind::kEnd};
  if (std::exchange(stopped_, false)) {  // Ctrl-Z: stands still until the shell says otherwise
    leave();
    (void)::kill(::getpid(), SIGSTOP);
    enter();
    resized_ = true;
  }
  return {std::exchange(resized_, false) ? Event::Kind::kResized : Event::Kind::kNothing};
}

Terminal::Event Terminal::wait(int descriptor) {
  if (ended_ || stopped_ || resized_) return on_signal();  // it came while a frame was written
  pollfd all[] = {{signals_, POLLIN, 0}, {descriptor, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  const nfds_t count = keys_ ? 3 : 2;
  if (::poll(all, count, -1) < 0) return errno == EINTR ? Event{} : Event{Event::Kind::kEnd};
  if (all[0].revents != 0) {
    note_signal();
    return on_signal();
  }
  if (all[1].revents != 0) return {Event::Kind::kOther};
  if (count == 3 && all[2].revents != 0) {
    char key = 0;
    const ssize_t got = ::read(STDIN_FILENO, &key, 1);
    if (got == 1) return {Event::Kind::kKey, key};
    // Nobody types any more.
    if (got < 0 || (all[2].revents & (POLLHUP | POLLERR)) != 0) return {Event::Kind::kEnd};
  }
  return {};
}

}  // namespace tailrace::app::top
