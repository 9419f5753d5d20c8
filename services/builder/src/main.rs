//! The builder as a process of its own.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    service::main(builder::SERVICE).await
}
