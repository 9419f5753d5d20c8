//! The editor as a process of its own, and the child that it starts to look into a git repository.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = git::child_main() {
        return Ok(code);
    }
    service::main(editor::SERVICE).await?;
    Ok(ExitCode::SUCCESS)
}
