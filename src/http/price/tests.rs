//! What is read of a price, and what is refused by its field.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::billing::{Measure, rate};
use crate::engine::command::billing::NewRate;
use crate::http::body;
use crate::model::price::MeterPrice;
use crate::model::rate::{Tier, TierMode};
use crate::model::{MeterIndex, Number, Quantity, UnitPrice, Used};

/// One unit in units of 10^-12.
const ONE: i128 = 1_000_000_000_000;

const CYCLE: &str = r#""payment_frequency_count":1,"payment_frequency_interval":"Month","subscription_period_count":10,"subscription_period_interval":"Year""#;

fn read(text: &str) -> Result<NewPrice, ApiError> {
    body::object::<PriceInput>(text.as_bytes())?.into_new()
}

fn usage(meters: &str) -> Result<NewPrice, ApiError> {
    let head = r#"{"type":"usage_based_price","currency":"USD","fixed_price":4900"#;
    read(&format!(r#"{head},{CYCLE},"meters":{meters}}}"#))
}

/// What a meter is to cost in money.
fn money(meter: &NewMeterPrice) -> Rate {
    let NewRate::Money(rate) = &meter.rate else { panic!("{meter:?}") };
    rate.clone()
}

/// The field that a refusal names.
fn refused<T: std::fmt::Debug>(found: Result<T, ApiError>) -> String {
    let error = found.unwrap_err();
    assert_eq!(error.status(), 422, "{}", error.body().message);
    error.body().field.clone().unwrap_or_default()
}

#[test]
fn a_usage_price_is_read_with_its_meters() {
    let meters = r#"[{"meter_id":"mtr_1","price_per_unit":"0.50","free_threshold":10000},
        {"meter_id":"mtr_2","price_per_unit":"99999.999999999999","name":"ignored"}]"#;
    let price = usage(meters).unwrap();
    assert_eq!((price.currency.code(), price.fixed), ("USD", Money::from_minor(4900)));
    let NewPriceKind::UsageBased { recurrence, meters } = price.kind else { panic!("usage") };
    assert_eq!(recurrence.payment_frequency, Interval { count: 1, unit: IntervalUnit::Month });
    let read: Vec<_> = meters
        .iter()
        .map(|meter| (meter.meter_id.as_str(), money(meter), meter.free_threshold))
        .collect();
    let per_unit = |text| Rate::PerUnit(UnitPrice::parse(text).unwrap());
    let expected =
        [("mtr_1", per_unit("0.5"), 10_000), ("mtr_2", per_unit("99999.999999999999"), 0)];
    assert_eq!(read, expected);
    assert!(usage("[]").is_ok() && usage("null").is_ok());
}

#[test]
fn a_bad_meter_is_refused_by_its_field() {
    for price in ["\"0\"", "\"-1\"", "\"100000\"", "\"0.1234567890123\"", "\"abc\"", "null"] {
        let meters = format!(r#"[{{"meter_id":"m","price_per_unit":{price}}}]"#);
        assert_eq!(refused(usage(&meters)), "price.meters.0.price_per_unit", "{price}");
    }
    for (meters, field) in [
        (r#"[{"price_per_unit":"1"}]"#, "price.meters.0.meter_id"),
        (
            r#"[{"meter_id":"m","price_per_unit":"1"},{"meter_id":"m","price_per_unit":"2"}]"#,
            "price.meters.1.meter_id",
        ),
        (
            r#"[{"meter_id":"m","price_per_unit":"1","free_threshold":-1}]"#,
            "price.meters.0.free_threshold",
        ),
        (r#"[{"meter_id":"m","price_per_unit":1}]"#, "meters.0.price_per_unit"),
        (
            r#"[{"meter_id":"m","price_per_unit":"1","free_threshold":1.5}]"#,
            "meters.0.free_threshold",
        ),
    ] {
        assert_eq!(refused(usage(meters)), field, "{meters}");
    }
    let eleven: Vec<_> =
        (0..11).map(|n| format!(r#"{{"meter_id":"m{n}","price_per_unit":"1"}}"#)).collect();
    assert_eq!(refused(usage(&format!("[{}]", eleven.join(",")))), "price.meters");
}

#[test]
fn a_bad_price_is_refused_by_its_field() {
    let recurring = |rest: &str| read(&format!(r#"{{"type":"recurring_price",{rest}}}"#));
    for (rest, field) in [
        (format!(r#""price":100,{CYCLE}"#), "price.currency"),
        (format!(r#""currency":"XXX","price":100,{CYCLE}"#), "price.currency"),
        (format!(r#""currency":"usd","price":100,{CYCLE}"#), "price.currency"),
        (format!(r#""currency":"USD",{CYCLE}"#), "price.price"),
        (format!(r#""currency":"USD","price":-1,{CYCLE}"#), "price.price"),
        (format!(r#""currency":"USD","price":1.0,{CYCLE}"#), "price"),
        (r#""currency":"USD","price":1"#.to_owned(), "price.payment_frequency_count"),
        (
            format!(r#""currency":"USD","price":1,"discount_bps":10001,{CYCLE}"#),
            "price.discount_bps",
        ),
        (format!(r#""currency":"USD","price":1,"discount":101,{CYCLE}"#), "price.discount"),
        (
            format!(r#""currency":"USD","price":1,"trial_period_days":-1,{CYCLE}"#),
            "price.trial_period_days",
        ),
        (format!(r#""currency":"USD","price":1,"trial_amount":5,{CYCLE}"#), "price.trial_amount"),
        (
            format!(r#""currency":"USD","price":1,"meters":[{{"meter_id":"m"}}],{CYCLE}"#),
            "price.meters",
        ),
    ] {
        assert_eq!(refused(recurring(&rest)), field, "{rest}");
    }
    let short = r#""payment_frequency_count":1,"payment_frequency_interval":"Year","subscription_period_count":11,"subscription_period_interval":"Month""#;
    let text = format!(r#""currency":"USD","price":1,{short}"#);
    assert_eq!(refused(recurring(&text)), "price.subscription_period_count");
    assert_eq!(refused(read(r#"{"currency":"USD","price":1}"#)), "price.type");
    assert_eq!(refused(read(r#"{"type":"free","currency":"USD","price":1}"#)), "type");
}

#[test]
fn basis_points_win_over_percent() {
    let of = |rest: &str| {
        read(&format!(r#"{{"type":"one_time_price","currency":"JPY","price":1,{rest}}}"#))
            .unwrap()
            .discount_bps
    };
    assert_eq!(of(r#""discount":10"#), 1_000);
    assert_eq!(of(r#""discount":10,"discount_bps":125"#), 125);
    assert_eq!(of(r#""discount":null"#), 0);
}

/// The price of one meter with these members, and what it costs in segments.
fn one_meter(members: &str) -> Result<NewMeterPrice, ApiError> {
    let object = members.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let members = object.unwrap_or(members);
    let price = usage(&format!(r#"[{{"meter_id":"m",{members}}}]"#))?;
    let NewPriceKind::UsageBased { mut meters, .. } = price.kind else { panic!("usage") };
    Ok(meters.remove(0))
}

fn as_priced(new: &NewMeterPrice) -> MeterPrice {
    MeterPrice {
        meter: MeterIndex(0),
        rate: money(new),
        free_threshold: new.free_threshold,
        minimum: new.minimum,
        maximum: new.maximum,
    }
}

#[test]
fn the_examples_of_the_readme_come_out() {
    let readme = include_str!("../../../README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `{")).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [price, consumed, costs] = cells[..] else { panic!("{row}") };
        let price = as_priced(&one_meter(price.trim_matches('`')).unwrap());
        let segments: Vec<&str> = consumed.split(" + ").collect();
        let mut used = Used::default();
        let amounts = segments.iter().enumerate().map(|(place, consumed)| {
            let consumed = Number::new(consumed).unwrap().to_quantity().unwrap();
            let is_last = place + 1 == segments.len();
            let rated = rate(consumed, Measure::Additive, &price, &used, is_last).unwrap();
            used = rated.used;
            rated.amount.to_string()
        });
        assert_eq!(amounts.collect::<Vec<_>>().join(" + "), costs, "{row}");
    }
}

#[test]
fn tiers_packages_and_bounds_are_read() {
    let tiers = one_meter(
        r#""tier_mode":"graduated","tiers":[{"up_to":"100.50","price_per_unit":"0","flat_fee":7},
            {"up_to":null,"price_per_unit":"0.50"}],"price_per_unit":null,"package_size":null"#,
    );
    let half = UnitPrice::parse("0.5").unwrap();
    let end = Number::new("100.5").unwrap().to_quantity().unwrap();
    let expected = vec![
        Tier { up_to: Some(end), price_per_unit: None, flat_fee: Money::from_minor(7) },
        Tier { up_to: None, price_per_unit: Some(half), flat_fee: Money::ZERO },
    ];
    let rate = Rate::Tiered { mode: TierMode::Graduated, tiers: expected };
    assert_eq!(money(&tiers.unwrap()), rate);
    let package = one_meter(
        r#""price_per_unit":"0.5","package_size":100,"minimum_amount":0,"maximum_amount":0"#,
    );
    let package = package.unwrap();
    assert_eq!(money(&package), Rate::Package { size: 100, price: half });
    assert_eq!((package.minimum, package.maximum), (Some(Money::ZERO), Some(Money::ZERO)));
    let many: Vec<String> =
        (1..20).map(|end| format!(r#"{{"up_to":"{end}","price_per_unit":"1"}}"#)).collect();
    let last = r#"{"price_per_unit":"1"}"#;
    let twenty = format!(r#""tier_mode":"volume","tiers":[{},{last}]"#, many.join(","));
    assert!(one_meter(&twenty).is_ok());
    let more = format!(r#""tier_mode":"volume","tiers":[{},{last},{last}]"#, many.join(","));
    assert_eq!(refused(one_meter(&more)), "price.meters.0.tiers");
}

#[test]
fn wrong_tiers_packages_and_bounds_are_refused_by_their_field() {
    let last = r#"{"up_to":null,"price_per_unit":"1"}"#;
    let two = |first: &str| format!(r#""tier_mode":"volume","tiers":[{first},{last}]"#);
    let ends = |end: &str| two(&format!(r#"{{"up_to":{end},"price_per_unit":"1"}}"#));
    for (members, field) in [
        (format!(r#""tiers":[{last}]"#), "price.meters.0.tier_mode"),
        (r#""tier_mode":"volume","price_per_unit":"1""#.to_owned(), "price.meters.0.tier_mode"),
        (format!(r#""tier_mode":"steps","tiers":[{last}]"#), "meters.0.tier_mode"),
        (r#""tier_mode":"volume","tiers":[]"#.to_owned(), "price.meters.0.tiers"),
        (r#""tier_mode":"volume","tiers":{}"#.to_owned(), "meters.0.tiers"),
        (
            format!(r#""tier_mode":"volume","tiers":[{last}],"price_per_unit":"1""#),
            "price.meters.0.price_per_unit",
        ),
        (
            format!(r#""tier_mode":"volume","tiers":[{last}],"package_size":5"#),
            "price.meters.0.package_size",
        ),
        (
            r#""tier_mode":"volume","tiers":[{"up_to":"5","price_per_unit":"1"}]"#.to_owned(),
            "price.meters.0.tiers.0.up_to",
        ),
        (two(last), "price.meters.0.tiers.0.up_to"),
        (ends("\"0\""), "price.meters.0.tiers.0.up_to"),
        (ends("\"-1\""), "price.meters.0.tiers.0.up_to"),
        (ends("\"1e3\""), "price.meters.0.tiers.0.up_to"),
        (ends("\"\""), "price.meters.0.tiers.0.up_to"),
        (ends("\"0.0000000000001\""), "price.meters.0.tiers.0.up_to"),
        (ends("\"1000000000000000\""), "price.meters.0.tiers.0.up_to"),
        (ends("5"), "meters.0.tiers.0.up_to"),
        (
            two(r#"{"up_to":"5","price_per_unit":"1"},{"up_to":"5","price_per_unit":"1"}"#),
            "price.meters.0.tiers.1.up_to",
        ),
        (two(r#"{"up_to":"5"}"#), "price.meters.0.tiers.0.price_per_unit"),
        (two(r#"{"up_to":"5","price_per_unit":"-1"}"#), "price.meters.0.tiers.0.price_per_unit"),
        (
            two(r#"{"up_to":"5","price_per_unit":"1","flat_fee":-1}"#),
            "price.meters.0.tiers.0.flat_fee",
        ),
        (two(r#"{"up_to":"5","price_per_unit":"1","flat_fee":0.5}"#), "meters.0.tiers.0.flat_fee"),
        (r#""package_size":5"#.to_owned(), "price.meters.0.price_per_unit"),
        (r#""price_per_unit":"0","package_size":5"#.to_owned(), "price.meters.0.price_per_unit"),
        (r#""price_per_unit":"1","package_size":0"#.to_owned(), "price.meters.0.package_size"),
        (r#""price_per_unit":"1","package_size":-1"#.to_owned(), "price.meters.0.package_size"),
        (r#""price_per_unit":"1","package_size":1.5"#.to_owned(), "meters.0.package_size"),
        (r#""price_per_unit":"1","minimum_amount":-1"#.to_owned(), "price.meters.0.minimum_amount"),
        (r#""price_per_unit":"1","maximum_amount":-1"#.to_owned(), "price.meters.0.maximum_amount"),
        (r#""price_per_unit":"1","maximum_amount":"1""#.to_owned(), "meters.0.maximum_amount"),
        (
            r#""price_per_unit":"1","minimum_amount":2,"maximum_amount":1"#.to_owned(),
            "price.meters.0.maximum_amount",
        ),
        (
            format!(r#""tier_mode":"volume","tiers":[{last}],"meter_units_per_credit":"1""#),
            "price.meters.0.credit_entitlement_id",
        ),
    ] {
        assert_eq!(refused(one_meter(&members)), field, "{members}");
    }
}

/// Members that may be right or wrong, each alone or together.
fn any_members() -> impl Strategy<Value = Value> {
    let text = || {
        let number = (0_u32..2_000, 0_u32..1_000).prop_map(|(a, b)| json!(format!("{a}.{b:03}")));
        prop_oneof![6 => number, 1 => Just(json!("0")), 1 => "[0-9.e+-]{0,20}".prop_map(Value::from),
            1 => Just(Value::Null), 1 => any::<i32>().prop_map(Value::from)]
    };
    let count = || {
        prop_oneof![4 => Just(Value::Null), 4 => (0_i64..5_000).prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from), 1 => Just(json!("5"))]
    };
    let tier = (text(), text(), count()).prop_map(|(up_to, price_per_unit, flat_fee)| {
        json!({ "up_to": up_to, "price_per_unit": price_per_unit, "flat_fee": flat_fee })
    });
    let ends_open = |mut tiers: Vec<Value>| {
        if let Some(last) = tiers.last_mut() {
            last["up_to"] = Value::Null;
        }
        Value::from(tiers)
    };
    let tiers = proptest::collection::vec(tier, 0..4).prop_map(ends_open);
    let mode = prop_oneof![
        4 => Just(json!("graduated")), 4 => Just(json!("volume")), 1 => Just(json!("steps")),
        2 => Just(Value::Null)
    ];
    let tiered = (tiers, mode)
        .prop_map(|(tiers, tier_mode)| json!({ "tiers": tiers, "tier_mode": tier_mode }));
    let packaged = (text(), count()).prop_map(|(price_per_unit, package_size)| {
        json!({ "price_per_unit": price_per_unit, "package_size": package_size })
    });
    let bounds = (count(), count());
    (prop_oneof![3 => tiered, 2 => packaged], bounds).prop_map(|(mut members, (least, most))| {
        members["minimum_amount"] = least;
        members["maximum_amount"] = most;
        members
    })
}

proptest! {
    #[test]
    fn what_is_read_is_whole_and_printed_back_and_all_else_names_its_field(members in any_members()) {
        let new = match one_meter(&members.to_string()) {
            Ok(new) => new,
            Err(error) => {
                let field = error.body().field.clone().unwrap_or_default();
                prop_assert_eq!(error.status(), 422);
                prop_assert!(field.trim_start_matches("price.").starts_with("meters.0."), "{}", field);
                return Ok(());
            }
        };
        if let Rate::Tiered { tiers, .. } = &money(&new) {
            let (last, others) = tiers.split_last().unwrap();
            prop_assert_eq!(last.up_to, None);
            let mut start = Quantity::ZERO;
            for tier in others {
                prop_assert!(tier.up_to > Some(start));
                start = tier.up_to.unwrap();
            }
            prop_assert!(tiers.iter().all(|tier| tier.flat_fee >= Money::ZERO));
        }
        prop_assert!(new.minimum.is_none_or(|least| new.maximum.is_none_or(|most| least <= most)));
        let mut printed = serde_json::to_value(RateBody::new(&as_priced(&new))).unwrap();
        if let Rate::PerUnit(price) | Rate::Package { price, .. } = &money(&new) {
            printed["price_per_unit"] = json!(price.to_string());
        }
        prop_assert_eq!(one_meter(&printed.to_string()).unwrap(), new);
    }
}

#[test]
fn a_meter_that_is_paid_in_credits_has_no_price() {
    let meter = |more: &str| {
        let link = r#""meter_id":"m","credit_entitlement_id":"cde_1""#;
        usage(&format!("[{{{link}{more}}}]"))
    };
    for (text, units) in [
        ("1000", 1_000 * ONE),
        ("0.1", ONE / 10),
        ("400000", 400_000 * ONE),
        ("99999999999999.999999999999", 100_000_000_000_000 * ONE - 1),
        ("0.000000000001", 1),
    ] {
        let price = meter(&format!(r#","meter_units_per_credit":"{text}","free_threshold":7"#));
        let NewPriceKind::UsageBased { meters, .. } = price.unwrap().kind else { panic!("usage") };
        let [NewMeterPrice { rate, free_threshold: 7, minimum: None, maximum: None, .. }] =
            &meters[..]
        else {
            panic!("{meters:?}");
        };
        let NewRate::Credits { entitlement_id, units_per_credit } = rate else {
            panic!("{rate:?}")
        };
        assert_eq!((entitlement_id.as_str(), units_per_credit.as_units()), ("cde_1", units));
        assert_eq!(units_per_credit.to_string(), text);
    }
    for text in ["0", "0.000", "-1", "1e3", "1.", "", "1000000000000000", "0.0000000000001"] {
        let found = meter(&format!(r#","meter_units_per_credit":"{text}""#));
        assert_eq!(refused(found), "price.meters.0.meter_units_per_credit", "{text}");
    }
    let units = r#","meter_units_per_credit":"1""#;
    let tier = r#"{"up_to":null,"price_per_unit":"1"}"#;
    for (more, field) in [
        (String::new(), "meter_units_per_credit"),
        (format!(r#"{units},"price_per_unit":"1""#), "price_per_unit"),
        (format!(r#"{units},"package_size":5"#), "package_size"),
        (format!(r#"{units},"tiers":[{tier}]"#), "tiers"),
        (format!(r#"{units},"tier_mode":"volume""#), "tier_mode"),
        (format!(r#"{units},"minimum_amount":0"#), "minimum_amount"),
        (format!(r#"{units},"maximum_amount":5"#), "maximum_amount"),
        (format!(r#"{units},"free_threshold":-1"#), "free_threshold"),
    ] {
        assert_eq!(refused(meter(&more)), format!("price.meters.0.{field}"), "{more}");
    }
    let unlinked = usage(r#"[{"meter_id":"m","meter_units_per_credit":"1"}]"#);
    assert_eq!(refused(unlinked), "price.meters.0.credit_entitlement_id");
    let empty =
        usage(r#"[{"meter_id":"m","credit_entitlement_id":"","meter_units_per_credit":"1"}]"#);
    assert_eq!(refused(empty), "price.meters.0.credit_entitlement_id");
}
