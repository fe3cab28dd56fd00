@0xb8b8d1e2ffe76d05;
# What the nodes of one cluster say to each other. docs/formats/wire.md explains it.
# Fields are only ever added; their numbers never change.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("tailrace::rpc::wire");

struct PeerFrame {
  union {
    hello @0 :PeerHello;
    subscribe @1 :Subscribe;
    accept @2 :Accept;
    refuse @3 :Refuse;
    data @4 :LogData;
    acknowledge @5 :Acknowledge;
  }
}

struct PeerHello {
  protocolVersion @0 :UInt32;
  cluster @1 :Text;
  node @2 :UInt32;
  error @3 :Text;  # not empty: refused, and why; the connection closes
}

struct Subscribe {
  promised @0 :UInt64;
  lastEpoch @1 :UInt64;
  begin @2 :UInt64;
  durable @3 :UInt64;
  incarnation @4 :UInt64;
}

struct Accept {
  epoch @0 :UInt64;
  start @1 :UInt64;
  committed @2 :UInt64;
}

struct Refuse {
  reason @0 :UInt8;
  epoch @1 :UInt64;
  message @2 :Text;
}

struct LogData {
  epoch @0 :UInt64;
  from @1 :UInt64;
  bytes @2 :Data;
  committed @3 :UInt64;
  leaderDurable @4 :UInt64;
  leaderUnixTimeNs @5 :UInt64;
}

struct Acknowledge {
  epoch @0 :UInt64;
  durable @1 :UInt64;
  applied @2 :UInt64;
}
