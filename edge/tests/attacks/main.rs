//! Goal: nobody on the public port can end, fill, slow or mislead a node. Method: the real binary and raw sockets, one
//! test per attack, named `aNN_…`; `scripts/attacks` runs them. What has to hold after each of them is in [`siege`].

#[path = "../support/mod.rs"]
mod support;

mod floods;
mod frames;
mod heads;
mod receivers;
mod siege;
mod texts;
mod tokens;
