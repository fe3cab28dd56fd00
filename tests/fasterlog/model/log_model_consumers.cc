// The model's named consumers.

#include "tests/fasterlog/model/log_model_run.h"

namespace tailrace::fasterlog {

void ModelRun::consume() {
  const std::string name(1, static_cast<char>('a' + random_.below(3)));
  auto found = consumers_.find(name);
  if (found == consumers_.end() || !found->second.open) return open_consumer(name);
  ConsumerModel& consumer = found->second;
  const uint64_t dice = random_.below(10);
  if (dice < 6) return read_on(consumer);
  if (dice < 9) return acknowledge(consumer);
  consumer.open.reset();
  if (random_.chance(1, 2)) return;
  if (auto removed = log_->remove_consumer(name); !removed) {
    consumer.in_doubt = true;
    return failed(removed.error());
  }
  consumers_.erase(found);
}

void ModelRun::open_consumer(const std::string& name) {
  const bool fresh = !consumers_.contains(name);
  ConsumerOptions with;
  with.from_end = random_.chance(1, 3);
  with.most_pinned_bytes = random_.chance(1, 3) ? 3000 : 0;
  auto opened = log_->open_consumer(name, with);
  if (!opened) {
    if (fresh) {
      ConsumerModel& doubtful = consumers_[name];
      doubtful.in_doubt = true;
      doubtful.most_pinned_bytes = 1;
    }
    return failed(opened.error());
  }
  ConsumerModel& consumer = consumers_[name];
  const Address position = (*opened)->position();
  if (fresh || consumer.in_doubt) {
    if (fresh) consumer.most_pinned_bytes = with.most_pinned_bytes;
    consumer.acknowledged = consumer.attempted = position;
    consumer.in_doubt = false;
  }
  ASSERT_GE(position.value, consumer.acknowledged.value);
  ASSERT_LE(position.value, consumer.attempted.value);
  consumer.acknowledged = consumer.attempted = consumer.read_to = position;
  consumer.ends.clear();
  consumer.open = std::move(*opened);
}

void ModelRun::read_on(ConsumerModel& consumer) {
  for (uint64_t left = random_.between(1, 8); left > 0; --left) {
    auto record = consumer.open->next();
    if (!record && record.error().code == ErrorCode::kTruncated) {
      ASSERT_LT(consumer.read_to, log_->begin());
      ASSERT_TRUE(consumer.most_pinned_bytes > 0 || consumer.read_to > consumer.acknowledged);
      consumer.open.reset();
      return;
    }
    if (!record) return failed(record.error());
    if (!*record) return;
    ASSERT_NO_FATAL_FAILURE(model_.check_record(**record, consumer.read_to));
    consumer.ends.push_back(consumer.read_to);
  }
}

void ModelRun::acknowledge(ConsumerModel& consumer) {
  if (consumer.ends.empty()) return;
  const size_t which = random_.below(consumer.ends.size());
  const Address end = consumer.ends[which];
  const auto done = consumer.open->acknowledge(end);
  consumer.attempted = std::max(consumer.attempted, end);
  if (!done) return failed(done.error());
  consumer.acknowledged = consumer.attempted;
  ASSERT_EQ(consumer.open->position().value, consumer.acknowledged.value);
  consumer.ends.erase(consumer.ends.begin(),
                      consumer.ends.begin() + static_cast<ptrdiff_t>(which) + 1);
}

void ModelRun::check_consumers() {
  std::set<std::string> there;
  for (const ConsumerStatus& status : log_->consumers()) {
    there.insert(status.name);
    ASSERT_TRUE(consumers_.contains(status.name)) << "a removed consumer came back";
    ConsumerModel& consumer = consumers_[status.name];
    ASSERT_LE(status.position, log_->durable());
    if (consumer.in_doubt) {
      consumer.acknowledged = consumer.attempted = status.position;
      consumer.in_doubt = false;
      consumer.most_pinned_bytes = 1;  // truncation did not know of its pin
      continue;
    }
    const Address least = std::min(consumer.acknowledged, log_->durable());
    ASSERT_GE(status.position.value, least.value) << "an acknowledgement was lost";
    ASSERT_LE(status.position.value, consumer.attempted.value);
    if (consumer.most_pinned_bytes == 0) {
      ASSERT_LE(log_->begin(), status.position) << "a pin was not respected";
    }
    consumer.acknowledged = consumer.attempted = status.position;
  }
  for (auto each = consumers_.begin(); each != consumers_.end();) {
    if (there.contains(each->first)) {
      ++each;
      continue;
    }
    ASSERT_TRUE(each->second.in_doubt) << "consumer " << each->first << " is gone";
    each = consumers_.erase(each);
  }
}

}  // namespace tailrace::fasterlog
