@0xc730628a146d5545;
# What clients and servers say to each other. docs/formats/wire.md explains it.
# Fields are only ever added; their numbers never change.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("tailrace::rpc::wire");

struct Session {
  clientHigh @0 :UInt64;
  clientLow @1 :UInt64;
  serial @2 :UInt64;  # from 1, without gaps; 0: no session
  beginsBeforeNs @3 :UInt64;  # serial 1: log time after which it begins no session; 0: no bound
}

struct Hello {
  protocolVersion @0 :UInt32;
  cluster @1 :Text;
  node @2 :UInt32;           # 0: a client
  error @3 :Text;            # not empty: refused, and why; the connection closes
  leader @4 :Bool;           # server: it leads and serves
  leaderAddress @5 :Text;    # server: where clients find the leader, empty if unknown
  maxFrameBytes @6 :UInt64;  # server: the largest frame that it takes
  servers @7 :List(Text);    # server: where clients find the members of the cluster, itself included
  logTimeNs @8 :UInt64;      # server: of what it has applied; with sessionTtlNs only
  sessionTtlNs @9 :UInt64;   # server: the ttl by the rules in the log, or more: how far above logTimeNs a
                             # bound is to be; 0: the log has no rules, so send no bounds
  clusterIdentity @10 :Text; # server: 32 hexadecimal digits; "none" before its log has one; empty: an older
                             # server, which does not say
  clusterVersion @11 :UInt32; # server: as Status has it; 0: an older server, which does not say
}

struct Request {
  id @0 :UInt64;
  union {
    hello @1 :Hello;
    command @2 :Command;
    append @3 :Append;
    get @4 :Get;
    tail @5 :Tail;          # the id becomes the subscription's
    credit @6 :Credit;      # no answer
    cancelTail @7 :Void;    # no answer; id: the subscription's
    status @8 :Void;
    checkpoint @9 :Void;
    digest @10 :Digest;
    scan @11 :Scan;
    transfer @12 :UInt32;   # to the leader: hand the lead over to this node; 0: to the fittest
    promote @13 :Void;      # to a voter: seek the lead
    changeMember @14 :MemberChange;  # to the leader; done when it is committed
    readStream @15 :ReadStream;
    listStreams @16 :ListStreams;
    mget @17 :Mget;
    history @18 :History;
  }
}

struct MemberChange {
  union {
    set @0 :Member;     # add it, or make it what this says; empty addresses stay as they are
    remove @1 :UInt32;  # its number; nothing to do if it is none
  }
}

struct Member {
  node @0 :UInt32;
  voter @1 :Bool;    # of a change: is to be one, once it has caught up
  joining @2 :Bool;  # becomes a voter once it has caught up
  peerAddress @3 :Text;
  clientAddress @4 :Text;
}

enum Operation {
  none @0;
  put @1;
  delete @2;
  add @3;
  cas @4;
  digest @5;
  expire @6;
  insert @7;  # a cas against absent; an enumerant of its own, so that older servers refuse it
  txn @8;  # value: the body of a transaction (docs/formats/txn.md), whose times are how long from now
  scavenge @9;  # event files up to its record's end are to be without dead events
}

struct Command {
  operation @0 :Operation;
  session @1 :Session;
  key @2 :Data;
  value @3 :Data;
  expected @4 :Data;
  delta @5 :Int64;
  timeToLiveMs @6 :UInt64;  # put, expire, insert; 0: for ever
}

struct Append {
  stream @0 :Text;
  events @1 :List(Data);  # one atomic batch
}

enum ReadLevel {
  linearizable @0;
  any @1;
  atLeast @2;
  bounded @3;
}

struct Get {
  key @0 :Data;
  level @1 :ReadLevel;
  epoch @2 :UInt64;
  address @3 :UInt64;
  timeoutMs @4 :UInt32;  # how long the server may wait for its state; 0: its own limit
  stalenessMs @5 :UInt64;  # bounded: no staler than this
}

struct ReadStream {
  stream @0 :Text;
  from @1 :UInt64;      # the version of the first event of the answer
  fromEdge @2 :Bool;    # instead: the first event that can be read; backwards the last one
  backwards @3 :Bool;
  events @4 :UInt32;    # at most in this answer; 0: only what there is of the stream
  level @5 :ReadLevel;
  epoch @6 :UInt64;
  address @7 :UInt64;
  timeoutMs @8 :UInt32;
  stalenessMs @9 :UInt64;
}

struct ListStreams {
  prefix @0 :Text;
  after @1 :Text;       # only names behind it
  streams @2 :UInt32;   # at most in this answer
  level @3 :ReadLevel;
  epoch @4 :UInt64;
  address @5 :UInt64;
  timeoutMs @6 :UInt32;
  stalenessMs @7 :UInt64;
}

# The event files of one node: which there are, or a piece of one.
struct History {
  after @0 :UInt64;     # files: those whose range begins there or behind
  files @1 :UInt32;     # at most in this answer; 0: a piece is wanted
  file @2 :EventFile;   # whose
  offset @3 :UInt64;
  bytes @4 :UInt32;     # at most
  timeoutMs @5 :UInt32;
  stream @6 :Text;      # not empty: where events of it still are, and none of the above
}

struct StreamRemains {
  what @0 :Text;
  begin @1 :UInt64;     # of the log, where the bytes are of it; else both are 0
  end @2 :UInt64;
}

struct EventFile {
  begin @0 :UInt64;     # of the log
  end @1 :UInt64;
  revision @2 :UInt32;
  digestHigh @3 :UInt64;
  digestLow @4 :UInt64;
  bytes @5 :UInt64;     # on that node's disk
}

struct HistoryAnswer {
  kept @0 :Bool;        # else the rest is empty
  begin @1 :UInt64;     # of the log that event files cover
  complete @2 :UInt64;  # and their end
  files @3 :UInt64;     # all of them
  bytes @4 :UInt64;
  missingBytes @5 :UInt64;  # of the log between the two, that no file covers
  trouble @6 :Text;     # why no more is written
  listed @7 :List(EventFile);  # by their ranges
  more @8 :Bool;
  piece @9 :Data;
  scavengeTo @10 :UInt64;    # up to there event files are to be without dead events; 0: never asked for
  scavengedTo @11 :UInt64;   # up to there they are; 0: that is not known
  scavengeTrouble @12 :Text; # why they are not yet
  removedEvents @13 :UInt64; # dead ones, since the node's start
  remains @14 :List(StreamRemains);
  looked @15 :Bool;     # for a stream; an older server did not
}

struct Mget {
  keys @0 :List(Data);
  level @1 :ReadLevel;
  epoch @2 :UInt64;
  address @3 :UInt64;
  timeoutMs @4 :UInt32;
  stalenessMs @5 :UInt64;
}

struct Tail {
  from @0 :UInt64;  # 0: the log's begin
  to @1 :UInt64;    # 0: the committed address now, or for ever with follow
  fromEnd @2 :Bool;
  follow @3 :Bool;
  creditBytes @4 :UInt64;
}

struct Scan {
  scan @0 :UInt64;    # an open one; 0: a new one, of what follows
  slice @1 :UInt64;   # of an open one: the next one, counted from the first answer, which is 0
  pairs @2 :UInt32;   # at most in this answer; 0: closes an open one
  prefix @3 :Data;
  level @4 :ReadLevel;
  epoch @5 :UInt64;
  address @6 :UInt64;
  timeoutMs @7 :UInt32;
  stalenessMs @8 :UInt64;
}

struct Credit {
  bytes @0 :UInt64;  # more; id: the subscription's
}

struct Digest {
  address @0 :UInt64;  # end of a digest command
  logFrom @1 :UInt64;  # 0: the node's own begin
  timeoutMs @2 :UInt32;
}

struct Response {
  id @0 :UInt64;
  epoch @1 :UInt64;
  applied @2 :UInt64;
  stalenessBoundMs @3 :UInt64;
  union {
    hello @4 :Hello;           # once more, with id 0, when the members have changed
    error @5 :Error;
    command @6 :CommandAnswer;
    get @7 :GetAnswer;
    records @8 :List(Record);  # a push of subscription id
    tailEnd @9 :UInt64;        # the subscription ended at this address
    status @10 :Status;
    checkpoint @11 :UInt64;
    digest @12 :DigestAnswer;
    tailStart @13 :TailStart;  # first of subscription id: what it will cover
    scan @14 :ScanAnswer;
    done @15 :Void;            # of transfer, promote and changeMember
    stream @16 :StreamAnswer;
    streams @17 :StreamsAnswer;
    mget @18 :MgetAnswer;
    history @19 :HistoryAnswer;
  }
}

struct TailStart {
  from @0 :UInt64;
  to @1 :UInt64;  # 2^64-1: for ever
}

struct Error {
  code @0 :Text;  # "not_leader", …
  message @1 :Text;
  leaderAddress @2 :Text;
  tryAnother @3 :Bool;  # this node is unhealthy, or its state too old: another one may answer
}

struct CommandAnswer {
  first @0 :UInt64;
  end @1 :UInt64;
  outcome @2 :UInt8;
  hasValue @3 :Bool;
  value @4 :Data;
  last @5 :UInt64;  # where the last record begins; equals first but for an append
  logTimeNs @6 :UInt64;     # of an expired session: as in Hello, for the next one's bound
  sessionTtlNs @7 :UInt64;
  withheldBytes @8 :UInt64;  # not 0: there is a value of so many bytes, which does not come along; get it
}

struct GetAnswer {
  found @0 :Bool;
  value @1 :Data;
}

struct StreamAnswer {
  state @0 :UInt8;      # 0: there is no such stream, 1: it exists, 2: deleted, 3: tombstoned
  first @1 :UInt64;     # versions from it to before `end` can be read
  end @2 :UInt64;       # the version of the next event
  events @3 :List(StreamEvent);
  more @4 :Bool;        # there are more in that direction:
  next @5 :UInt64;      # from this version on
  policy @6 :StreamPolicy;
}

struct StreamEvent {
  version @0 :UInt64;
  position @1 :UInt64;
  timeNs @2 :UInt64;    # unix time
  event @3 :Data;       # its header and what follows (docs/formats/txn.md, Events)
}

struct StreamPolicy {
  maxCount @0 :UInt64;  # 0: all
  maxAgeNs @1 :UInt64;  # 0: all
  dedupe @2 :UInt32;
}

struct StreamsAnswer {
  streams @0 :List(ListedStream);  # that exist, in the order of their names
  more @1 :Bool;                   # there may be more behind the last one
}

struct ListedStream {
  name @0 :Text;
  first @1 :UInt64;     # as in StreamAnswer
  end @2 :UInt64;
  lastTimeNs @3 :UInt64;
  policy @4 :StreamPolicy;
}

struct MgetAnswer {
  values @0 :List(KeyValue);  # of each key, in the order of the request; all as they were at `applied`
}

struct KeyValue {
  found @0 :Bool;
  value @1 :Data;
  withheldBytes @2 :UInt64;  # not 0: the value has so many bytes and found no room in the answer
  modifiedAt @3 :UInt64;     # position; 0: not known
}

struct ScanAnswer {
  scan @0 :UInt64;     # to go on with; 0: that was the end
  address @1 :UInt64;  # all pairs of the scan are as they were when all below it was applied
  pairs @2 :List(Pair);
}

struct Pair {
  key @0 :Data;
  value @1 :Data;
}

struct Record {
  address @0 :UInt64;
  end @1 :UInt64;
  epoch @2 :UInt64;
  kind @3 :UInt8;
  payload @4 :Data;
}

struct Status {
  node @0 :UInt32;
  role @1 :Text;
  problem @2 :Text;
  epoch @3 :UInt64;
  leader @4 :UInt32;
  leaderAddress @5 :Text;
  serving @6 :Bool;
  begin @7 :UInt64;
  checkpointed @8 :UInt64;
  applied @9 :UInt64;
  committed @10 :UInt64;
  durable @11 :UInt64;
  tail @12 :UInt64;
  logDiskBytes @13 :UInt64;
  storeUsedBytes @14 :UInt64;
  liveRecords @15 :UInt64;
  followers @16 :List(Follower);
  anchors @17 :List(Anchor);
  storeCapacityBytes @18 :UInt64;
  storeLogBegin @19 :UInt64;     # addresses of the store's own log:
  storeLogHead @20 :UInt64;      # below it on disk only
  storeLogReadOnly @21 :UInt64;  # from it on updated in place
  storeLogTail @22 :UInt64;
  logTimeNs @23 :UInt64;         # unix time of the newest applied commit mark
  vote @24 :UInt8;               # whether its word counts: 0 no, 1 provisionally, 2 yes
  coordinator @25 :Text;         # why the coordinator cannot be asked; empty if it can
  unhealthy @26 :Text;           # why no reads are answered; empty if they are
  lastCompared @27 :UInt64;      # newest address where its state was compared; 0: none
  diverged @28 :Bool;            # its state is not the cluster's
  copy @29 :StateCopy;
  source @30 :UInt32;  # who streams the log to it: its leader, or its upstream; 0: nobody
  members @31 :List(Member);  # as its log has them
  membersInLog @32 :Bool;     # else its file names them: a young cluster
  removed @33 :Bool;          # it is none of them
  clusterVersion @34 :UInt32;  # all members know its formats and rules; 0: of before 2
  clusterIdentity @35 :Text;   # 32 hexadecimal digits; empty: it has none yet
  nextVersion @36 :UInt32;     # leader: a newer one that all know; 0: there is none
  nextVersionInMs @37 :UInt64;  # until the cluster goes over to it
  activity @38 :Activity;      # absent: an older server
  lastFailure @39 :LastFailure;  # of this life of the node or one before; absent: none is known
}

struct LastFailure {
  unixTimeNs @0 :UInt64;
  reason @1 :Text;  # "disk", "damage", "invariant", "store", "other"
  message @2 :Text;
}

# What the server has done since its start, and what it holds now.
struct Activity {
  uptimeSeconds @0 :Float64;  # less than before: it was started anew
  cpuSeconds @1 :Float64;
  residentBytes @2 :UInt64;
  diskFreeBytes @3 :UInt64;   # of the file system of the data directory
  diskCapacityBytes @4 :UInt64;  # 0: not known
  writes @5 :UInt64;          # requests that were answered without an error
  reads @6 :UInt64;
  events @7 :UInt64;          # records that appends and transactions put into the log
  recordBytes @8 :UInt64;     # of all records that requests put into the log
  refused @9 :UInt64;         # requests that were answered with an error
  notLeader @10 :UInt64;
  failed @11 :UInt64;
  inFlight @12 :UInt64;
  connections @13 :UInt64;
  tails @14 :UInt64;
  stageBoundsSeconds @15 :List(Float64);  # ascending upper bounds of the buckets of all stages
  stages @16 :List(StageTimes);
}

# How long writes took in one stage.
struct StageTimes {
  name @0 :Text;
  counts @1 :List(UInt64);    # one a bound, and one for what is above all bounds
  sumSeconds @2 :Float64;
}

# A copy of another node's state that comes in.
struct StateCopy {
  stage @0 :Text;     # "idle": there is none
  from @1 :UInt32;
  received @2 :UInt64;
  bytes @3 :UInt64;   # in all
  problem @4 :Text;   # why it does not go on; empty if it does
}

struct Follower {
  node @0 :UInt32;
  connected @1 :Bool;
  needsCheckpoint @2 :Bool;
  durable @3 :UInt64;
  applied @4 :UInt64;
  lagBytes @5 :UInt64;
  lagSeconds @6 :Float64;
  voter @7 :Bool;
  vote @8 :UInt8;
  unhealthy @9 :Text;  # as far as the leader knows
  lastCompared @10 :UInt64;
  relayedBy @11 :UInt32;  # it has its stream from that node; 0: from the one that says so
}

struct Anchor {
  name @0 :Text;
  address @1 :UInt64;
}

struct DigestAnswer {
  begin @0 :UInt64;
  stateHigh @1 :UInt64;
  stateLow @2 :UInt64;
  pairs @3 :UInt64;
  logHigh @4 :UInt64;
  logLow @5 :UInt64;
}
