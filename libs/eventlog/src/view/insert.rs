//! Many rows with one statement.

use super::ViewError;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated};

/// Rows in one statement: SQLite takes 32,766 values.
const ROWS: usize = 500;

/// Takes the values of a row with `push_bind`, at most 64 of them.
pub type Values<'a> = Separated<'a, Sqlite, &'static str>;

/// Inserts rows: `into` stands before their values, such as `INSERT INTO thing`, and `then` behind, such as
/// `ON CONFLICT ...`. As parameters they cost a third of what they do as JSON.
pub async fn insert<T>(
    view: &mut SqliteConnection,
    into: &'static str,
    rows: &[T],
    then: &'static str,
    values: impl Fn(&mut Values<'_>, &T),
) -> Result<(), ViewError> {
    for rows in rows.chunks(ROWS) {
        let mut statement = QueryBuilder::new(into);
        statement.push(" ");
        statement.push_values(rows, |mut row, given| values(&mut row, given));
        statement.push(" ").push(then);
        statement.build().execute(&mut *view).await?;
    }
    Ok(())
}
