//! Where a subscription stands, in words.

use crate::http::dashboard::table::{Cell, Tone};
use crate::model::SubscriptionStatus;

/// Every status with its word.
pub(in crate::http::dashboard) const STATUSES: [(SubscriptionStatus, &str); 7] = [
    (SubscriptionStatus::Active, "active"),
    (SubscriptionStatus::Pending, "pending"),
    (SubscriptionStatus::OnHold, "on_hold"),
    (SubscriptionStatus::PastDue, "past_due"),
    (SubscriptionStatus::Paused, "paused"),
    (SubscriptionStatus::Cancelled, "cancelled"),
    (SubscriptionStatus::Expired, "expired"),
];

/// The badge of a status.
pub(in crate::http::dashboard) fn status(status: SubscriptionStatus) -> Cell {
    let tone = match status {
        SubscriptionStatus::Active => Tone::Good,
        SubscriptionStatus::Pending | SubscriptionStatus::Paused => Tone::Warning,
        SubscriptionStatus::OnHold | SubscriptionStatus::PastDue => Tone::Bad,
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => Tone::Plain,
    };
    let word = STATUSES.iter().find(|(known, _)| *known == status).map_or("", |(_, word)| *word);
    Cell::Badge(tone, word.replace('_', " "))
}
