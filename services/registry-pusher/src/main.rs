//! The registry-pusher as a process of its own.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    service::main(registry_pusher::SERVICE).await
}
