//! The command.

fn main() -> std::process::ExitCode {
    cooper::main()
}
