// The screens of `tailrace top`, each as a file in tests/app/screens.
//
//   TAILRACE_REWRITE=1 build/release/tests/app_top_test    writes them anew

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "app/top/screen.h"
#include "tests/app/top_cluster.h"

namespace tailrace::app::top {
namespace {

std::string text_of(const Lines& lines) {
  std::string text;
  for (const Line& line : lines)
    text += line.text() + "\n";
  return text;
}

ScreenOptions options_of(size_t width, size_t height) {
  ScreenOptions options;
  options.width = width;
  options.height = height;
  options.time = "12:34:56";
  options.keys = height > 0;
  return options;
}

/// The screen is that of the file, has the height, and no line is wider than it.
void expect_screen(const std::string& name, const View& view, const ScreenOptions& options) {
  const Lines lines = screen(view, options);
  if (options.height > 0) {
    EXPECT_EQ(lines.size(), options.height) << name;
  }
  for (const Line& line : lines)
    EXPECT_LE(line.width(), options.width) << name << ": " << line.text();
  const std::string file = std::string(SCREENS) + "/" + name + ".txt";
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(file) << text_of(lines);
    return;
  }
  std::stringstream committed;
  committed << std::ifstream(file).rdbuf();
  EXPECT_EQ(committed.str(), text_of(lines)) << file;
}

View view_at(const Moment& before, const Moment& now, uint32_t nodes = 3) {
  const Snapshot first = cluster_at(before, nodes);
  return view_of(&first, cluster_at(now, nodes));
}

TEST(TopScreen, AClusterThatIsWell) {
  const View view = view_at(kBefore, kNow);
  expect_screen("well_80x24", view, options_of(80, 24));
  expect_screen("well_120x40", view, options_of(120, 40));
  expect_screen("well_batch_100", view, options_of(100, 0));
}

TEST(TopScreen, TheFirstScreenKnowsNoRates) {
  expect_screen("first_80x24", view_of(nullptr, cluster_at(kNow)), options_of(80, 24));
}

TEST(TopScreen, ANodeThatDoesNotAnswer) {
  const Snapshot before = cluster_at(kBefore);
  Snapshot now = cluster_at(kNow);
  silence(now, 2, "connect: Connection refused");
  expect_screen("dead_node_80x24", view_of(&before, now), options_of(80, 24));
}

// Promise: a leader that answers no write is not shown as well.
TEST(TopScreen, ALeaderWithoutAMajority) {
  const Snapshot before = cluster_at(kBefore);
  Snapshot now = cluster_at(kNow);
  for (const size_t silent : {1u, 2u}) {
    silence(now, silent, "no answer from " + server_of(silent + 1) + " in time");
    now.servers[0].second->followers[silent - 1].connected = false;
  }
  // The leader has not heard it since it leads.
  Answer::Follower& unheard = now.servers[0].second->followers[1];
  unheard.durable = Address{};
  unheard.lag_bytes = 0;
  unheard.lag_seconds = 0;
  expect_screen("no_majority_80x24", view_of(&before, now), options_of(80, 24));
}

TEST(TopScreen, NobodyAnswers) {
  Snapshot now = cluster_at(kNow, 1);
  silence(now, 0, "no answer in time");
  expect_screen("nobody_80x24", view_of(nullptr, now), options_of(80, 24));
}

TEST(TopScreen, AClusterThatIsEmpty) {
  Snapshot now = cluster_at({11, 64, 64, 0, 0});
  for (auto& [server, answer] : now.servers)
    answer->store_used_bytes = 0, answer->live_records = 0;
  const Snapshot before = cluster_at({10, 64, 64, 0, 0});
  expect_screen("empty_80x24", view_of(&before, now), options_of(80, 24));
}

TEST(TopScreen, EqualWatermarksAndAnAxisThatIsHuge) {
  const Moment moment{11, 64, (uint64_t{1} << 62) - 1, 100, 0};
  Snapshot now = cluster_at(moment);
  for (auto& [server, answer] : now.servers)
    answer->checkpointed = answer->applied = answer->committed = answer->durable = answer->tail;
  // One byte that is not applied shows in a log of 4 EiB.
  now.servers[0].second->tail = now.servers[0].second->durable + 1;
  const Snapshot before = cluster_at(moment);
  expect_screen("huge_80x24", view_of(&before, now), options_of(80, 24));
}

TEST(TopScreen, ANodeThatWasStartedAnewBetweenTwoPolls) {
  const Snapshot before = cluster_at(kBefore);
  Snapshot now = cluster_at(kNow);
  now.servers[0].second->activity = activity_at({1, 64, 100, 10, 1}, true);
  now.servers[0].second->activity->uptime_s = 1;
  expect_screen("restart_80x24", view_of(&before, now), options_of(80, 24));
}

TEST(TopScreen, OddNamesAndProblemsAreShownAsText) {
  Snapshot now = cluster_at(kNow);
  Answer& node = *now.servers[1].second;
  node.role = "f\x1b[2Jollower";
  node.problem = "a file \"gr\xc3\xbc\xc3\x9f\x65\"\r\nis \x9b\x07 odd";
  node.cluster_identity = "\x1b]0;title\x07";
  now.servers[0].second->anchors.emplace_back("\x1b[31mred", Address{1});
  now.servers[0].second->activity->stages[0].name = "a stage with a very long name\n";
  silence(now, 2, "\x1b[1m" + std::string(300, 'x') + " and more words");
  const View view = view_of(nullptr, now);
  expect_screen("odd_80x24", view, options_of(80, 24));
  for (const Line& line : screen(view, options_of(120, 40)))
    for (const char c : line.text())
      EXPECT_TRUE(c >= 0x20 && c < 0x7f) << line.text();
}

TEST(TopScreen, ManyNodesGiveWayToWhatIsWrong) {
  Snapshot now = cluster_at(kNow, 9);
  silence(now, 6, "no answer in time");
  now.servers[3].second->diverged = true;
  const View view = view_of(nullptr, now);
  expect_screen("nine_80x24", view, options_of(80, 24));
  expect_screen("nine_120x40", view, options_of(120, 40));
}

TEST(TopScreen, AnOlderServerTellsNoActivity) {
  Snapshot before = cluster_at(kBefore), now = cluster_at(kNow);
  for (Snapshot* one : {&before, &now})
    for (auto& [server, answer] : one->servers)
      answer->activity.reset();
  expect_screen("older_80x24", view_of(&before, now), options_of(80, 24));
}

TEST(TopScreen, HelpAndPause) {
  ScreenOptions options = options_of(80, 24);
  options.help = options.paused = true;
  expect_screen("help_80x24", view_at(kBefore, kNow), options);
  options = options_of(60, 12);
  options.paused = true;
  expect_screen("paused_60x12", view_at(kBefore, kNow), options);
}

// However small the window is, the screen has its size.
TEST(TopScreen, FitsIntoEveryWindow) {
  Snapshot now = cluster_at(kNow, 5);
  silence(now, 4, "no answer in time");
  const View view = view_of(nullptr, now);
  for (size_t width = 1; width < 140; width += 7)
    for (size_t height = 1; height < 50; ++height) {
      const Lines lines = screen(view, options_of(width, height));
      ASSERT_EQ(lines.size(), height) << width;
      for (const Line& line : lines)
        ASSERT_LE(line.width(), width) << height << ": " << line.text();
    }
}

TEST(TopLine, ColoursAreOnlyForThoseWhoHaveThem) {
  Line line("well ", Style::kGood);
  line.add("bad", Style::kBad).add(" text");
  EXPECT_EQ(line.ansi(true), "\x1b[32mwell \x1b[0m\x1b[1;31mbad\x1b[0m text");
  EXPECT_EQ(line.ansi(false), "well \x1b[1mbad\x1b[0m text");
  EXPECT_EQ(line.text(), "well bad text");
}

TEST(TopLine, WordsAreBrokenBetweenWords) {
  const auto lines = wrapped("one two three fourteencharacters", 10, 2, Style::kPlain);
  EXPECT_EQ(text_of(lines), "one two\n  three\n  fourteen\n  characte\n  rs\n");
  EXPECT_EQ(text_of(wrapped("", 10, 2, Style::kPlain)), "\n");
}

}  // namespace
}  // namespace tailrace::app::top
