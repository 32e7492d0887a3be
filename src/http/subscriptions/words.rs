//! Words of the wire format for where a subscription stands and why it ends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::SubscriptionStatus;
use crate::model::subscription::{CancelReason, CancellationFeedback};

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SubscriptionStatus)]
#[serde(rename_all = "snake_case")]
pub(super) enum StatusWord {
    Pending,
    Active,
    OnHold,
    Paused,
    Cancelled,
    Failed,
    Expired,
    PastDue,
}

impl StatusWord {
    pub(super) fn read(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(word)).ok()
    }

    /// The status; nothing for one that no subscription has.
    pub(super) fn status(self) -> Option<SubscriptionStatus> {
        match self {
            Self::Pending => Some(SubscriptionStatus::Pending),
            Self::Active => Some(SubscriptionStatus::Active),
            Self::OnHold => Some(SubscriptionStatus::OnHold),
            Self::Cancelled => Some(SubscriptionStatus::Cancelled),
            Self::Expired => Some(SubscriptionStatus::Expired),
            Self::Paused => Some(SubscriptionStatus::Paused),
            Self::PastDue => Some(SubscriptionStatus::PastDue),
            Self::Failed => None,
        }
    }
}

impl From<SubscriptionStatus> for StatusWord {
    fn from(status: SubscriptionStatus) -> Self {
        match status {
            SubscriptionStatus::Pending => Self::Pending,
            SubscriptionStatus::Active => Self::Active,
            SubscriptionStatus::OnHold => Self::OnHold,
            SubscriptionStatus::PastDue => Self::PastDue,
            SubscriptionStatus::Paused => Self::Paused,
            SubscriptionStatus::Cancelled => Self::Cancelled,
            SubscriptionStatus::Expired => Self::Expired,
        }
    }
}

/// Why a customer leaves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CancellationFeedback)]
#[serde(rename_all = "snake_case")]
pub(super) enum FeedbackWord {
    TooExpensive,
    MissingFeatures,
    SwitchedService,
    Unused,
    CustomerService,
    LowQuality,
    TooComplex,
    Other,
}

/// Who or what ends a subscription.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[schema(as = CancelReason)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReasonWord {
    CancelledByCustomer,
    CancelledByMerchant,
    CancelledByMerchantSendDunning,
    CancelledByMerchantGracePeriodExpired,
    DodoTeam,
}

impl From<FeedbackWord> for CancellationFeedback {
    fn from(word: FeedbackWord) -> Self {
        match word {
            FeedbackWord::TooExpensive => Self::TooExpensive,
            FeedbackWord::MissingFeatures => Self::MissingFeatures,
            FeedbackWord::SwitchedService => Self::SwitchedService,
            FeedbackWord::Unused => Self::Unused,
            FeedbackWord::CustomerService => Self::CustomerService,
            FeedbackWord::LowQuality => Self::LowQuality,
            FeedbackWord::TooComplex => Self::TooComplex,
            FeedbackWord::Other => Self::Other,
        }
    }
}

impl From<CancellationFeedback> for FeedbackWord {
    fn from(feedback: CancellationFeedback) -> Self {
        match feedback {
            CancellationFeedback::TooExpensive => Self::TooExpensive,
            CancellationFeedback::MissingFeatures => Self::MissingFeatures,
            CancellationFeedback::SwitchedService => Self::SwitchedService,
            CancellationFeedback::Unused => Self::Unused,
            CancellationFeedback::CustomerService => Self::CustomerService,
            CancellationFeedback::LowQuality => Self::LowQuality,
            CancellationFeedback::TooComplex => Self::TooComplex,
            CancellationFeedback::Other => Self::Other,
        }
    }
}

impl From<ReasonWord> for CancelReason {
    fn from(word: ReasonWord) -> Self {
        match word {
            ReasonWord::CancelledByCustomer => Self::CancelledByCustomer,
            ReasonWord::CancelledByMerchant => Self::CancelledByMerchant,
            ReasonWord::CancelledByMerchantSendDunning => Self::CancelledByMerchantSendDunning,
            ReasonWord::CancelledByMerchantGracePeriodExpired => {
                Self::CancelledByMerchantGracePeriodExpired
            }
            ReasonWord::DodoTeam => Self::DodoTeam,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_those_of_the_wire_format() {
        let words = ["pending", "active", "on_hold", "past_due", "paused", "cancelled", "expired"];
        for word in words {
            let status = StatusWord::read(word).and_then(StatusWord::status).unwrap();
            let printed = serde_json::to_string(&StatusWord::from(status)).unwrap();
            assert_eq!(printed, format!("\"{word}\""));
        }
        assert_eq!(StatusWord::read("failed").unwrap().status(), None);
        assert_eq!(StatusWord::read("Active"), None);
    }
}
