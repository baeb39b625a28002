//! Statements that go to the database together. A statement is a trip to the thread that holds the
//! database, and most of what it costs; small ones share a trip, and many rows share a statement.

use sqlx::AnyConnection;

use crate::db::database;
use crate::error::StoreError;

/// Rows of one statement. Few sizes, so that the prepared statements of each are used again; the largest
/// stays far below the number of values a statement may have.
const SIZES: [usize; 4] = [64, 16, 4, 1];
/// A statement with as many values as this goes alone: it is prepared once, however it is surrounded.
const LARGE: usize = 64;

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
}

/// What is to be executed, in order.
#[derive(Default)]
pub(crate) struct Script {
    trips: Vec<Trip>,
}

/// Statements in one text, whose parameters are numbered through, and their values.
#[derive(Default)]
struct Trip {
    sql: String,
    values: Vec<Value>,
    closed: bool,
}

impl Script {
    /// Adds a statement without values.
    pub(crate) fn say(&mut self, sql: &str) {
        let trip = self.open();
        if !trip.sql.is_empty() {
            trip.sql.push_str("; ");
        }
        trip.sql.push_str(sql);
    }

    /// Adds a statement for all rows. No two rows of one call may have the same key.
    pub(crate) fn rows<const N: usize>(&mut self, statement: &Statement, rows: Vec<[Value; N]>) {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let size = SIZES.into_iter().find(|size| *size <= left).unwrap_or(1);
            let values: Vec<Value> = rows.by_ref().take(size).flatten().collect();
            let large = values.len() >= LARGE;
            if large {
                self.trips.push(Trip::default());
            }
            let first = self.open().values.len() + 1;
            self.say(&sql(statement, size, N, first));
            let trip = self.open();
            trip.values.extend(values);
            trip.closed = large;
            left -= size;
        }
    }

    /// Executes all of it. What it is about is told where it fails.
    pub(crate) async fn run(
        self,
        connection: &mut AnyConnection,
        what: &'static str,
    ) -> Result<(), StoreError> {
        for trip in self.trips.into_iter().filter(|trip| !trip.sql.is_empty()) {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(trip.sql));
            for value in trip.values {
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
                .map_err(database(what))?;
        }
        Ok(())
    }

    fn open(&mut self) -> &mut Trip {
        if self.trips.last().is_none_or(|trip| trip.closed) {
            self.trips.push(Trip::default());
        }
        let at = self.trips.len() - 1;
        &mut self.trips[at]
    }
}

/// `before ($1, $2), ($3, $4) after`, with the number of its first parameter.
fn sql(statement: &Statement, rows: usize, columns: usize, first: usize) -> String {
    use std::fmt::Write;
    let mut sql = String::from(statement.before);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(sql, "{comma}${}", first + row * columns + column);
        }
        sql.push(')');
    }
    sql.push_str(statement.after);
    sql
}

#[cfg(test)]
mod tests {
    use super::Value::Number;
    use super::*;

    const T: Statement = Statement {
        before: "INSERT INTO t (a, b) VALUES",
        after: " ON CONFLICT (a) DO NOTHING",
    };
    const U: Statement = Statement {
        before: "DELETE FROM u WHERE (id) IN (VALUES",
        after: ")",
    };

    #[test]
    fn small_statements_share_a_trip_and_their_values_are_numbered_through() {
        let mut script = Script::default();
        script.say("BEGIN");
        script.rows(&T, vec![[Number(1), Number(2)]]);
        script.rows(&U, vec![[Number(3)]; 5]);
        script.rows(&T, Vec::<[Value; 2]>::new());
        let [trip] = &script.trips[..] else {
            panic!("{} trips", script.trips.len());
        };
        assert_eq!(
            trip.sql,
            "BEGIN; INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO NOTHING; \
             DELETE FROM u WHERE (id) IN (VALUES ($3), ($4), ($5), ($6)); \
             DELETE FROM u WHERE (id) IN (VALUES ($7))"
        );
        assert_eq!(trip.values.len(), 7);
    }

    #[test]
    fn large_statements_go_alone() {
        let mut script = Script::default();
        script.rows(&T, vec![[Number(1), Number(2)]; 70]);
        script.say("END");
        let texts: Vec<&str> = script.trips.iter().map(|trip| trip.sql.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("($127, $128)"));
        // Six rows that are left: four, one and one.
        assert!(texts[1].contains("($1, $2)") && texts[1].ends_with("; END"));
    }
}
