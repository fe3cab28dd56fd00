#include "rpc/server/streams/read_threads.h"

namespace tailrace::rpc {

void ReadThreads::drop(Turns::Asker asker) {
  readers_.drop(asker);
  lister_.drop(asker);
}

void ReadThreads::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  readers_.stop();
  lister_.stop();
}

}  // namespace tailrace::rpc
