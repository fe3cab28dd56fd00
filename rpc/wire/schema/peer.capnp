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
    seal @6 :Seal;
    sealed @7 :Sealed;
    leading @8 :Leading;
    diverges @9 :Diverges;
    grantVote @10 :GrantVote;
    takeOver @11 :TakeOver;
    askCheckpoint @12 :AskCheckpoint;
    offerCheckpoint @13 :OfferCheckpoint;
    readCheckpoint @14 :ReadCheckpoint;
    checkpointPart @15 :CheckpointPart;
    compareState @16 :CompareState;
    stateCompared @17 :StateCompared;
  }
}

struct PeerHello {
  protocolVersion @0 :UInt32;
  cluster @1 :Text;
  node @2 :UInt32;
  error @3 :Text;  # not empty: refused, and why; the connection closes
  version @4 :UInt32;      # of formats and rules, the newest that the sender knows; 0: before 2
  incarnation @5 :UInt64;  # of its disk
  starts @6 :UInt64;       # of that disk; 0: not counted
  run @7 :UInt64;          # drawn at this start
  promised @8 :UInt64;     # epoch,
  leader @9 :UInt32;       # whom it was promised to; 0: nobody
  leaderRun @10 :UInt64;   # in which of its lives; 0: not known
  durable @11 :UInt64;     # where the sender's log ends,
  lastEpoch @12 :UInt64;   # and in which epoch
  givenUp @13 :UInt64;     # the incarnation that it had before it was refused as seen before; 0: none
  identityHigh @14 :UInt64;  # of the cluster; both 0: not known
  identityLow @15 :UInt64;
}

struct Subscribe {
  promised @0 :UInt64;
  lastEpoch @1 :UInt64;
  begin @2 :UInt64;
  durable @3 :UInt64;
  incarnation @4 :UInt64;
  vote @5 :UInt8;
  run @6 :UInt64;  # of the sender's life; 0: not said
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
  leader @3 :UInt32;  # whom the sender follows; 0: nobody
  incarnation @4 :UInt64;  # of reason 6: the life that was seen before
  starts @5 :UInt64;
  run @6 :UInt64;
}

struct LogData {
  epoch @0 :UInt64;
  from @1 :UInt64;
  bytes @2 :Data;
  committed @3 :UInt64;
  leaderDurable @4 :UInt64;
  leaderUnixTimeNs @5 :UInt64;
  round @6 :UInt64;
  echoNs @7 :Int64;
  ageNs @8 :Int64;
  keepFrom @9 :UInt64;
}

struct Acknowledge {
  epoch @0 :UInt64;
  durable @1 :UInt64;
  applied @2 :UInt64;
  round @3 :UInt64;
  vote @4 :UInt8;
  sentNs @5 :Int64;
  incarnation @6 :UInt64;
  relayedBy @7 :UInt32;  # said to the leader by a learner that this follower feeds; 0: the receiver does
}

struct Seal {
  epoch @0 :UInt64;
  members @1 :UInt64;  # end of the record by which it is a voter; 0: its configuration file
  run @2 :UInt64;      # of the sender's life; 0: not said
}

struct Sealed {
  epoch @0 :UInt64;
  lastEpoch @1 :UInt64;
  begin @2 :UInt64;
  durable @3 :UInt64;
  incarnation @4 :UInt64;
  vote @5 :UInt8;
  owed @6 :UInt64;  # address: the word counts only for a log that holds what is below,
  owedEpoch @7 :UInt64;  # whose last record is of that epoch
}

struct Leading {
  epoch @0 :UInt64;
  members @1 :UInt64;  # as in Seal
  run @2 :UInt64;      # as in Seal
}

struct Diverges {
  epoch @0 :UInt64;
  asked @1 :UInt64;
  lastEpoch @2 :UInt64;
  end @3 :UInt64;
}

struct GrantVote {
  epoch @0 :UInt64;
  incarnation @1 :UInt64;
  vote @2 :UInt8;
}

struct TakeOver {
  epoch @0 :UInt64;
}

struct AskCheckpoint {
  token @0 :UInt64;    # of the copy that is there in part; 0: none
  atLeast @1 :UInt64;
}

struct OfferCheckpoint {
  problem @0 :Text;    # not empty: nothing is offered now, and why
  token @1 :UInt64;
  fingerprint @2 :UInt64;
  owner @3 :Text;
  applied @4 :UInt64;
  logBegin @5 :UInt64;
  logEnd @6 :UInt64;
  epochs @7 :List(EpochStart);
  files @8 :List(CopiedFile);
  configurations @9 :List(Configuration);  # in force at logBegin: one, or none
}

struct Configuration {
  start @0 :UInt64;  # its record's addresses
  end @1 :UInt64;
  epoch @2 :UInt64;
  payload @3 :Data;
}

struct EpochStart {
  epoch @0 :UInt64;
  start @1 :UInt64;
}

struct CopiedFile {
  name @0 :Text;
  bytes @1 :UInt64;
}

struct ReadCheckpoint {
  fingerprint @0 :UInt64;
  offset @1 :UInt64;
  bytes @2 :UInt32;
}

struct CheckpointPart {
  fingerprint @0 :UInt64;
  offset @1 :UInt64;
  checksum @2 :UInt32;  # CRC32C of the bytes
  bytes @3 :Data;
  problem @4 :Text;     # not empty: there are no bytes, and why
}

struct CompareState {
  epoch @0 :UInt64;
  address @1 :UInt64;
  high @2 :UInt64;
  low @3 :UInt64;
  pairs @4 :UInt64;
  settled @5 :Bool;
  disputed @6 :Bool;
}

struct StateCompared {
  epoch @0 :UInt64;
  address @1 :UInt64;
  known @2 :Bool;
  high @3 :UInt64;
  low @4 :UInt64;
  pairs @5 :UInt64;
  diverged @6 :Bool;
  disputed @7 :Bool;
}
