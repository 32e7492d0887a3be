//! One pool of credits, as simple as can be: every grant that ever was, each with what is left of it.
//!
//! Amounts are whole numbers of 10^-12. Nothing waits to be written: a draw moves at once.

use std::collections::BTreeMap;

use quipu::model::credit::{
    GrantOrder, GrantSource, OverageBehavior, OverageTerms, TransactionType,
};
use quipu::model::{Lsn, ReservationId, SubscriptionIndex, Timestamp, UnitPrice};

use super::holds::Held;

/// A grant, ended or not.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) source: Source,
    pub(crate) initial: i128,
    pub(crate) left: i128,
    pub(crate) rollovers: u32,
    pub(super) outlives_turn: bool,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) has_ended: bool,
    /// It has ended with something left, wherever that went.
    pub(crate) is_lost: bool,
    pub(crate) created_at: Timestamp,
}

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Period(SubscriptionIndex),
    Rollover(SubscriptionIndex),
    Purchase,
    Api,
}

impl Source {
    pub(crate) fn of(source: &GrantSource) -> Self {
        match source {
            GrantSource::Subscription(of) => Self::Period(*of),
            GrantSource::Rollover { subscription, .. } => Self::Rollover(*subscription),
            GrantSource::OneTime(_) => Self::Purchase,
            GrantSource::Api => Self::Api,
        }
    }

    pub(crate) fn subscription(self) -> Option<SubscriptionIndex> {
        match self {
            Self::Period(of) | Self::Rollover(of) => Some(of),
            Self::Purchase | Self::Api => None,
        }
    }
}

/// What happened: a row of the ledger that is no draw must say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) lsn: Lsn,
    pub(crate) what: TransactionType,
    pub(crate) amount: i128,
    /// The place of the grant among all of the pool.
    pub(crate) grant: Option<usize>,
    pub(crate) at: Timestamp,
}

/// What was drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) of: SubscriptionIndex,
    /// None: overage.
    pub(crate) grant: Option<usize>,
    pub(crate) amount: i128,
}

/// Usage that draws, and its settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) of: SubscriptionIndex,
    pub(crate) amount: i128,
    pub(crate) overage: OverageTerms,
    pub(crate) low_below: i128,
    pub(crate) at: Timestamp,
}

/// Overage on its way to the invoice of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) of: SubscriptionIndex,
    pub(crate) segment: Option<u32>,
    pub(crate) amount: i128,
    pub(crate) price: UnitPrice,
}

/// What a customer has of an entitlement.
#[derive(Clone, Debug, Default)]
pub(crate) struct NaivePool {
    pub(crate) grants: Vec<Granted>,
    pub(crate) overage: BTreeMap<SubscriptionIndex, i128>,
    repays: BTreeMap<SubscriptionIndex, bool>,
    pub(crate) low: BTreeMap<SubscriptionIndex, i128>,
    pub(crate) dues: Vec<Due>,
    /// What open reservations hold.
    pub(crate) holds: BTreeMap<ReservationId, Held>,
    pub(crate) moves: Vec<Move>,
    pub(crate) drawn: Vec<Drawn>,
    pub(crate) uncovered: i128,
    /// How often something was met.
    pub(crate) met: BTreeMap<&'static str, u64>,
}

/// A new grant but for its amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) source: Source,
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) lsn: Lsn,
}

impl NaivePool {
    pub(crate) fn balance(&self, at: Timestamp) -> i128 {
        self.live(at).map(|place| self.grants[place].left).sum()
    }

    pub(crate) fn overage(&self) -> i128 {
        self.overage.values().sum()
    }

    pub(crate) fn overage_of(&self, of: SubscriptionIndex) -> i128 {
        self.overage.get(&of).copied().unwrap_or(0)
    }

    /// What of the balance may be taken: what nobody holds.
    pub(crate) fn spendable(&self, at: Timestamp) -> i128 {
        let held: i128 = self.holds.values().map(|held| held.balance).sum();
        (self.balance(at) - held).max(0)
    }

    /// What is held of a subscription's headroom.
    pub(crate) fn held_overage(&self, of: SubscriptionIndex) -> i128 {
        let own = self.holds.values().filter(|held| held.of == of);
        own.map(|held| held.overage).sum()
    }

    fn live(&self, at: Timestamp) -> impl Iterator<Item = usize> {
        let is_live = move |grant: &Granted| {
            !grant.has_ended && grant.expires_at.is_none_or(|expires_at| at < expires_at)
        };
        self.grants
            .iter()
            .enumerate()
            .filter(move |(_, grant)| is_live(grant))
            .map(|(place, _)| place)
    }

    pub(super) fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// Takes from the grants: of which how much.
    fn take(&mut self, amount: i128, order: GrantOrder, at: Timestamp) -> Vec<(usize, i128)> {
        let mut live: Vec<usize> = self.live(at).collect();
        match order {
            GrantOrder::OldestFirst => {}
            GrantOrder::ExpiresFirst => live.sort_by_key(|place| {
                (self.grants[*place].expires_at.unwrap_or(Timestamp::MAX), *place)
            }),
        }
        let mut open = amount.min(self.spendable(at));
        let mut taken = Vec::new();
        for place in live {
            let part = open.min(self.grants[place].left);
            if part > 0 {
                open -= part;
                self.grants[place].left -= part;
                self.grants[place].has_ended = self.grants[place].left == 0;
                taken.push((place, part));
            }
        }
        taken
    }

    /// Draws; whether the balance has gone low by it.
    pub(crate) fn draw(&mut self, draw: &Draw, order: GrantOrder) -> bool {
        let Draw { of, amount, overage, low_below, at } = *draw;
        let before = self.balance(at);
        let taken = self.take(amount, order, at);
        let mut open = amount;
        for (grant, part) in taken {
            open -= part;
            self.meet("credits: drawn");
            self.drawn.push(Drawn { of, grant: Some(grant), amount: part });
        }
        let room = match (overage.is_enabled, overage.limit) {
            (false, _) => 0,
            (true, None) => open,
            (true, Some(limit)) => {
                let used = self.overage_of(of) + self.held_overage(of);
                (limit.as_units() - used).max(0)
            }
        };
        let beyond = open.min(room);
        if beyond > 0 {
            *self.overage.entry(of).or_default() += beyond;
            self.take_terms(of, &overage);
            self.meet("credits: drawn as overage");
            self.drawn.push(Drawn { of, grant: None, amount: beyond });
        }
        if open > beyond {
            self.meet("credits: uncovered");
            self.uncovered += open - beyond;
        }
        let after = self.balance(at);
        let was_low = self.low.contains_key(&of) && before < low_below;
        if after < low_below && (was_low || after < before) {
            if self.low.insert(of, low_below).is_none() {
                self.meet("credits: low balance");
            }
            return !was_low;
        }
        self.low.remove(&of);
        false
    }

    pub(crate) fn debit(&mut self, amount: i128, order: GrantOrder, at: Timestamp, lsn: Lsn) {
        let taken = self.take(amount, order, at);
        assert_eq!(taken.iter().map(|(_, part)| part).sum::<i128>(), amount, "there is so much");
        let grant = if taken.len() == 1 { Some(taken[0].0) } else { None };
        self.meet("credits: taken by hand");
        self.moves.push(Move { lsn, what: TransactionType::ManualAdjustment, amount, grant, at });
    }

    pub(crate) fn give(&mut self, amount: i128, given: Given) {
        self.meet(match given.source {
            Source::Purchase => "credits: bought once",
            Source::Api | Source::Period(_) | Source::Rollover(_) => "credits: given by hand",
        });
        self.add(TransactionType::CreditAdded, amount, given);
        self.rise(given.at);
    }

    /// Adds a grant, which repays first what is to be repaid: its place.
    pub(super) fn add(
        &mut self,
        what: TransactionType,
        amount: i128,
        given: Given,
    ) -> Option<usize> {
        let Given { source, at, expires_at, lsn } = given;
        if amount == 0 {
            return None;
        }
        let place = self.grants.len();
        self.grants.push(Granted {
            source,
            initial: amount,
            left: amount,
            rollovers: 0,
            outlives_turn: false,
            expires_at,
            has_ended: false,
            is_lost: false,
            created_at: at,
        });
        self.moves.push(Move { lsn, what, amount, grant: Some(place), at });
        let in_debt = self.overage.iter().filter(|(of, _)| self.repays.get(of) == Some(&true));
        let in_debt: Vec<_> = in_debt.map(|(of, debt)| (*of, *debt)).collect();
        for (of, debt) in in_debt {
            let part = debt.min(self.grants[place].left);
            if part > 0 {
                self.grants[place].left -= part;
                self.change_overage(of, -part);
                self.meet("credits: overage repaid");
                self.moves.push(Move {
                    lsn,
                    what: TransactionType::CreditDeducted,
                    amount: part,
                    grant: Some(place),
                    at,
                });
            }
        }
        self.grants[place].has_ended = self.grants[place].left == 0;
        Some(place)
    }

    pub(super) fn change_overage(&mut self, of: SubscriptionIndex, by: i128) {
        *self.overage.entry(of).or_default() += by;
        self.overage.retain(|_, overage| *overage != 0);
    }

    /// The balance may have risen: who was low is not when it is back.
    pub(super) fn rise(&mut self, at: Timestamp) {
        let balance = self.balance(at);
        self.low.retain(|_, below| balance < *below);
    }

    pub(super) fn take_terms(&mut self, of: SubscriptionIndex, terms: &OverageTerms) {
        self.repays.insert(of, terms.behavior == OverageBehavior::CarryDeficitAutoRepay);
    }

    /// Ends what is over at `at`, but what `is_left` to a turn.
    pub(crate) fn expire(
        &mut self,
        at: Timestamp,
        lsn: Lsn,
        is_left: impl Fn(SubscriptionIndex, Timestamp) -> bool,
    ) {
        let mut over: Vec<usize> = (0..self.grants.len())
            .filter(|place| {
                let grant = &self.grants[*place];
                let Some(end) = grant.expires_at.filter(|_| !grant.has_ended) else { return false };
                let of = grant.source.subscription();
                let is_left = !grant.outlives_turn && of.is_some_and(|of| is_left(of, end));
                end < at || (end == at && !is_left)
            })
            .collect();
        over.sort_by_key(|place| self.grants[*place].expires_at);
        for place in over {
            let end = self.grants[place].expires_at.expect("it is over");
            self.expire_all(&[place], end, lsn);
        }
    }

    /// The grants of a subscription that have not ended.
    pub(super) fn own(&self, of: SubscriptionIndex) -> Vec<usize> {
        let is_own = |grant: &Granted| !grant.has_ended && grant.source.subscription() == Some(of);
        let places = self.grants.iter().enumerate().filter(|(_, grant)| is_own(grant));
        places.map(|(place, _)| place).collect()
    }

    pub(super) fn expire_all(&mut self, places: &[usize], at: Timestamp, lsn: Lsn) {
        for place in places {
            self.lose(*place, TransactionType::CreditExpired, at, lsn);
        }
    }

    pub(super) fn lose(&mut self, place: usize, what: TransactionType, at: Timestamp, lsn: Lsn) {
        let left = std::mem::take(&mut self.grants[place].left);
        if left > 0 {
            let is_forfeited = what == TransactionType::RolloverForfeited;
            self.meet(if is_forfeited { "credits: forfeited" } else { "credits: expired" });
            self.moves.push(Move { lsn, what, amount: left, grant: Some(place), at });
        }
        (self.grants[place].has_ended, self.grants[place].is_lost) = (true, true);
    }
}
