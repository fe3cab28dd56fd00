// Changes one user's value in the store of a node that is down, and says nothing to anyone: what a
// bug or a bad disk would do. Usage: tamper_state STORE OWNER KEY VALUE

#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include "kv/store.h"
#include "statemachine/applier.h"
#include "statemachine/types/state_value.h"

namespace tailrace {
namespace {

int failed(const Error& error) {
  std::fprintf(stderr, "tamper_state: %s\n", error.message.c_str());
  return 1;
}

int tamper(const std::string& directory, const std::string& owner, const std::string& key,
           const std::string& value) {
  kv::StoreOptions options;
  options.directory = directory;
  options.owner = owner;
  // As in the tests' configuration (cluster.py, SMALL_LOG).
  options.memory_bytes = 64u << 20;
  options.page_bytes = 4u << 20;
  options.segment_bytes = 4u << 20;
  options.index_buckets = 4096;
  options.huge_pages = false;
  auto store = kv::Store::open(storage::posix_file_system(), options);
  if (!store) return failed(store.error());
  const auto recovered = (*store)->recovered();
  if (!recovered) return failed({ErrorCode::kNotFound, "there is no checkpoint to tamper with"});
  // The applier's own session, where it stands: a serial that no record has is taken for that of
  // the address below (statemachine/checkpointer.cc, point_of), so the state stays that of its
  // address.
  auto session = (*store)->start_session(statemachine::kApplierSession);
  if (!session) return failed(session.error());
  const kv::Serial at = (*session)->last_serial() + 1;
  std::string stored;
  statemachine::encode_state_value({as_bytes(value)}, stored);
  const std::string full = std::string(1, statemachine::kUserKey) + key;
  if (auto done = (*session)->upsert(as_bytes(full), as_bytes(stored), at); !done)
    return failed(done.error());
  (*session)->refresh(at);
  std::promise<Result<kv::CheckpointInfo>> published;
  kv::CheckpointRequest request;
  request.hooks.before_publish = [&](const kv::CheckpointInfo&) -> Result<std::string> {
    return recovered->user_metadata;
  };
  request.hooks.done = [&](const Result<kv::CheckpointInfo>& info) { published.set_value(info); };
  if (auto started = (*store)->start_checkpoint(std::move(request)); !started)
    return failed(started.error());
  const auto info = published.get_future().get();
  return info ? 0 : failed(info.error());
}

}  // namespace
}  // namespace tailrace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: tamper_state STORE OWNER KEY VALUE\n");
    return 2;
  }
  return tailrace::tamper(arguments[1], arguments[2], arguments[3], arguments[4]);
}
