//! What goes on at a turn and what ends, and when time ends it.

use super::*;

/// Two hundred credits a period that roll over.
fn rolling(percentage: Option<u8>, count_max: Option<u32>) -> Attachment {
    let mut attachment = Attachment { amount: credits("200"), ..ten() };
    attachment.terms.rollover =
        RolloverTerms { is_enabled: true, percentage, timeframe: None, count_max };
    attachment
}

fn turned(terms: &Attachment, uses: &str, turns: u32) -> Vec<String> {
    let mut rig = Rig::new();
    rig.begin(A, terms, 0);
    if uses != "0" {
        rig.draw(A, uses, terms, 1);
    }
    for turn in 1..=turns {
        rig.turn(A, terms, turn * 30);
    }
    rig.ledger().split_off(1)
}

#[test]
fn a_percentage_goes_on_and_the_rest_expires() {
    let terms = rolling(Some(75), None);
    assert_eq!(
        turned(&terms, "0", 1),
        [
            "+150 rolled over: 200>200, grant 2.0, sub 1, day 30",
            "-50 expired: 200>150, grant 1.0, sub 1, day 30",
            "+200 added: 150>350, grant 2.1, sub 1, day 30",
        ]
    );
    // Rounded down to the precision.
    assert_eq!(
        turned(&terms, "199", 1),
        [
            "-199 deducted: 200>1, grant 1.0, sub 1, day 30",
            "-1 expired: 1>0, grant 1.0, sub 1, day 30",
            "+200 added: 0>200, grant 3.0, sub 1, day 30",
        ]
    );
    let finer = Attachment { precision: 1, ..terms };
    assert_eq!(
        turned(&finer, "199", 1)[1..3],
        [
            "+0.7 rolled over: 1>1, grant 3.0, sub 1, day 30",
            "-0.3 expired: 1>0.7, grant 1.0, sub 1, day 30",
        ]
    );
    assert_eq!(
        turned(&rolling(Some(0), None), "0", 1)[0],
        "-200 expired: 200>0, grant 1.0, sub 1, day 30"
    );
}

#[test]
fn without_a_percentage_everything_goes_on_and_without_a_count_for_ever() {
    assert_eq!(
        turned(&rolling(None, None), "0", 2),
        [
            "+200 rolled over: 200>200, grant 2.0, sub 1, day 30",
            "+200 added: 200>400, grant 2.1, sub 1, day 30",
            "+200 rolled over: 400>400, grant 3.0, sub 1, day 60",
            "+200 rolled over: 400>400, grant 3.1, sub 1, day 60",
            "+200 added: 400>600, grant 3.2, sub 1, day 60",
        ]
    );
}

#[test]
fn what_has_rolled_over_as_often_as_it_may_is_forfeited() {
    assert_eq!(
        turned(&rolling(Some(75), Some(1)), "0", 2),
        [
            "+150 rolled over: 200>200, grant 2.0, sub 1, day 30",
            "-50 expired: 200>150, grant 1.0, sub 1, day 30",
            "+200 added: 150>350, grant 2.1, sub 1, day 30",
            "-150 forfeited: 350>200, grant 2.0, sub 1, day 60",
            "+150 rolled over: 200>200, grant 3.0, sub 1, day 60",
            "-50 expired: 200>150, grant 2.1, sub 1, day 60",
            "+200 added: 150>350, grant 3.1, sub 1, day 60",
        ]
    );
    assert_eq!(
        turned(&rolling(None, Some(0)), "0", 1)[0],
        "-200 forfeited: 200>0, grant 1.0, sub 1, day 30"
    );
}

#[test]
fn a_grant_that_has_gone_on_says_so_and_its_heir_names_it() {
    let mut terms = rolling(Some(75), None);
    terms.terms.rollover.timeframe = Some(days(12));
    let mut rig = Rig::new();
    rig.begin(A, &terms, 0);
    rig.turn(A, &terms, 30);
    let [old] = rig.ended.as_slice() else { panic!("{:?}", rig.ended) };
    assert!(old.is_expired && old.is_rolled_over);
    let heir = &rig.pool.grants()[0];
    let source = GrantSource::Rollover { subscription: A, parent: old.id };
    assert_eq!((&heir.source, heir.rollover_count), (&source, 1));
    assert_eq!((heir.initial, heir.created_at), (credits("150"), day(30)));
    assert_eq!(heir.expires_at, Some(day(42)));
    assert_eq!(rig.pool.next_expiry(|_| None), Some(day(42)));
    rig.expire(42);
    assert_eq!(rig.ledger().pop().unwrap(), "-150 expired: 350>200, grant 2.0, sub 1, day 42");
    assert_eq!(rig.pool.next_expiry(|_| None), None);
}

#[test]
fn a_date_ends_a_grant_sooner_and_never_lets_it_outlive_its_turn() {
    let after_days = |days| {
        let mut terms = ten();
        terms.terms.expires_after_days = Some(days);
        let mut rig = Rig::new();
        rig.begin(A, &terms, 0);
        assert_eq!(rig.pool.next_expiry(|_| None), Some(day(days)));
        if days < 30 {
            rig.expire(days);
        }
        rig.turn(A, &terms, 30);
        rig.ledger().split_off(1)
    };
    assert_eq!(
        after_days(20),
        [
            "-10 expired: 10>0, grant 1.0, sub 1, day 20",
            "+10 added: 0>10, grant 3.0, sub 1, day 30",
        ]
    );
    assert_eq!(
        after_days(45),
        [
            "-10 expired: 10>0, grant 1.0, sub 1, day 30",
            "+10 added: 0>10, grant 2.0, sub 1, day 30",
        ]
    );
}

#[test]
fn at_the_instant_of_its_turn_a_grant_rolls_over_before_it_expires() {
    let mut terms = rolling(Some(50), None);
    terms.terms.expires_after_days = Some(30);
    let mut rig = Rig::new();
    rig.begin(A, &terms, 0);
    rig.top_up("7", 0, Some(30));
    let turns_at = |subscription| (subscription == A).then_some(day(30));
    assert_eq!(rig.pool.next_expiry(turns_at), Some(day(30)));
    rig.act(|pool, ids| pool.expire(day(30), turns_at, ids));
    assert_eq!(rig.pool.next_expiry(turns_at), None);
    assert_eq!(rig.balance(29), "200");
    rig.turn(A, &terms, 30);
    assert_eq!(
        rig.ledger().split_off(2),
        [
            "-7 expired: 207>200, grant 2.0, api, day 30",
            "+100 rolled over: 200>200, grant 4.0, sub 1, day 30",
            "-100 expired: 200>100, grant 1.0, sub 1, day 30",
            "+200 added: 100>300, grant 4.1, sub 1, day 30",
        ]
    );
    // A turn at another instant keeps nothing from expiring.
    assert_eq!(rig.pool.next_expiry(|_| Some(day(61))), Some(day(60)));
}

#[test]
fn an_expiry_that_was_not_done_in_time_leaves_nothing_to_roll_over() {
    let mut terms = rolling(None, None);
    terms.terms.expires_after_days = Some(20);
    assert_eq!(turned(&terms, "0", 1)[0], "-200 expired: 200>0, grant 1.0, sub 1, day 30");
}

#[test]
fn other_grants_and_other_subscriptions_take_no_part_in_a_turn() {
    let mut rig = Rig::new();
    rig.top_up("5", 0, None);
    rig.begin(B, &ten(), 0);
    rig.begin(A, &ten(), 0);
    rig.turn(A, &ten(), 30);
    assert_eq!(
        rig.ledger().split_off(3),
        [
            "-10 expired: 25>15, grant 3.0, sub 1, day 30",
            "+10 added: 15>25, grant 4.0, sub 1, day 30",
        ]
    );
}

#[test]
fn a_turn_to_a_price_without_the_entitlement_hands_out_nothing() {
    let mut rig = Rig::new();
    let terms = rolling(Some(50), None);
    rig.begin(A, &terms, 0);
    let passage = Passage::Turned { at: day(30), segment: 0, grants: true, trial_ended: false };
    let attached = Attached { before: Some(&terms), after: None };
    rig.act(|pool, ids| pool.pass(&passage, A, attached, ids));
    assert!(rig.pool.concerns(A));
    let passage = Passage::Turned { at: day(60), segment: 1, grants: true, trial_ended: false };
    rig.act(|pool, ids| pool.pass(&passage, A, Attached::default(), ids));
    assert!(!rig.pool.concerns(A));
    assert_eq!(
        rig.ledger().split_off(1),
        [
            "+100 rolled over: 200>200, grant 2.0, sub 1, day 30",
            "-100 expired: 200>100, grant 1.0, sub 1, day 30",
            "-100 expired: 100>0, grant 2.0, sub 1, day 60",
        ]
    );
}
