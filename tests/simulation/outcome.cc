#include "cluster.h"

namespace tailrace::simulation {

void Outcome::add(const Outcome& other) {
  acknowledged += other.acknowledged;
  reads += other.reads;
  fresh += other.fresh;
  leader_starts += other.leader_starts;
  crashes += other.crashes;
  truncations += other.truncations;
  cuts += other.cuts;
  fetches += other.fetches;
  wipes += other.wipes;
  installs += other.installs;
  transfers += other.transfers;
  full_disks += other.full_disks;
  damaged_disks += other.damaged_disks;
  operations += other.operations;
  repeats += other.repeats;
  bounded_reads += other.bounded_reads;
  own_reads += other.own_reads;
  too_hard += other.too_hard;
  changes += other.changes;
  relayed += other.relayed;
  returned_disks += other.returned_disks;
  put_back += other.put_back;
  replaced += other.replaced;
  clones += other.clones;
  served_done += other.served_done;
  served_unknown += other.served_unknown;
  served_refused += other.served_refused;
  served_reads += other.served_reads;
  event_commands += other.event_commands;
  event_done += other.event_done;
  event_refused += other.event_refused;
  event_repeats += other.event_repeats;
  event_replays += other.event_replays;
  event_reads += other.event_reads;
  looks += other.looks;
  checkpoints += other.checkpoints;
  event_files += other.event_files;
}

}  // namespace tailrace::simulation
