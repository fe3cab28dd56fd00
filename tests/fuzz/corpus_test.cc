// Every file of tests/fuzz/corpus/<target>/ through its target, and random variations of each.
// TAILRACE_SEED=N replays one seed's variations.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "observability/logging.h"
#include "tests/fuzz/targets.h"

namespace tailrace::fuzz {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr int kVariations = 20;
#else
constexpr int kVariations = 60;
#endif

std::vector<std::byte> content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const ByteSpan bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

void vary(std::vector<std::byte>& bytes, Random& random) {
  for (uint64_t left = random.between(1, 4); left > 0; --left) {
    const uint64_t at = random.below(bytes.size() + 1);
    switch (random.below(4)) {
      case 0:
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at),
                     static_cast<std::byte>(random.below(256)));
        break;
      case 1:
        bytes.resize(at);
        break;
      default:
        if (at < bytes.size()) bytes[at] = static_cast<std::byte>(random.below(256));
    }
  }
}

class Corpus : public ::testing::TestWithParam<Target> {};

TEST_P(Corpus, IsHandledWithoutABrokenPromise) {
  observability::set_log_level(observability::LogLevel::kOff);
  const char* text = std::getenv("TAILRACE_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
  // A target stops the process, so the seed is told before.
  std::printf("replay with TAILRACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Random random(seed);
  const Target& target = GetParam();
  target.run({});
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(TAILRACE_CORPUS) / target.name)) {
    const std::vector<std::byte> bytes = content(entry.path());
    target.run(bytes);
    ++files;
    for (int i = 0; i < kVariations; ++i) {
      std::vector<std::byte> varied = bytes;
      vary(varied, random);
      target.run(varied);
    }
  }
  EXPECT_GT(files, 0) << "no corpus for " << target.name;
  observability::set_log_level(observability::LogLevel::kInfo);
}

INSTANTIATE_TEST_SUITE_P(Targets, Corpus, ::testing::ValuesIn(kTargets),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace tailrace::fuzz
