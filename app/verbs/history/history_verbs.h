#pragma once
// What stands behind `tailrace history`, beside its status. Internal.

namespace CLI {
class App;
}

namespace tailrace::app {

void add_scavenge_verb(CLI::App& history, int& exit_code);
void add_erased_verb(CLI::App& history, int& exit_code);

}  // namespace tailrace::app
