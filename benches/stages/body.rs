//! The body that every bench works on: events of the form and length of those of `quipu bench`, each a
//! pure function of its number.

/// The name of every event.
pub(crate) const NAME: &str = "llm.completion";
/// Events of a request: the most that there may be.
pub(crate) const REQUEST_EVENTS: u64 = 1_000;

/// `SplitMix64`'s finalizer: a fixed shuffle of all numbers.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A number below `count`, drawn by `number`.
pub(crate) fn spread(number: u64, count: u64) -> u64 {
    ((mix(number) >> 32) * count) >> 32
}

/// The body of a request of the events from number `first` on, of `customers` customers.
pub(crate) fn body(first: u64, customers: u64) -> String {
    let numbers = first..first + REQUEST_EVENTS;
    let events: Vec<_> = numbers.map(|number| event(number, customers)).collect();
    format!(r#"{{"events":[{}]}}"#, events.join(","))
}

fn event(number: u64, customers: u64) -> String {
    let customer = spread(number, customers);
    let (second, millis) = (number / 1_000 % 60, number % 1_000);
    let (model, tokens) = (number % 4, 1_000 + mix(number) % 9_000);
    format!(
        concat!(
            r#"{{"event_id":"bench-{:016}","customer_id":"cus_{:08}","#,
            r#""event_name":"{}","timestamp":"2026-11-22T12:00:{:02}.{:03}Z","metadata":{{"#,
            r#""model":"model-{}","tokens":{},"cached":false,"region":"eu-west-1","#,
            r#""latency_ms":381.25}}}}"#,
        ),
        number, customer, NAME, second, millis, model, tokens
    )
}
