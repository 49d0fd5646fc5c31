//! The edge node: terminates WebSockets, forwards batches.
