#pragma once
// Clients that append to streams with an expected version, and run transactions across keys and
// streams; readers of any node; and the checkpoints, the files of events and the truncation that
// their state goes through. What is checked:
//
//   streams       all clients' answers and reads are explained by the streams' own order
//                 (tests/support/stream_history.h), and all nodes show the same events
//   transactions  every reader of every node sees all of one or nothing of it
//   repeats       are answered as the first was
//   files         have the events of the streams, each once and without a hole

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster.h"

namespace tailrace::simulation {

class Cluster::EventSide {
 public:
  EventSide(Cluster& cluster, uint64_t seed);
  void start();
  /// The node begins a life: its state is that of its checkpoint.
  static void restore(SimNode& node);
  /// Its state and its files need the log from here.
  Address needed(const SimNode& node) const;
  void judge();

 private:
  /// By the number of a command: it is no append alone.
  static bool is_transaction(uint64_t number) { return number % 2 == 1; }
  /// An append of a transaction: what it means for its stream.
  struct Part {
    testing::StreamOperation operation;
    statemachine::TxnList list = statemachine::TxnList::kThen;
    uint16_t index = 0;
  };
  struct Command {
    uint64_t number = 0;
    std::vector<std::byte> body;
    bool transaction = false;
    bool repeatable = false;             // it has ids, or a once key
    bool once = false;                   // the latter
    std::optional<std::string> checked;  // the stream that its check names
    std::vector<Part> parts;
  };
  /// One that was answered, to be sent again later.
  struct Done {
    Command command;
    std::string answer;
    uint64_t last_version = 0;  // of its first part
  };
  struct Client {
    std::map<std::string, uint64_t> seen;  // events that it knows of
    std::string mark;                      // that it saw last
    bool busy = false, again = false;      // again: `command` is that of done[of_done]
    Command command;
    Done first;  // again: what it was told first
    std::deque<Done> done;
    std::optional<ModelClient::Attempt> attempt;
    Address record;  // of the attempt
    uint64_t attempts = 0, round = 0;
    Time invoked{0};
  };

  // event_side.cc
  const EventState& state_of(SimNode& node);
  void keep_house();
  void take_checkpoint(SimNode& node);
  EventState with_half(const SimNode& node) const;
  void write_files(SimNode& node);
  void write_record(SimNode& node, EventFiles& files, const Batch& batch);
  void note_in_files(const SimNode& node, EventFiles& files, const std::string& stream,
                     uint64_t version, testing::StreamEvent event);
  void look_around();
  void look(SimNode& node);
  void compare(const SimNode& node, const std::string& stream, const EventState& state);
  void check_whole(const SimNode& node, const EventState& state);

  // event_clients.cc
  Time between(int64_t low_us, int64_t high_us);
  SimNode* any_node(bool serving);
  void pause(Client& client);
  void next(Client& client);
  void plan_append(Client& client);
  void plan_transaction(Client& client);
  statemachine::TxnCheck plan_check(Client& client);
  bool plan_again(Client& client);
  testing::StreamOperation operation(const Client& client, const std::string& stream,
                                     uint64_t first_index) const;
  void expect(Client& client, testing::StreamOperation& append, statemachine::TxnEffect& effect);
  void try_to_write(Client& client);
  void attempt(Client& client, SimNode& node);
  void answered(Client& client, SimNode& node);
  void answered_again(Client& client, const std::string& answer);
  void note_answer(Client& client, const statemachine::TxnResult& result);
  void give_up(Client& client);
  void read(Client& client);
  void await_read(Client& client);

  uint64_t now() const { return static_cast<uint64_t>(cluster_.now_.count()); }

  Cluster& cluster_;
  Random random_;  // of its own: what is without these clients stays as it is
  std::deque<Client> clients_;
  uint64_t commands_ = 0;
  // What was seen, by anyone and at any node.
  testing::StreamContents seen_;
  std::map<std::string, std::map<testing::StreamEvent, uint64_t>> versions_;
  std::vector<testing::StreamOperation> operations_;
  std::vector<testing::PlacedAnswer> answers_;
};

}  // namespace tailrace::simulation
