//! The auth, chat and user services on PostgreSQL.
