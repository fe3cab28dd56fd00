#include "app/top/bounds.h"

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

using BoundedAnswer = rpc::NodeStatusAnswer;

void bound_text(std::string& text) {
  if (text.size() <= kMostTextBytes) return;
  text.resize(kMostTextBytes);
  text += "...";
}

/// Returns how many are left out.
template <typename One>
size_t bound_list(std::vector<One>& list) {
  if (list.size() <= kMostListed) return 0;
  const size_t left_out = list.size() - kMostListed;
  list.resize(kMostListed);
  return left_out;
}

size_t bound_stages(BoundedAnswer::Activity& activity) {
  const size_t left_out = bound_list(activity.stages);
  for (BoundedAnswer::Activity::Stage& stage : activity.stages)
    bound_text(stage.name);
  // A part of the buckets would make wrong quantiles: all or none.
  if (activity.stage_bounds_s.size() > kMostListed) {
    activity.stage_bounds_s.clear();
    for (BoundedAnswer::Activity::Stage& stage : activity.stages)
      stage.counts.clear();
  }
  return left_out;
}

void bound_texts(BoundedAnswer& answer) {
  for (std::string* text :
       {&answer.role, &answer.problem, &answer.copy.stage, &answer.copy.problem,
        &answer.leader_address, &answer.coordinator, &answer.unhealthy, &answer.cluster_identity})
    bound_text(*text);
  if (answer.last_failure) {
    bound_text(answer.last_failure->reason);
    bound_text(answer.last_failure->message);
  }
  for (BoundedAnswer::Follower& follower : answer.followers)
    bound_text(follower.unhealthy);
  for (BoundedAnswer::Member& member : answer.members) {
    bound_text(member.peer_address);
    bound_text(member.client_address);
  }
  for (auto& [name, address] : answer.anchors)
    bound_text(name);
}

void bound_answer(BoundedAnswer& answer, std::vector<std::string>& left_out) {
  const auto note = [&](size_t count, std::string_view what) {
    if (count > 0)
      left_out.push_back(fmt::format("node {}: tells of {} {}s, {}", answer.node.value, kMostListed,
                                     what, and_more(count, what)));
  };
  note(bound_list(answer.members), "member");
  note(bound_list(answer.followers), "follower");
  note(bound_list(answer.anchors), "anchor");
  if (answer.activity) note(bound_stages(*answer.activity), "stage");
  bound_texts(answer);
}

}  // namespace

void bound(Snapshot& snapshot) {
  for (auto& [server, answer] : snapshot.servers) {
    if (answer)
      bound_answer(*answer, snapshot.left_out);
    else
      bound_text(answer.error().message);
  }
}

}  // namespace tailrace::app::top
