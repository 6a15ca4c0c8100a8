//! The gateway. See ARCHITECTURE.md.

use std::process::ExitCode;

use residency::gateway::command::Arguments;

fn main() -> ExitCode {
    Arguments::parse_command_line().run()
}
