//! The load harness and its oracle.
