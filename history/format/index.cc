#include "history/format/index.h"

#include <algorithm>

#include <xxhash.h>

#include "core/check.h"
#include "core/random.h"
#include "core/varint.h"

namespace tailrace::history {

namespace {

constexpr size_t kKinds = static_cast<size_t>(IndexKind::kLast) + 1;
/// What a name costs in memory beside its bytes and its postings, about.
constexpr uint64_t kListBytes = 160, kItemBytes = 32;

bool has_versions(IndexKind kind) {
  return kind == IndexKind::kStream;
}

/// One behind `last`. Versions without a gap cost nothing.
void append_posting(IndexKind kind, const Posting& last, const Posting& next,
                    std::vector<std::byte>& into) {
  const uint64_t ahead = next.entry - last.entry - 1;
  if (!has_versions(kind)) return append_varint(into, ahead);
  const uint64_t gap = next.version - last.version - 1;
  append_varint(into, ahead << 1 | (gap != 0 ? 1 : 0));
  if (gap != 0) append_varint(into, gap);
}

}  // namespace

size_t IndexBuilder::Hash::operator()(std::string_view name) const {
  return XXH3_64bits_withSeed(name.data(), name.size(), seed);
}

IndexBuilder::IndexBuilder() {
  // No name that a client chooses makes a table slow.
  const Hash hash{random_seed()};
  for (size_t kind = 0; kind < kKinds; ++kind)
    lists_.emplace_back(0, hash);
}

IndexBuilder::List& IndexBuilder::list_of(IndexKind kind, std::string_view name) {
  Lists& lists = lists_[static_cast<size_t>(kind)];
  auto found = lists.find(name);
  if (found == lists.end()) {
    found = lists.emplace(std::string(name), List{}).first;
    bytes_ += kListBytes + name.size();
  }
  return found->second;
}

void IndexBuilder::add(IndexKind kind, std::string_view name, Posting posting) {
  List& list = list_of(kind, name);
  // A tag that an event has twice.
  if (!list.items.empty() && list.last.entry == posting.entry) return;
  if (list.items.empty() || list.items.back().count == kMostPostings) {
    list.items.push_back({posting, 1, list.postings.size()});
    bytes_ += kItemBytes;
  } else {
    const size_t before = list.postings.size();
    append_posting(kind, list.last, posting, list.postings);
    bytes_ += list.postings.size() - before;
    ++list.items.back().count;
  }
  list.last = posting;
}

Result<> IndexBuilder::add(const EventEntry& entry) {
  const List& stream = list_of(IndexKind::kStream, entry.stream);
  if (!stream.items.empty() && entry.version <= stream.last.version)
    return make_error(ErrorCode::kInvalidArgument,
                      "the event at " + std::to_string(entry.position.value) + " has version " +
                          std::to_string(entry.version) + " of its stream, the one before it " +
                          std::to_string(stream.last.version) + "; versions are to ascend");
  add(IndexKind::kStream, entry.stream, {entries_, entry.version});
  const std::string_view category = category_of(entry.stream);
  if (!category.empty()) add(IndexKind::kCategory, category, {entries_, 0});
  if (!entry.type.empty()) add(IndexKind::kType, entry.type, {entries_, 0});
  for (const std::string_view tag : entry.tags)
    add(IndexKind::kTag, tag, {entries_, 0});
  ++entries_;
  return {};
}

namespace {

void put_item(const IndexKey& key, uint32_t count, uint64_t version, ByteSpan list,
              std::vector<std::byte>& into) {
  into.push_back(static_cast<std::byte>(key.kind));
  append_varint(into, key.name.size());
  append_bytes(into, as_bytes(key.name));
  append_varint(into, key.first_entry);
  if (has_versions(key.kind)) append_varint(into, version);
  append_varint(into, count);
  append_varint(into, list.size());
  append_bytes(into, list);
}

/// Cuts the sequence of items into leaves.
class LeafCutter {
 public:
  explicit LeafCutter(const IndexBuilder::Sink& sink) : sink_(sink) {}

  Result<> add(const IndexKey& key, uint32_t count, uint64_t version, ByteSpan list) {
    item_.clear();
    put_item(key, count, version, list, item_);
    if (leaf_.size() + item_.size() > kLeafBytes) TAILRACE_RETURN_IF_ERROR(finish());
    if (leaf_.empty()) first_ = key;
    append_bytes(leaf_, item_);
    return {};
  }
  Result<> finish() {
    if (leaf_.empty()) return {};
    TAILRACE_RETURN_IF_ERROR(sink_(first_, leaf_));
    leaf_.clear();
    return {};
  }

 private:
  const IndexBuilder::Sink& sink_;
  IndexKey first_;
  std::vector<std::byte> leaf_, item_;
};

}  // namespace

Result<> IndexBuilder::write(const Sink& sink) {
  LeafCutter cutter(sink);
  std::vector<const Lists::value_type*> sorted;
  for (size_t kind = 1; kind < kKinds; ++kind) {
    sorted.clear();
    for (const auto& each : lists_[kind])
      sorted.push_back(&each);
    std::sort(sorted.begin(), sorted.end(),
              [](const auto* one, const auto* other) { return one->first < other->first; });
    for (const auto* each : sorted) {
      const List& list = each->second;
      for (size_t item = 0; item < list.items.size(); ++item) {
        const List::Item& it = list.items[item];
        const size_t end =
            item + 1 < list.items.size() ? list.items[item + 1].begin : list.postings.size();
        TAILRACE_RETURN_IF_ERROR(cutter.add(
            {static_cast<IndexKind>(kind), each->first, it.first.entry}, it.count, it.first.version,
            ByteSpan(list.postings).subspan(it.begin, end - it.begin)));
      }
    }
  }
  return cutter.finish();
}

namespace {

IndexKey read_key(PackedReader& reader) {
  IndexKey key;
  const uint8_t kind = reader.byte();
  if (kind == 0) reader.damaged("an item of kind 0");
  if (kind >= kKinds) reader.newer("an item of kind " + std::to_string(kind));
  key.kind = IndexKind{kind};
  const uint64_t bytes = reader.varint(kMostNameBytes, "a long name");
  if (bytes == 0) reader.damaged("a name without bytes");
  key.name = as_text(reader.bytes(bytes));
  key.first_entry = static_cast<uint32_t>(reader.varint(kMostEntries, "an entry out of range"));
  return key;
}

}  // namespace

Result<> decode_leaf(ByteSpan leaf, std::vector<IndexItem>& items) {
  items.clear();
  PackedReader reader(leaf);
  while (!reader.at_end()) {
    IndexItem item;
    item.key = read_key(reader);
    if (!items.empty() && items.back().key >= item.key) reader.damaged("items that do not ascend");
    const size_t list_begin = reader.at();
    if (has_versions(item.key.kind)) item.first_version = reader.varint();
    item.postings = static_cast<uint32_t>(reader.varint(kMostPostings, "too many postings"));
    const uint64_t bytes = reader.varint();
    if (item.postings == 0) reader.damaged("an item without postings");
    (void)reader.bytes(bytes);
    item.list = leaf.subspan(std::min(list_begin, reader.at()), reader.at() - list_begin);
    if (reader.is_sound()) items.push_back(item);
  }
  if (items.size() > 1 && leaf.size() > kLeafBytes) reader.damaged("a leaf that is too long");
  return reader.result();
}

Result<> decode_postings(const IndexItem& item, uint32_t entries, std::vector<Posting>& into) {
  into.clear();
  PackedReader reader(item.list);
  Posting at{item.key.first_entry, 0};
  const bool versions = has_versions(item.key.kind);
  if (versions) at.version = reader.varint();
  (void)reader.varint();
  const uint64_t bytes = reader.varint();
  if (bytes != reader.left()) reader.damaged("a list of another length");
  if (at.entry >= entries) reader.damaged("an entry out of range");
  into.push_back(at);
  while (into.size() < item.postings && reader.is_sound()) {
    uint64_t ahead = reader.varint(uint64_t{kMostEntries} * 2 + 1, "an entry out of range");
    uint64_t gap = 0;
    if (versions) {
      if ((ahead & 1) != 0 && (gap = reader.varint()) == 0) reader.damaged("a gap of nothing");
      ahead >>= 1;
      if (at.version + gap + 1 <= at.version) reader.damaged("versions that do not ascend");
      at.version += gap + 1;
    }
    if (ahead + 1 >= uint64_t{entries} - at.entry) reader.damaged("an entry out of range");
    at.entry += static_cast<uint32_t>(ahead) + 1;
    if (reader.is_sound()) into.push_back(at);
  }
  if (!reader.at_end()) reader.damaged("a list goes on behind its end");
  return reader.result();
}

void append_leaf_row(const IndexKey& first, const BlockHead& head, std::vector<std::byte>& into) {
  into.push_back(static_cast<std::byte>(first.kind));
  append_varint(into, first.name.size());
  append_bytes(into, as_bytes(first.name));
  append_varint(into, first.first_entry);
  append_varint(into, head.stored_bytes);
  append_varint(into, head.raw_bytes);
}

Result<> decode_leaf_rows(ByteSpan directory, uint32_t leaves, uint64_t leaves_at,
                          uint64_t leaves_end, std::vector<LeafRow>& rows) {
  rows.clear();
  PackedReader reader(directory);
  uint64_t at = leaves_at;
  while (!reader.at_end()) {
    LeafRow row;
    row.first = read_key(reader);
    row.stored_bytes = static_cast<uint32_t>(reader.varint(kMostLeafBytes, "a long leaf"));
    row.raw_bytes = static_cast<uint32_t>(reader.varint(kMostLeafBytes, "a long leaf"));
    row.at = at;
    at += sizeof(BlockHead) + row.stored_bytes;
    if (at > leaves_end) reader.damaged("leaves beyond their end");
    if (row.stored_bytes > row.raw_bytes) reader.damaged("a leaf that is longer compressed");
    if (!rows.empty() && rows.back().first >= row.first)
      reader.damaged("leaves that do not ascend");
    if (reader.is_sound()) rows.push_back(row);
  }
  if (rows.size() != leaves || at != leaves_end)
    reader.damaged("leaves that do not fill their place");
  return reader.result();
}

}  // namespace tailrace::history
