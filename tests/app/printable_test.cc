// Text of servers on a terminal.
#include "app/cli/printable.h"

#include <gtest/gtest.h>

namespace tailrace::app {
namespace {

// Promise: what a server says never reaches the terminal as a command, and keeps its line.
TEST(Printable, ControlCharactersAreQuestionMarks) {
  EXPECT_EQ(printable("a\x1b[2Jb\x07\r\n\t\x7f"), "a?[2Jb?????");
  EXPECT_EQ(printable(std::string_view("\0x", 2)), "?x");
  EXPECT_EQ(printable("\xc2\x9b[31m"), "?[31m") << "the other sign that begins a command";
  EXPECT_EQ(printable("\x9b[31m"), "?[31m");
  EXPECT_EQ(printable("a\xe2\x80\xa8z\xe2\x80\xae"), "a?z?") << "a line, and a turn of the text";
}

TEST(Printable, OtherCharactersStay) {
  for (const char* text : {"", "node 1: no answer", "gr\xc3\xbc\xc3\x9f\x65 \xe2\x82\xac",
                           "\xf0\x9f\x98\x80", "\xc2\xa0", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(printable(text), text);
}

TEST(Printable, BytesThatAreNotUtf8AreQuestionMarks) {
  EXPECT_EQ(printable("\xff\xfe"), "??");
  EXPECT_EQ(printable("\xc0\x9b"), "??") << "too long for its character";
  EXPECT_EQ(printable("\xe0\x80\x9b"), "???");
  EXPECT_EQ(printable("\xed\xa0\x80"), "???") << "half of a pair";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????") << "beyond the last one";
  EXPECT_EQ(printable("x\xe2\x82"), "x??") << "cut off";
  EXPECT_EQ(printable("\xe2\x1b["), "??[");
}

}  // namespace
}  // namespace tailrace::app
