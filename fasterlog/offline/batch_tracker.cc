#include "fasterlog/offline/batch_tracker.h"

#include <utility>

namespace tailrace::fasterlog {

BatchTracker::BatchTracker(Address start, bool inside_batch, uint64_t page_bytes,
                           const std::vector<EpochStart>& epochs,
                           const ConfigurationTable& configurations)
    : page_bytes_(page_bytes),
      begin_(start),
      begin_is_(inside_batch ? Begin::kStart : Begin::kKnown) {
  // The epoch that the start lies in; all later ones are read from the records.
  for (const EpochStart& epoch : epochs) {
    if (epoch.start <= start) epochs_ = {epoch};
  }
  unfinished_ = epochs_;
  for (const ConfigurationRecord& each : configurations) {
    if (each.end <= start) configurations_ = {each};
  }
}

BatchTracker::Verdict BatchTracker::take(const ParsedRecord& record) {
  if (!unfinished_.empty() && record.epoch < unfinished_.back().epoch) {
    reason_ = "a record of an older epoch after a newer one";
    return Verdict::kBroken;
  }
  if (unfinished_.empty() || record.epoch > unfinished_.back().epoch)
    unfinished_.push_back({record.epoch, record.address});
  if (record.kind == RecordKind::kConfiguration)
    unfinished_configurations_.push_back(configuration_of(record));
  if (record.kind != RecordKind::kCommitMark) return Verdict::kRecord;

  const Address batch = mark_of(record).batch_begin;
  // Behind damage the batch is known by its first record only; what is left of the page before it
  // may belong to the mark before.
  const bool continues = begin_is_ == Begin::kKnown ? batch == begin_
                                                    : next_record_address(batch, page_bytes_) ==
                                                          next_record_address(begin_, page_bytes_);
  const bool began_before = begin_is_ != Begin::kKnown && batch < begin_;
  if (!continues && !began_before) {
    reason_ = "a commit mark that does not continue the one before";
    return Verdict::kBroken;
  }
  const bool whole = continues || begin_is_ == Begin::kStart;
  begin_ = record.end;
  begin_is_ = Begin::kKnown;
  const ConfigurationTable configurations = std::exchange(unfinished_configurations_, {});
  if (!whole) return Verdict::kLostBegin;
  epochs_ = unfinished_;
  configurations_.insert(configurations_.end(), configurations.begin(), configurations.end());
  return Verdict::kWholeBatch;
}

void BatchTracker::damage(Address end) {
  begin_ = end;
  begin_is_ = Begin::kDamage;
  unfinished_configurations_.clear();
}

}  // namespace tailrace::fasterlog
