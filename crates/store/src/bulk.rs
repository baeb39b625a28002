//! Many rows in few statements: a statement is a trip to the thread that holds the database, and most of
//! what it costs.

use sqlx::AnyConnection;

use crate::db::database;
use crate::error::StoreError;

/// Rows of one statement. Few sizes, so that the prepared statements of each are used again; the largest
/// stays far below the number of values a statement may have.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// A value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    MaybeText(Option<String>),
    MaybeNumber(Option<i64>),
}

/// A statement around its rows: `INSERT INTO … VALUES` and what follows them.
pub(crate) struct Statement {
    pub(crate) before: &'static str,
    pub(crate) after: &'static str,
    pub(crate) what: &'static str,
}

/// Executes a statement over all rows. No two rows of one call may have the same key.
pub(crate) async fn run<const N: usize>(
    connection: &mut AnyConnection,
    statement: &Statement,
    rows: Vec<[Value; N]>,
) -> Result<(), StoreError> {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    while left > 0 {
        let size = SIZES.into_iter().find(|size| *size <= left).unwrap_or(1);
        let sql = sql(statement, size, N);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for value in rows.by_ref().take(size).flatten() {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::MaybeText(text) => query.bind(text),
                Value::MaybeNumber(number) => query.bind(number),
            };
        }
        query
            .execute(&mut *connection)
            .await
            .map_err(database(statement.what))?;
        left -= size;
    }
    Ok(())
}

/// `before ($1, $2), ($3, $4) after`.
fn sql(statement: &Statement, rows: usize, columns: usize) -> String {
    use std::fmt::Write;
    let mut sql = String::from(statement.before);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(sql, "{comma}${}", row * columns + column + 1);
        }
        sql.push(')');
    }
    sql.push_str(statement.after);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_through() {
        let statement = Statement {
            before: "INSERT INTO t (a, b) VALUES",
            after: " ON CONFLICT (a) DO NOTHING",
            what: "",
        };
        assert_eq!(
            sql(&statement, 2, 2),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT (a) DO NOTHING"
        );
    }
}
