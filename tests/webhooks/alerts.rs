//! Alerts that fire are told.

use serde_json::json;

use crate::common::{event, make_count};
use crate::place::{Place, endpoint, got};
use crate::receiver::{Does, Receiver};

#[test]
fn an_alert_that_fires_is_told_once_for_each_customer() {
    let place = Place::open();
    let mut client = place.client();
    let receiver = Receiver::start(|_| Does::answers(200));
    let wanted = json!({ "filter_types": ["usage.threshold_reached"] });
    endpoint(&mut client, &receiver.url(), &wanted);
    let meter = make_count(&mut client, "call");
    let alert = json!({ "type": "usage", "meter_id": meter, "threshold": "2", "name": "two" });
    let alert = client.post("/alerts", &alert).json();
    let call = |id: &str, customer: &str| event(id, customer, "call", &json!({}));
    client.ingest(&[call("1", "acme"), call("2", "acme"), call("3", "acme"), call("4", "beta")]);
    got(&receiver, 1);
    client.ingest(&[call("5", "acme"), call("6", "beta")]);
    let both = got(&receiver, 2);
    let told = |place: usize| {
        let mut body = both[place].json();
        for unknown in ["period_start", "period_end", "value"] {
            assert!(body["data"][unknown].take().is_string(), "{unknown}");
        }
        body
    };
    for (place, customer) in ["acme", "beta"].into_iter().enumerate() {
        let body = told(place);
        let data = json!({
            "payload_type": "UsageThreshold", "brand_id": body["data"]["brand_id"],
            "alert_id": alert["id"], "alert_name": "two", "alert_type": "usage",
            "customer_id": customer, "subscription_id": null, "meter_id": meter,
            "credit_entitlement_id": null, "threshold": "2", "value": null, "currency": null,
            "period_start": null, "period_end": null,
        });
        assert_eq!(body["type"], "usage.threshold_reached");
        assert_eq!(body["data"], data);
    }
    assert_eq!(receiver.got().len(), 2);
}
