// FasterLog alone: appends each line of standard input as a record, waits until all of them are
// durable, and prints how many records the log then holds.
//
//     printf 'one\ntwo\n' | append_and_scan DIRECTORY

#include <cstdio>
#include <iostream>
#include <string>

#include "fasterlog/log.h"

int main(int argc, char** argv) {
  using namespace tailrace;
  if (argc != 2) {
    std::fprintf(stderr, "usage: append_and_scan DIRECTORY\n");
    return 2;
  }
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "append_and_scan: %s\n", error.message.c_str());
    return 1;
  };

  fasterlog::LogOptions options;
  options.directory = argv[1];
  options.owner = "example";
  options.page_bytes = 256 << 10;
  options.buffer_pages = 4;
  options.segment_bytes = 1 << 20;
  auto log = fasterlog::Log::open(storage::posix_file_system(), options);
  if (!log) return fail(log.error());
  if (auto writer = (*log)->become_writer((*log)->last_epoch()); !writer) {
    return fail(writer.error());
  }

  // Enqueued is not durable: the wait below is what makes the promise.
  Address end = (*log)->durable();
  for (std::string line; std::getline(std::cin, line);) {
    const auto range = (*log)->enqueue(fasterlog::RecordKind::kData, as_bytes(line));
    if (!range) return fail(range.error());
    end = range->end;
  }
  if (auto durable = (*log)->wait_durable(end); !durable) return fail(durable.error());

  uint64_t records = 0;
  const auto scanner = (*log)->scan((*log)->begin());
  for (;;) {
    const auto record = scanner->next((*log)->durable());
    if (!record) return fail(record.error());
    if (!*record) break;
    ++records;
  }
  std::printf("%llu records, durable up to %llu\n", static_cast<unsigned long long>(records),
              static_cast<unsigned long long>((*log)->durable().value));
  if (auto closed = (*log)->close(); !closed) return fail(closed.error());
  return 0;
}
