// What a read-modify-write's function may not do.

#include <stdexcept>

#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

struct Throws {
  Modification operator()(const ByteSpan*, std::string&) { throw std::runtime_error("made"); }
};
struct ThrowsInPlace {
  Modification change(MutableByteSpan) { throw std::runtime_error("changed"); }
  Modification operator()(const ByteSpan*, std::string& next) {
    next = "12345678";
    return Modification::kWrite;
  }
};

/// On a key that is there with a short value, or absent.
template <typename Function>
void modify(bool present, bool in_batch) {
  testing::FaultFileSystem disk(1);
  const auto store = open_or_die(disk, small_options("/kv"));
  const auto session = session_or_die(*store, 1);
  Function function;
  if (present && !session->upsert(as_bytes("key"), as_bytes("12345678"), 1)) return;
  if (!in_batch) {
    (void)session->rmw(as_bytes("key"), function, 2);
    return;
  }
  Operation operation;
  operation.kind = OperationKind::kRmw;
  operation.key = as_bytes("key");
  operation.modify = function;
  operation.serial = 2;
  (void)session->run({&operation, 1});
}

// Promise: a function that throws ends the process, whichever way it is called. It is called while
// the record is locked: an exception that passed through would leave the lock to nobody, and every
// later operation on the key waiting for it.
TEST(ModifyDeathTest, AFunctionThatThrowsEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool in_batch : {false, true}) {
    EXPECT_DEATH(modify<Throws>(false, in_batch), "made");
    EXPECT_DEATH(modify<Throws>(true, in_batch), "made");
    EXPECT_DEATH(modify<ThrowsInPlace>(true, in_batch), "changed");
  }
}

}  // namespace
}  // namespace tailrace::kv
