//! Compiles the contract in pure Rust (no protoc), and keeps its descriptors for reflection and JSON.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=cooperage");
    let files = [
        "admin/v1/admin.proto",
        "catalog/v1/access.proto",
        "catalog/v1/catalog.proto",
        "catalog/v1/events.proto",
        "catalog/v1/history.proto",
        "catalog/v1/refusal.proto",
        "editor/v1/editor.proto",
        "editor/v1/events.proto",
        "builder/v1/builder.proto",
        "builder/v1/events.proto",
        "registry/v1/registry.proto",
        "registry/v1/events.proto",
        "notifier/v1/notifier.proto",
    ]
    .map(|file| format!("cooperage/{file}"));
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    // Whatever shows a request shows no secret.
    config.skip_debug([
        ".cooperage.builder.v1.BuildCredentials",
        ".cooperage.builder.v1.RegistryCredential",
        ".cooperage.editor.v1.GitCredential",
    ]);
    tonic_prost_build::configure()
        // Ordered, so that the same event always has the same bytes.
        .btree_map(".")
        .bytes(".")
        .extern_path(".cooperage.ids.v1", "::ids")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
