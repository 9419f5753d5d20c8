//! The builder as a process of its own, and the child that it starts to fetch a git repository.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = git::child_main() {
        return Ok(code);
    }
    serve()?;
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    service::main(builder::SERVICE).await
}
