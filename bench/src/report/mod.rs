//! The comparisons that `hub-compare` makes, one per subcommand; each prints its table.

#![expect(clippy::print_stdout, reason = "the table is the program's result")]
#![expect(clippy::cast_precision_loss, reason = "counts of one machine, for people")]

pub mod deliver;
pub mod echo;
pub mod flood;
pub mod instructions;
pub mod memory;
pub mod slow;
