//! What due work is taken to weigh is about what it takes in the log.

use std::time::Duration;

use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Rig, Sent, tiny};
use crate::engine::command::billing::{NewMeterPrice, NewRate};
use crate::engine::packed::{PackedBill, encode_and_pack};
use crate::engine::record::{Body, decode_payload, encode_entry};
use crate::engine::weight::{bytes_about, of_close};
use crate::engine::{Command, Outcome};
use crate::model::customer::MetadataValue;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{Aggregation, Lsn, Rate, UnitPrice};
use crate::storage::codec;
use crate::storage::log::ReadError;

/// Lets one subscription with so many entries of metadata turn and close a few times.
fn bill(rig: &mut Rig, entries: usize) {
    let meter = rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap().outcome;
    let Outcome::Meter(meter) = meter else { panic!("a meter") };
    let price = NewMeterPrice {
        meter_id: meter.id,
        rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse("0.5").unwrap())),
        minimum: None,
        maximum: None,
        free_threshold: 2,
    };
    let week = Interval { count: 1, unit: IntervalUnit::Week };
    let product = rig.change(new_product(usage_price(vec![price], week, 4_900))).unwrap().outcome;
    let Outcome::Product(product) = product else { panic!("a product") };
    rig.ingest(&[Sent::new("first", "c")]).unwrap();
    let mut new = new_subscription("c", &product.id);
    let text = |n: usize| MetadataValue::String("value".repeat(n % 40));
    new.metadata = (0..entries).map(|n| (format!("key-{n}"), text(n))).collect();
    new.billing.street = Some("Avenida de la Marina 2000".to_owned());
    new.tax_id = Some("20100070970".to_owned());
    rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
    rig.ingest(&[Sent::new("second", "c")]).unwrap();
    rig.advance(Duration::from_hours(24 * 30));
    rig.settle().unwrap();
}

#[test]
fn a_close_is_packed_as_it_stands_in_the_log() {
    let mut rig = Rig::new(tiny());
    bill(&mut rig, 3);
    let (log, mut seen) = (&rig.machine.shared.log, 0);
    log.visit::<ReadError>(Lsn(1)..=log.last_lsn(), |frame| {
        for entry in decode_payload(frame.payload).unwrap() {
            let (mut whole, mut packed) = (vec![7], vec![7]);
            encode_entry(&entry, &mut whole);
            let bill = encode_and_pack(&entry, &mut packed);
            assert_eq!(packed, whole);
            let Body::CycleClosed(closed) = &entry.body else { continue };
            assert_eq!(bill, Some(PackedBill::of(closed)));
            let PackedBill { payment, invoice } = bill.unwrap();
            assert_eq!(payment.unpack().unwrap(), *closed.payment);
            let invoice = invoice.map(|invoice| invoice.unpack().unwrap());
            assert_eq!(invoice.as_ref(), closed.invoice.as_deref());
            seen += 1;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 5, "the first payment, and four closes");
}

#[test]
fn what_due_work_weighs_is_about_what_it_takes_in_the_log() {
    for entries in [0, 1, 7, 50] {
        let mut rig = Rig::new(tiny());
        bill(&mut rig, entries);
        let (log, mut seen) = (&rig.machine.shared.log, [0, 0]);
        log.visit::<ReadError>(Lsn(1)..=log.last_lsn(), |frame| {
            for entry in decode_payload(frame.payload).unwrap() {
                let (kind, weighs) = match &entry.body {
                    body @ Body::PeriodTurned(_) => (0, bytes_about(body)),
                    Body::CycleClosed(closed) => {
                        let Some(subscription) = &closed.subscription else { continue };
                        let invoice = closed.invoice.as_ref().unwrap();
                        let names = [&*invoice.bill_to.name, &*invoice.bill_to.email];
                        (1, of_close(subscription, names, &invoice.lines))
                    }
                    Body::Events(_)
                    | Body::Change(_)
                    | Body::ClockSet(_)
                    | Body::Backfilled(_)
                    | Body::CreditsMoved(_)
                    | Body::AlertsFired(_)
                    | Body::WebhookSettled(_)
                    | Body::PaymentMarked(_) => continue,
                };
                seen[kind] += 1;
                let mut bytes = Vec::new();
                codec::encode(&entry.body, &mut bytes);
                let takes = bytes.len();
                assert!(
                    (takes * 3 / 4..takes * 4 / 3).contains(&weighs),
                    "{weighs} for {takes} bytes of kind {kind} with {entries} entries"
                );
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [4, 4], "turns and closes");
    }
}
