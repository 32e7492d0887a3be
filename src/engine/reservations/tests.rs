//! Reservations are found, announced and forgotten as the naive list of them says.

use super::*;
use crate::model::{CustomerIndex, EntitlementIndex};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn made(number: u32, units: i128, expires_at: Timestamp) -> Reservation {
    Reservation {
        id: ReservationId::new(format!("crs_{number}")),
        pool: PoolKey { entitlement: EntitlementIndex(0), customer: CustomerIndex(0) },
        meter: MeterIndex(0),
        amount: Quantity::from_units(units),
        hold: Hold {
            subscription: SubscriptionIndex(number % 2),
            balance: Credits::from_units(units),
            overage: Credits::ZERO,
        },
        created_at: at(0),
        expires_at,
        end: None,
    }
}

fn ended(reservation: &Reservation, second: i64) -> Arc<Reservation> {
    let end = Some(End { at: at(second), how: Ending::Released });
    Arc::new(Reservation { end, ..reservation.clone() })
}

fn announced(all: &Reservations, subscription: u32) -> i128 {
    all.announced(SubscriptionIndex(subscription), MeterIndex(0)).as_units()
}

#[test]
fn open_ones_announce_their_usage_and_are_over_in_order() {
    let mut all = Reservations::default();
    let three = [made(1, 5, at(30)), made(2, 7, at(10)), made(3, 11, at(20))];
    for each in &three {
        all.put(Arc::new(each.clone()));
    }
    assert_eq!((announced(&all, 0), announced(&all, 1), all.open_count()), (7, 16, 3));
    assert_eq!([9, 10].map(|now| all.are_any_over(|| at(now))), [false, true]);
    assert_eq!(all.over(at(9), 9), []);
    let ids = |places: &[usize]| places.iter().map(|at| three[*at].id.clone()).collect::<Vec<_>>();
    assert_eq!(all.over(at(20), 9), ids(&[1, 2]));
    assert_eq!(all.over(at(20), 1), ids(&[1]));
    all.put(ended(&three[2], 15));
    assert_eq!((announced(&all, 0), announced(&all, 1), all.open_count()), (7, 5, 2));
    assert_eq!(all.over(at(60), 9), ids(&[1, 0]));
    let holding = |customer| {
        let pool = PoolKey { customer: CustomerIndex(customer), ..three[0].pool };
        all.holding(pool).map(|open| open.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!((holding(0), holding(1)), (ids(&[0, 1]), Vec::new()));
    let of_cut: usize = all.parts().iter().map(|part| part.len()).sum();
    assert_eq!(of_cut, 3);
}

#[test]
fn an_end_too_far_ahead_is_that_of_a_clock_which_was_set_back() {
    let mut all = Reservations::default();
    let far = 3_600 + 300;
    for (number, expires_at) in [(1, 10), (2, far), (3, far + 5)] {
        all.put(Arc::new(made(number, 1, at(expires_at))));
    }
    let over = |now| {
        let over = all.over(at(now), 9);
        assert_eq!(all.are_any_over(|| at(now)), !over.is_empty(), "{now}");
        over.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(over(5), [""; 0]);
    assert_eq!(over(4), ["crs_3"]);
    assert_eq!(over(0), ["crs_3"]);
    assert_eq!(over(-1), ["crs_3", "crs_2"]);
    assert_eq!(over(-3_891), ["crs_3", "crs_2", "crs_1"]);
    assert_eq!(over(10), ["crs_1"]);
    assert_eq!(over(20_000), ["crs_1", "crs_2", "crs_3"]);
}

#[test]
fn ended_ones_are_kept_for_a_day_or_until_there_are_too_many() {
    let mut all = Reservations::keeping(2);
    let four: Vec<_> = (0..4_u32).map(|number| made(number, 1, at(600))).collect();
    for each in &four {
        all.put(Arc::new(each.clone()));
    }
    for (place, each) in four.iter().take(3).enumerate() {
        all.put(ended(each, i64::try_from(place).unwrap()));
    }
    let known = |all: &Reservations| {
        four.iter().map(|each| all.get(&each.id).is_some()).collect::<Vec<_>>()
    };
    all.forget_surplus();
    assert_eq!(known(&all), [false, true, true, true]);
    let day = 24 * 3_600;
    all.forget_old(at(day), 1_000);
    assert_eq!(known(&all), [false, true, true, true]);
    all.forget_old(at(day + 1), 1_000);
    assert_eq!(known(&all), [false, false, true, true]);
    // An open one is never forgotten.
    all.forget_old(at(1_000 * day), 1_000);
    assert_eq!(known(&all), [false, false, false, true]);
}
