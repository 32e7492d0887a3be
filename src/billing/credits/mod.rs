//! Credits: what usage draws on them, what a pool has and gives, and what a turn does to it.
//!
//! A [`Mark`] turns usage of a linked meter into credits, a [`Pool`] covers them from its grants, then by
//! overage, and leaves the rest uncovered. A [`Passage`] is what a change of a subscription means for
//! pools. Nothing here can fail or panic, whatever the sequence; instants, and the ids of what is made,
//! come from outside. Every operation leaves ledger rows and ended grants to whoever keeps them.
//!
//! After every operation of a pool:
//! - granted = balance + consumed + debited + repaid + expired + forfeited, and what was rolled out was
//!   rolled in; overage made = overage + charged + reset + repaid;
//! - ledger rows chain, and the newest stands where the pool does as soon as it is settled;
//! - when it is settled changes nothing but how draws are divided into rows.

mod draw;
mod grant;
mod hold;
mod ledger;
mod mark;
mod passage;
mod pool;
#[cfg(test)]
mod tests;
mod totals;
mod turn;

pub use draw::{Debit, Draw};
pub use grant::NewGrant;
pub use hold::Hold;
pub use ledger::{Ids, Left};
pub use mark::{DrawTerms, Mark, Usage};
pub use passage::{Passage, passage};
pub use pool::{OverageDue, Pool, SETTLE_AFTER};
pub use totals::Totals;
pub use turn::{Attached, earliest_end, low_balance_threshold};
