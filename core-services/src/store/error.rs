//! What may go wrong between a service and PostgreSQL, and what it means for the worker.

use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::service::WorkError;

/// Why the database did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The data cannot be stored, now or later (SQLSTATE classes 21, 22, 23, 54).
    #[error("data cannot be stored: {}", text(.0))]
    Data(#[source] tokio_postgres::Error),
    /// The transaction lost against another one (serialization failure, deadlock): it may run again.
    #[error("transaction lost against another: {}", text(.0))]
    Conflict(#[source] tokio_postgres::Error),
    /// The server or the way to it is not able to work now.
    #[error("database does not work: {}", text(.0))]
    System(#[source] tokio_postgres::Error),
    /// No connection.
    #[error("no connection to the database: {0}")]
    Pool(String),
    /// It is unknown whether the transaction was committed.
    #[error("commit has no certain outcome: {0}")]
    Commit(&'static str),
    /// The answer to COMMIT is missing or an error.
    #[error("commit has no certain outcome: {}", text(.0))]
    CommitAnswer(#[source] tokio_postgres::Error),
    /// Nothing came back in time.
    #[error("database did not answer in time")]
    TimeOut,
    /// The database or its address is not what this program needs. Ends a start.
    #[error("{0}")]
    Unfit(String),
    /// What stands in the database cannot be read, or a dependency failed in a way that is a bug.
    #[error("stored data is not understood: {0}")]
    Corrupt(#[source] anyhow::Error),
}

impl StoreError {
    /// For metrics and the choice of what to do next.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Data(_) => "data",
            Self::Conflict(_) => "conflict",
            _ => "system",
        }
    }

    /// What a failed COMMIT means: deferred constraints are checked there, the rest is unknown.
    pub(super) fn commit(error: tokio_postgres::Error) -> Self {
        match Self::from(error) {
            Self::System(source) => Self::CommitAnswer(source),
            // The server said clearly that nothing was committed.
            known => known,
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            return Self::System(error);
        };
        if *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED {
            return Self::Conflict(error);
        }
        match state.code().get(..2) {
            Some("21" | "22" | "23" | "54") => Self::Data(error),
            _ => Self::System(error),
        }
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(source) => Self::Pool(text(&source)),
            other => Self::Pool(other.to_string()),
        }
    }
}

impl From<StoreError> for WorkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Data(_) => Self::Data(error.into()),
            _ => Self::System(error.into()),
        }
    }
}

/// The server's own words, which the driver's `Display` leaves out. Without its DETAIL, which quotes values.
fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
