//! The requests of a plan: built once a connection, patched in place before each use.

use crate::bench::event::{
    CUSTOMER_DIGITS, Content, Layout, Origin, Stamps, WATCHED_CUSTOMERS, body, customer_id, digits,
    mix,
};
use crate::bench::plan::{Ingest, Plan, Sent, Work};

/// A request, to be filled before it is sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// What goes over the wire.
    pub(crate) bytes: Vec<u8>,
    /// What it holds.
    pub(crate) sent: Sent,
    /// The number of its first new event; those before it were in earlier requests.
    pub(crate) first: u64,
}

/// Where the content of the next request comes from.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it is before it is filled.
    blank: Vec<u8>,
    kind: Kind,
    /// The number that nothing has used yet.
    next: u64,
}

#[derive(Debug)]
enum Kind {
    Ingest(Events),
    ReadUsage { digits_at: usize, origin: Origin, known: u64 },
    CheckCredits { digits_at: usize, customers: u64 },
    Subscribe { digits_at: usize },
    Health,
}

#[derive(Debug)]
struct Events {
    ingest: Ingest,
    layout: Layout,
    stamps: Stamps,
    /// Events so far, new or not.
    made: u64,
}

impl Source {
    /// The requests of `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let head = format!("host: {}\r\nauthorization: Bearer {}\r\n", plan.server, plan.key);
        match &plan.work {
            Work::Ingest(ingest) => {
                let body = body(ingest.batch);
                let head = format!(
                    "POST /events/ingest HTTP/1.1\r\n{head}content-type: application/json\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                let kind = Kind::Ingest(Events {
                    ingest: ingest.clone(),
                    layout: Layout::new(head.len()),
                    stamps: Stamps::new(ingest.origin),
                    made: 0,
                });
                Self { blank: (head + &body).into_bytes(), kind, next: ingest.first }
            }
            Work::ReadUsage { target, origin, known } => {
                let path = format!("{target}&customer_id={}", customer_id(0));
                let digits_at = "GET ".len() + path.len() - CUSTOMER_DIGITS;
                let kind = Kind::ReadUsage { digits_at, origin: *origin, known: (*known).max(1) };
                let blank = format!("GET {path} HTTP/1.1\r\n{head}\r\n").into_bytes();
                Self { blank, kind, next: 0 }
            }
            Work::CheckCredits { meter, customers } => {
                let body = format!(
                    r#"{{"meter_id":"{meter}","amount":1,"customer_id":"{}"}}"#,
                    customer_id(0)
                );
                let head = format!(
                    "POST /credits/check HTTP/1.1\r\n{head}content-type: application/json\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                let blank = head + &body;
                let digits_at = blank.len() - r#""}"#.len() - CUSTOMER_DIGITS;
                let kind = Kind::CheckCredits { digits_at, customers: (*customers).max(1) };
                Self { blank: blank.into_bytes(), kind, next: 0 }
            }
            Work::Health => {
                let blank = format!("GET /healthz HTTP/1.1\r\n{head}\r\n").into_bytes();
                Self { blank, kind: Kind::Health, next: 0 }
            }
            Work::Subscribe { product } => {
                let body = format!(
                    r#"{{"product_id":"{product}","quantity":1,"billing":{{"country":"US"}},"customer":{{"customer_id":"{}"}}}}"#,
                    customer_id(0)
                );
                let head = format!(
                    "POST /subscriptions HTTP/1.1\r\n{head}content-type: application/json\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                let blank = head + &body;
                let digits_at = blank.len() - r#""}}"#.len() - CUSTOMER_DIGITS;
                let kind = Kind::Subscribe { digits_at };
                Self { blank: blank.into_bytes(), kind, next: 0 }
            }
        }
    }

    /// The number that no event has used yet.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// A request that is not filled.
    pub(crate) fn request(&self) -> Request {
        let watched = usize::try_from(WATCHED_CUSTOMERS).expect("a few");
        Request { bytes: self.blank.clone(), sent: Sent::none(watched), first: self.next }
    }

    /// Fills `request` with what comes next; every event below `acknowledged` may be sent again.
    pub(crate) fn fill(&mut self, request: &mut Request, acknowledged: u64) {
        request.first = self.next;
        match &mut self.kind {
            Kind::Ingest(events) => {
                events.fill(request, acknowledged);
                self.next += request.sent.new;
            }
            Kind::ReadUsage { digits_at, origin, known } => {
                let field = request.bytes.get_mut(*digits_at..*digits_at + CUSTOMER_DIGITS);
                let field = field.expect("the path ends with the digits");
                let event = mix(self.next) % *known;
                digits(field, Content::of(event, *origin).customer);
                self.next += 1;
            }
            Kind::CheckCredits { digits_at, customers } => {
                let field = request.bytes.get_mut(*digits_at..*digits_at + CUSTOMER_DIGITS);
                let customer = mix(self.next) % *customers;
                digits(field.expect("the body ends with the digits"), customer);
                self.next += 1;
            }
            Kind::Health => self.next += 1,
            Kind::Subscribe { digits_at } => {
                let field = request.bytes.get_mut(*digits_at..*digits_at + CUSTOMER_DIGITS);
                digits(field.expect("the body ends with the digits"), self.next);
                self.next += 1;
            }
        }
    }
}

impl Events {
    fn fill(&mut self, request: &mut Request, acknowledged: u64) {
        request.sent.clear();
        let duplicates = self.duplicates_due().min(acknowledged);
        for place in 0..self.ingest.batch {
            let is_duplicate = request.sent.duplicates < duplicates;
            let number = if is_duplicate {
                drawn(request.sent.duplicates, duplicates, acknowledged, self.made)
            } else {
                request.first + request.sent.new
            };
            self.made += 1;
            let content = Content::of(number, self.ingest.origin);
            self.layout.set(&mut request.bytes, place, (number, content), &mut self.stamps);
            if is_duplicate {
                request.sent.duplicates += 1;
                continue;
            }
            request.sent.new += 1;
            let customer = usize::try_from(content.customer).ok();
            if let Some(tally) = customer.and_then(|at| request.sent.watched.get_mut(at)) {
                content.count_in(tally);
            }
        }
    }

    /// How many events of the next request were sent before: over all requests the share asked for,
    /// also when a request has room for less than one.
    fn duplicates_due(&self) -> u64 {
        let batch = u64::try_from(self.ingest.batch).expect("at most 1000");
        let due = |made: u64| made * self.ingest.duplicate_permille / 1_000;
        due(self.made + batch) - due(self.made)
    }
}

/// The `index`-th of `count` numbers below `end`, no two alike: each is drawn from a stratum of its
/// own, so that together they are spread evenly. A request may not hold an id twice.
fn drawn(index: u64, count: u64, end: u64, seed: u64) -> u64 {
    let (low, high) = (end * index / count, end * (index + 1) / count);
    low + mix(seed) % (high - low)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::http::decode::decode;
    use crate::model::RawValue;

    use super::*;

    fn plan(batch: usize, duplicate_permille: u64) -> Plan {
        let origin = Origin { start_nanos: 0, customer_count: 20, in_turn: false };
        Plan {
            server: "127.0.0.1:1".parse().unwrap(),
            key: "k".to_owned(),
            work: Work::Ingest(Ingest { batch, first: 0, origin, duplicate_permille }),
            connections: 1,
            warm_up_ms: 0,
            measured_ms: 0,
            requests_max: None,
            rate: None,
        }
    }

    fn numbers(request: &Request) -> Vec<u64> {
        let text = std::str::from_utf8(&request.bytes).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let number = |id: Option<RawValue<'_>>| match id {
            Some(RawValue::String(id)) => id.strip_prefix("bench-").unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        let events = decode(body.as_bytes(), 1_000).unwrap();
        events.into_iter().map(|event| number(event.event_id)).collect()
    }

    #[test]
    fn new_numbers_follow_each_other_and_duplicates_were_acknowledged() {
        for (batch, permille) in [(1, 0), (7, 0), (40, 50), (1, 250), (10, 900)] {
            let mut source = Source::new(&plan(batch, permille));
            let mut request = source.request();
            let (mut all, mut new, mut duplicates) = (BTreeSet::new(), 0, 0);
            for _ in 0..200 {
                let acknowledged = source.next();
                source.fill(&mut request, acknowledged);
                let found = numbers(&request);
                assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), batch);
                let known = found.iter().filter(|number| all.contains(*number)).count() as u64;
                assert_eq!(known, request.sent.duplicates);
                all.extend(found);
                new += request.sent.new;
                duplicates += request.sent.duplicates;
                assert_eq!(source.next(), new);
            }
            assert_eq!(all, (0..new).collect());
            let due = (new + duplicates) * permille / 1_000;
            // The first requests have too few events to choose from.
            assert!(duplicates <= due && due - duplicates <= 10, "{duplicates} of {due}");
        }
    }

    #[test]
    fn watched_customers_are_counted_from_new_events_alone() {
        let mut source = Source::new(&plan(100, 100));
        let mut request = source.request();
        let mut total = Sent::none(16);
        for _ in 0..10 {
            let acknowledged = source.next();
            source.fill(&mut request, acknowledged);
            total.add(&request.sent);
        }
        let mut expected = Sent::none(16);
        let origin = Origin { start_nanos: 0, customer_count: 20, in_turn: false };
        for number in 0..total.new {
            let content = Content::of(number, origin);
            let customer = usize::try_from(content.customer).unwrap();
            if let Some(tally) = expected.watched.get_mut(customer) {
                content.count_in(tally);
            }
        }
        assert_eq!(total.watched, expected.watched);
    }

    #[test]
    fn each_customer_subscribes_once() {
        let work = Work::Subscribe { product: "pdt_1".to_owned() };
        let mut source = Source::new(&Plan { work, ..plan(1, 0) });
        let mut request = source.request();
        for customer in 0..3 {
            source.fill(&mut request, 0);
            let text = String::from_utf8(request.bytes.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["product_id"], "pdt_1");
            assert_eq!(body["customer"]["customer_id"], customer_id(customer));
        }
    }

    #[test]
    fn a_question_is_about_one_of_the_first_customers() {
        let work = Work::CheckCredits { meter: "mtr_1".to_owned(), customers: 7 };
        let mut source = Source::new(&Plan { work, ..plan(1, 0) });
        let mut request = source.request();
        let mut asked = BTreeSet::new();
        for _ in 0..40 {
            source.fill(&mut request, 0);
            let text = String::from_utf8(request.bytes.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["meter_id"], "mtr_1");
            asked.insert(body["customer_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(asked, (0..7).map(customer_id).collect());
    }

    #[test]
    fn a_read_asks_for_one_customer_after_the_other() {
        let origin = Origin { start_nanos: 0, customer_count: 1_000, in_turn: false };
        let target = "/usage?meter_id=m".to_owned();
        let work = Work::ReadUsage { target, origin, known: 50 };
        let mut source = Source::new(&Plan { work, ..plan(1, 0) });
        let mut request = source.request();
        let mut asked = BTreeSet::new();
        for _ in 0..20 {
            source.fill(&mut request, 0);
            let text = String::from_utf8(request.bytes.clone()).unwrap();
            let path = text.split(' ').nth(1).unwrap();
            let customer = path.strip_prefix("/usage?meter_id=m&customer_id=cus_").unwrap();
            asked.insert(customer.parse::<u64>().unwrap());
        }
        let known = (0..50).map(|number| Content::of(number, origin).customer);
        assert!(asked.len() > 10 && asked.is_subset(&known.collect()));
    }
}
