//! All views of a folder as text: for a test that shows how two differ.

use anyhow::Context as _;
use eventlog::dump::tables;
use futures::TryStreamExt as _;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Every table of every view in a folder.
pub async fn dump(folder: &Path) -> anyhow::Result<String> {
    let mut views = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            views.insert(path.clone(), dump_file(&path).await?);
        }
    }
    let mut text = String::new();
    for (path, rows) in views {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let _ = writeln!(text, "# {name}\n{rows}");
    }
    Ok(text)
}

async fn dump_file(path: &Path) -> anyhow::Result<String> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut view = SqliteConnection::connect_with(&options).await?;
    let mut text = String::new();
    for table in tables(&mut view).await? {
        let _ = writeln!(text, "## {} ({})", table.name, table.columns.join(", "));
        let mut rows = table.rows(&mut view);
        while let Some(row) = rows.try_next().await? {
            let _ = writeln!(text, "{row}");
        }
    }
    view.close().await?;
    Ok(text)
}
