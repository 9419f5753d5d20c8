//! The builder as a process of its own, and the child that it starts to fetch a git repository.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = git::child_main() {
        return Ok(code);
    }
    service::main(builder::SERVICE).await?;
    Ok(ExitCode::SUCCESS)
}
