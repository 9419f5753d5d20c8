//! A view's rows as text, in one order whatever the order they were written in: two views are equal when their dumps
//! are.

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, SqliteConnection};

pub struct Table {
    pub name: String,
    pub columns: Vec<String>,
    /// Of its primary key, in order; without one, none.
    key: Vec<String>,
}

/// What a table says, in one number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) hash: [u8; 32],
}

/// Every table of a view's file, by name.
pub async fn tables(view: &mut SqliteConnection) -> sqlx::Result<Vec<Table>> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    )
    .fetch_all(&mut *view)
    .await?;
    let mut tables = Vec::new();
    for name in names {
        let mut found: Vec<(String, i64)> = sqlx::query_as("SELECT name, pk FROM pragma_table_info(?)")
            .bind(&name)
            .fetch_all(&mut *view)
            .await?;
        let columns = found.iter().map(|(column, _)| column.clone()).collect();
        found.retain(|(_, place)| *place > 0);
        found.sort_by_key(|(_, place)| *place);
        let key = found.into_iter().map(|(column, _)| column).collect();
        tables.push(Table { name, columns, key });
    }
    Ok(tables)
}

impl Table {
    /// Its rows, as SQL writes their values.
    pub fn rows<'c>(&self, view: &'c mut SqliteConnection) -> BoxStream<'c, sqlx::Result<String>> {
        let values: Vec<String> = self.columns.iter().map(|column| format!("quote({column:?})")).collect();
        // By the key where there is one: that costs no sorting.
        let mut order: Vec<String> = self.key.iter().map(|column| format!("{column:?}")).collect();
        order.push("1".to_owned());
        let select = format!(
            "SELECT {} FROM {:?} ORDER BY {}",
            values.join(" || ' | ' || "),
            self.name,
            order.join(", ")
        );
        sqlx::query_scalar(AssertSqlSafe(select)).fetch(view).boxed()
    }

    pub(super) async fn sum(&self, view: &mut SqliteConnection) -> sqlx::Result<Sum> {
        let (mut rows, mut hash) = (0, Sha256::new());
        let mut read = self.rows(view);
        while let Some(row) = read.try_next().await? {
            rows += 1;
            hash.update(row);
            hash.update("\n");
        }
        let hash = hash.finalize().into();
        Ok(Sum { rows, hash })
    }
}
