#pragma once
// The terminal as a screen: no echo, no lines, an alternate screen, and everything as it was
// afterwards.

#include <memory>
#include <string>
#include <string_view>

#include <termios.h>

#include "app/top/lines.h"
#include "core/result.h"

namespace tailrace::app::top {

/// Whether standard output is a terminal that can be drawn on.
bool has_screen();
/// Whether it has colours, and the user wants them (NO_COLOR).
bool has_colours();
/// Characters of a line where no terminal says so: COLUMNS, or 100.
size_t batch_width();

/// While it exists, the signals that end, stop or resize are blocked and come as events. Create it
/// before any other thread. One thread.
class Terminal {
 public:
  static Result<std::unique_ptr<Terminal>> open();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  struct Size {
    size_t width = 80, height = 24;
  };
  Size size() const;
  /// Fails when the terminal is gone. Waits while the terminal takes nothing, but a signal that
  /// ends the program ends this, too: wait() then says kEnd.
  Result<> draw(const Lines& lines);

  struct Event {
    enum class Kind { kNothing, kKey, kResized, kEnd, kOther } kind = Kind::kNothing;
    char key = 0;
  };
  /// Waits for a key, a signal, or until `descriptor` can be read (kOther).
  Event wait(int descriptor);

 private:
  Terminal() = default;
  void enter();
  void leave();
  /// All, unless a signal ends the program. False: the terminal is gone, and errno says why.
  bool write(std::string_view bytes);
  /// Takes a signal from the system; on_signal() does what it wants.
  void note_signal();
  Event on_signal();

  bool colours_ = false;
  bool entered_ = false;
  bool keys_ = true;  // standard input is a terminal
  termios before_{};
  sigset_t signals_before_{};
  int signals_ = -1;
  int output_ = 1;  // standard output, or the same terminal without blocking
  bool ended_ = false, stopped_ = false, resized_ = false;  // signals that came
};

}  // namespace tailrace::app::top
