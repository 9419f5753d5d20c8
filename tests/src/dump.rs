//! A view's rows as text, in one order whatever the order they were written in: two views are equal when their
//! dumps are.

use anyhow::Context as _;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
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
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    )
    .fetch_all(&mut view)
    .await?;
    let mut text = String::new();
    for table in tables {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
            .bind(&table)
            .fetch_all(&mut view)
            .await?;
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let select = format!(
            "SELECT {} AS row FROM \"{table}\" ORDER BY 1",
            quoted.join(" || ' | ' || ")
        );
        let _ = writeln!(text, "## {table} ({})", columns.join(", "));
        for row in sqlx::query(sqlx::AssertSqlSafe(select)).fetch_all(&mut view).await? {
            let _ = writeln!(text, "{}", row.try_get::<String, _>("row")?);
        }
    }
    view.close().await?;
    Ok(text)
}
