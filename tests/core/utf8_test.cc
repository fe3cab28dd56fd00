// What is UTF-8, against the table of RFC 3629.
#include "core/utf8.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tailrace {
namespace {

unsigned char byte_of(std::string_view text, size_t at) {
  return static_cast<unsigned char>(text[at]);
}

/// Whether `text` holds a character of so many bytes there: the rows of RFC 3629, section 4.
bool row_fits(std::string_view text, size_t bytes) {
  struct Row {
    size_t bytes;
    unsigned char first_least, first_most, second_least, second_most;
  };
  constexpr Row kRows[] = {
      {1, 0x00, 0x7f, 0, 0},       {2, 0xc2, 0xdf, 0x80, 0xbf}, {3, 0xe0, 0xe0, 0xa0, 0xbf},
      {3, 0xe1, 0xec, 0x80, 0xbf}, {3, 0xed, 0xed, 0x80, 0x9f}, {3, 0xee, 0xef, 0x80, 0xbf},
      {4, 0xf0, 0xf0, 0x90, 0xbf}, {4, 0xf1, 0xf3, 0x80, 0xbf}, {4, 0xf4, 0xf4, 0x80, 0x8f}};
  for (const Row& row : kRows) {
    const unsigned char first = byte_of(text, 0);
    if (row.bytes != bytes || first < row.first_least || first > row.first_most) continue;
    bool fits = text.size() >= bytes;
    if (fits && bytes > 1)
      fits = byte_of(text, 1) >= row.second_least && byte_of(text, 1) <= row.second_most;
    for (size_t i = 2; fits && i < bytes; ++i)
      fits = (byte_of(text, i) & 0xc0) == 0x80;
    if (fits) return true;
  }
  return false;
}

size_t bytes_of_first(std::string_view text) {
  for (size_t bytes = 1; bytes <= 4; ++bytes)
    if (row_fits(text, bytes)) return bytes;
  return 0;
}

// No first character is taken or refused otherwise than the table says: all texts of three bytes,
// and of four where the last one is at an edge.
TEST(Utf8, FirstCharactersAreThoseOfTheTable) {
  std::string text(3, '\0');
  uint64_t wrong = 0;
  for (uint32_t bits = 0; bits < 1u << 24; ++bits) {
    for (size_t i = 0; i < 3; ++i)
      text[i] = static_cast<char>(bits >> (16 - 8 * i));
    wrong += first_character(text).bytes != bytes_of_first(text) ? 1 : 0;
  }
  text.resize(4);
  for (uint32_t bits = 0; bits < 1u << 20; ++bits) {
    text[0] = static_cast<char>(0xf0 | bits >> 16);
    text[1] = static_cast<char>(bits >> 8);
    text[2] = static_cast<char>(bits);
    for (const int last : {0x7f, 0x80, 0xbf, 0xc0}) {
      text[3] = static_cast<char>(last);
      wrong += first_character(text).bytes != bytes_of_first(text) ? 1 : 0;
    }
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Utf8, CharactersHaveTheirCodes) {
  EXPECT_EQ(first_character("a").code, 0x61u);
  EXPECT_EQ(first_character("\xc2\x80").code, 0x80u);
  EXPECT_EQ(first_character("\xe2\x80\xa8").code, 0x2028u);
  EXPECT_EQ(first_character("\xef\xbf\xbf").code, 0xffffu);
  EXPECT_EQ(first_character("\xf0\x90\x80\x80").code, 0x10000u);
  EXPECT_EQ(first_character("\xf4\x8f\xbf\xbf").code, 0x10ffffu);
}

// A whole text is read in blocks: a character, or what is none, is seen wherever it stands.
TEST(Utf8, AWholeTextIsReadLikeItsCharacters) {
  const std::vector<std::string> pieces{"",
                                        "a",
                                        "\x7f",
                                        "\x80",
                                        "\xbf",
                                        "\xc3\xa9",
                                        "\xc0\xaf",
                                        "\xc3",
                                        "\xe2\x80\xa8",
                                        "\xe2\x80",
                                        "\xed\xa0\x80",
                                        "\xe0\x80\xaf",
                                        "\xff",
                                        "\xf0\x9f\x98\x80",
                                        "\xf0\x9f",
                                        "\xf4\x90\x80\x80"};
  for (size_t before = 0; before < 70; ++before) {
    for (const std::string& piece : pieces) {
      for (const size_t behind : {0, 1, 31, 40}) {
        const std::string text = std::string(before, 'x') + piece + std::string(behind, 'y');
        const bool good = piece.empty() || bytes_of_first(piece) == piece.size();
        EXPECT_EQ(is_utf8(text), good) << before << " bytes before, " << behind << " behind";
      }
    }
  }
  std::string greek;
  for (int i = 0; i < 100; ++i)
    greek += "\xce\xb1";
  EXPECT_TRUE(is_utf8(greek));
  EXPECT_FALSE(is_utf8(std::string_view(greek).substr(1)));
  EXPECT_FALSE(is_utf8(std::string_view(greek).substr(0, greek.size() - 1)));
}

}  // namespace
}  // namespace tailrace
