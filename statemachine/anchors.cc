#include "statemachine/anchors.h"

namespace tailrace::statemachine {

void AnchorRegistry::set(const std::string& name, Address address) {
  const MutexLock lock(mutex_);
  anchors_[name] = address;
}

void AnchorRegistry::remove(const std::string& name) {
  const MutexLock lock(mutex_);
  anchors_.erase(name);
}

std::pair<Address, std::string> AnchorRegistry::limit() const {
  const MutexLock lock(mutex_);
  // Only a published checkpoint makes any of the log dispensable, whatever the others say.
  if (!anchors_.contains("checkpoint")) return {Address{0}, "none"};
  std::pair<Address, std::string> least{Address::max(), ""};
  for (const auto& [name, address] : anchors_) {
    if (address < least.first) least = {address, name};
  }
  return least;
}

std::vector<std::pair<std::string, Address>> AnchorRegistry::all() const {
  const MutexLock lock(mutex_);
  return {anchors_.begin(), anchors_.end()};
}

}  // namespace tailrace::statemachine
