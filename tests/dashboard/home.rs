//! The first page, and the bar of the test clock.

use serde_json::json;

use crate::common::daemon::Launch;
use crate::common::event;
use crate::shop::{Rates, csv, customer, product, shop, subscribe};
use crate::viewer::{Viewer, make_key};

#[test]
fn the_bar_of_the_test_clock_stands_on_every_page() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let (price, none) = rates.all().swap_remove(0);
    let product = product(&daemon, "Plan", &price, &none);
    customer(&daemon, "cus_1");
    subscribe(&daemon, "cus_1", &product);
    let mut viewer = Viewer::admin(&daemon);
    for path in ["/dashboard", "/dashboard/settings", "/dashboard/no-such"] {
        let page = viewer.get(path).text();
        for to in ["2026-11-01T01:00:00Z", "2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z"] {
            assert!(
                page.contains(&format!("name=\"to\" value=\"{to}\"")),
                "{to} on {path}\n{page}"
            );
        }
    }
    let moved = viewer.change("POST", "/clock/advance", &json!({ "to": "2026-12-01T00:00:00Z" }));
    assert_eq!(moved.status, 200);
    assert!(viewer.page("/dashboard").contains("2026-12-01 00:00:00"));
    let (key, _) = make_key(&daemon, "read");
    let page = Viewer::with_key(&daemon, &key).page("/dashboard");
    assert!(page.contains("Test clock") && !page.contains("/clock/advance"));
}

#[test]
fn home_shows_how_the_daemon_does() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start();
    let mut viewer = Viewer::admin(&daemon);
    let empty = viewer.page("/dashboard");
    assert!(empty.contains("No event has come yet") && empty.contains("usageEvents.ingest"));
    assert!(!empty.contains("Test clock"), "there is none");
    let sent = [event("a", "c", "call", &json!({})), event("b", "c", "call", &json!({}))];
    assert_eq!(daemon.client().ingest(&sent).status, 200);
    assert_eq!(daemon.client().ingest(&sent).status, 200);
    let late = json!({ "event_id": "z", "customer_id": "c", "event_name": "call",
        "timestamp": "2001-01-01T00:00:00Z" });
    assert_eq!(daemon.client().ingest(&[late]).status, 422);
    let page = viewer.page("/dashboard");
    assert!(!page.contains("No event has come yet"));
    for shown in
        ["Events since the start", "<span data-value=\"2\">2</span>", "Last start replayed"]
    {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    let refused = csv(&mut viewer, "/dashboard?table=refused-rules&format=csv");
    assert_eq!(refused[0], "Rule,Events");
    assert!(refused.len() == 2 && refused[1].ends_with(",1"), "{refused:?}");
    assert_eq!(csv(&mut viewer, "/dashboard?table=webhook-attempts&format=csv").len(), 4);
    assert_eq!(viewer.get("/dashboard?table=none&format=csv").status, 404);
}
