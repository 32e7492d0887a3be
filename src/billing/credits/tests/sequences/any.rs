//! What sequences are drawn from: attachments, and what happens.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_attachment(precision: u8)(
        (amount, trial_amount, trial_expires) in
            (1..60_i128, prop::option::of(1..20_i128), any::<bool>()),
        low_balance_percent in prop::option::of(0..=100_u8),
        prorates: bool,
        (is_enabled, limit) in (any::<bool>(), prop::option::of(0..30_i128)),
        behavior in prop::sample::select(vec![
            OverageBehavior::ForgiveAtReset,
            OverageBehavior::InvoiceAtBilling,
            OverageBehavior::CarryDeficit,
            OverageBehavior::CarryDeficitAutoRepay,
        ]),
        rolls in prop::bool::weighted(0.7),
        (percentage, count_max) in
            (prop::option::of(0..=100_u8), prop::option::of(0..3_u32)),
        timeframe in prop::option::of(prop::sample::select(vec![4, 10, 25])),
        expires_after_days in prop::option::of(prop::sample::select(vec![3, 10, 12])),
    ) -> Attachment {
        let step = 10_i128.pow(12 - u32::from(precision));
        let mut attachment = ten();
        attachment.precision = precision;
        attachment.amount = Credits::from_units(amount * step);
        attachment.trial_amount = trial_amount.map(|amount| Credits::from_units(amount * step));
        attachment.trial_expires = trial_expires;
        attachment.low_balance_percent = low_balance_percent;
        attachment.proration =
            if prorates { CreditProration::Prorate } else { CreditProration::NoProrate };
        let overage = &mut attachment.terms.overage;
        overage.is_enabled = is_enabled;
        overage.limit = limit.map(|limit| Credits::from_units(limit * 10_i128.pow(12)));
        overage.behavior = behavior;
        attachment.terms.rollover = RolloverTerms {
            is_enabled: rolls,
            percentage,
            timeframe: timeframe.map(days),
            count_max,
        };
        attachment.terms.expires_after_days = expires_after_days;
        attachment
    }
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    let which = 0..SUBSCRIPTIONS;
    prop_oneof![
        8 => (which.clone(), 0..2_usize, -30..250_i128, prop::bool::weighted(0.2))
            .prop_map(|(which, meter, value, late)| Op::Use { which, meter, value, late }),
        2 => (1..80_i128, prop::option::of(1..20_u32))
            .prop_map(|(steps, lives)| Op::TopUp { steps, lives }),
        1 => (1..60_i128).prop_map(|steps| Op::Debit { steps }),
        5 => (1..9_u32).prop_map(|days| Op::GoOn { days }),
        2 => Just(Op::Settle),
        3 => (which.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(which, attached, in_trial)| Op::Begin { which, attached, in_trial }),
        2 => (which.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(which, attached, restarts)| Op::Change { which, attached, restarts }),
        1 => which.clone().prop_map(|which| Op::PauseOrResume { which }),
        1 => which.clone().prop_map(|which| Op::HoldOrPay { which }),
        1 => which.clone().prop_map(|which| Op::End { which }),
        2 => (which, 1..60_i128).prop_map(|(which, steps)| Op::Reserve { which, steps }),
        2 => (any::<usize>(), prop::option::of(0..70_i128))
            .prop_map(|(nth, uses)| Op::Release { nth, uses }),
    ]
}

pub(super) fn any_attachments() -> impl Strategy<Value = Vec<Attachment>> {
    (0..2_u8).prop_flat_map(|precision| prop::collection::vec(any_attachment(precision), 3))
}
