// What a server says of its node arrives as it was said, every field of it.
#include "rpc/wire/status_codec.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

namespace tailrace::rpc {
namespace {

NodeStatusAnswer received(const NodeStatusAnswer& said) {
  capnp::MallocMessageBuilder message;
  write_status(said, message.initRoot<wire::Status>());
  return read_status(message.getRoot<wire::Status>().asReader());
}

/// No two fields of one type have the same value, and none has its default.
NodeStatusAnswer full() {
  NodeStatusAnswer status;
  status.node = NodeId{1};
  status.role = "follower";
  status.problem = "the log's disk is full";
  status.copy = {"receiving", "the sender is gone", NodeId{2}, 3, 4};
  status.epoch = Epoch{5};
  status.leader = NodeId{6};
  status.source = NodeId{7};
  status.leader_address = "localhost:7100";
  status.serving = true;
  status.begin = Address{8};
  status.checkpointed = Address{9};
  status.applied = Address{10};
  status.committed = Address{11};
  status.durable = Address{12};
  status.tail = Address{13};
  status.log_disk_bytes = 14;
  status.store_used_bytes = 15;
  status.store_capacity_bytes = 16;
  status.live_records = 17;
  status.store_log = {18, 19, 20, 21};
  status.log_time_ns = 22;
  status.vote = Vote::kProvisional;
  status.coordinator = "no answer";
  status.unhealthy = "its state differs";
  status.diverged = true;
  status.last_compared = Address{23};
  status.followers = {{NodeId{24}, false, Vote::kFull, true, false, NodeId{25}, Address{26},
                       Address{27}, 28, 29.5, "not applying", Address{30}},
                      {NodeId{31}, true, Vote::kProvisional, false, true, NodeId{32}, Address{33},
                       Address{34}, 35, 36.5, "", Address{37}}};
  status.members = {{NodeId{38}, false, true, "one:7200", "one:7100"},
                    {NodeId{39}, true, false, "two:7200", "two:7100"}};
  status.members_in_log = true;
  status.removed = true;
  status.cluster_version = 40;
  status.next_version = 43;
  status.next_version_in_ms = 44;
  status.cluster_identity = "0123456789abcdef0123456789abcdef";
  status.anchors = {{"checkpoint", Address{41}}, {"follower-2", Address{42}}};
  NodeStatusAnswer::Activity& activity = status.activity.emplace();
  activity.uptime_s = 45.5;
  activity.cpu_s = 46.5;
  activity.resident_bytes = 47;
  activity.disk_free_bytes = 48;
  activity.disk_capacity_bytes = 49;
  activity.writes = 50;
  activity.reads = 51;
  activity.events = 52;
  activity.record_bytes = 53;
  activity.refused = 54;
  activity.not_leader = 55;
  activity.failed = 56;
  activity.in_flight = 57;
  activity.connections = 58;
  activity.tails = 59;
  activity.stage_bounds_s = {60.5, 61.5};
  activity.stages = {{"flush", {62, 63, 64}, 65.5}, {"apply", {66, 67, 68}, 69.5}};
  status.last_failure = {70, "disk", "fdatasync: Input/output error"};
  return status;
}

TEST(StatusCodec, EveryFieldArrives) {
  EXPECT_EQ(received(full()), full());
}

TEST(StatusCodec, WhatWasNotSaidIsTheDefault) {
  NodeStatusAnswer nothing;
  EXPECT_EQ(received(nothing), nothing);
  capnp::MallocMessageBuilder message;
  EXPECT_EQ(read_status(message.initRoot<wire::Status>().asReader()), nothing);
}

// An older server says nothing of its activity; a server that has done nothing says so.
TEST(StatusCodec, NoActivityIsNotAnEmptyOne) {
  NodeStatusAnswer status;
  EXPECT_FALSE(received(status).activity.has_value());
  status.activity.emplace();
  EXPECT_TRUE(received(status).activity.has_value());
}

// A vote of a newer server: none is the safe reading.
TEST(StatusCodec, AVoteThatIsNotKnownCountsAsNone) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::Status>().setVote(3);
  EXPECT_EQ(read_status(message.getRoot<wire::Status>().asReader()).vote, Vote::kNone);
}

// The address is the client's own note: no server can set it.
TEST(StatusCodec, TheServersAddressIsNotSent) {
  NodeStatusAnswer status;
  status.address = "localhost:7100";
  EXPECT_EQ(received(status).address, "");
}

}  // namespace
}  // namespace tailrace::rpc
