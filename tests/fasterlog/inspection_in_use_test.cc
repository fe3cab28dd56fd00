#include <algorithm>
#include <atomic>
#include <thread>

#include "fasterlog/check_log.h"
#include "fasterlog/dump_log.h"
#include "fasterlog/inspect.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

class InspectionInUse : public LogFixture {};

// The log moves on, is truncated and has segments recycled while it is looked at: that is never
// taken for damage.
TEST_F(InspectionInUse, SeesNoDamageThatIsNotThere) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  constexpr uint64_t kept = 1u << 20;
  std::thread writer([&] {
    for (int i = 0; !stop.load(); ++i) {
      auto range = log->enqueue(RecordKind::kData, as_bytes(std::string(3000, 'x')));
      EXPECT_TRUE(range.has_value());
      if (i % 100 == 99) {
        EXPECT_TRUE(
            log->truncate_before(log->durable() - std::min(kept, log->durable() - log->begin()))
                .has_value());
      }
    }
  });
  for (int look = 0; look < 25; ++look) {
    const auto report = check_log(storage::posix_file_system(), root_ / "log");
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Finding& finding : report->findings)
      EXPECT_EQ(finding.place, Place::kBeyond)
          << finding.first.value << " " << finding.file << " " << finding.reason;
    EXPECT_TRUE(inspect(storage::posix_file_system(), root_ / "log").has_value());
    const auto dumped = dump_log(storage::posix_file_system(), root_ / "log", {}, {});
    EXPECT_TRUE(dumped || dumped.error().code == ErrorCode::kTruncated) << dumped.error().message;
  }
  stop.store(true);
  writer.join();
}

}  // namespace
}  // namespace tailrace::fasterlog
