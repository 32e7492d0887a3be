//! What stands around every page: navigation, who is signed in, and the test clock when there is one.

use super::assets;
use super::gate::Viewer;
use super::test_clock::TestClock;
use crate::http::edge::Edge;

/// A screen in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Meters,
    Events,
    Customers,
    Products,
    Subscriptions,
    Invoices,
    Credits,
    Webhooks,
    Settings,
    /// A page that stands in no list.
    Nowhere,
}

/// The navigation, in its order.
const NAVIGATION: [(Place, &str, &str); 10] = [
    (Place::Home, "Home", "/dashboard"),
    (Place::Meters, "Meters", "/dashboard/meters"),
    (Place::Events, "Events", "/dashboard/events"),
    (Place::Customers, "Customers", "/dashboard/customers"),
    (Place::Products, "Products", "/dashboard/products"),
    (Place::Subscriptions, "Subscriptions", "/dashboard/subscriptions"),
    (Place::Invoices, "Invoices", "/dashboard/invoices"),
    (Place::Credits, "Credits", "/dashboard/credits"),
    (Place::Webhooks, "Webhooks", "/dashboard/webhooks"),
    (Place::Settings, "Settings", "/dashboard/settings"),
];

/// What the layout shows. A page has it as its member `shell`.
#[derive(Debug)]
pub(super) struct Shell {
    /// The page's heading.
    pub(super) title: String,
    pub(super) place: Place,
    /// Whether forms are shown.
    pub(super) may_change: bool,
    /// What forms send back.
    pub(super) token: String,
    /// The key's id.
    pub(super) key: String,
    /// The test clock, where there is one.
    pub(super) test_clock: Option<TestClock>,
    pub(super) assets: &'static assets::Paths,
}

impl Shell {
    pub(super) fn new(edge: &Edge, viewer: &Viewer, place: Place, title: &str) -> Self {
        let clock = edge.options.test_clock.then(|| TestClock::of(&edge.engine));
        Self {
            title: title.to_owned(),
            place,
            may_change: viewer.may_change(),
            token: viewer.secret.token(),
            key: viewer.key.to_string(),
            test_clock: clock,
            assets: assets::paths(),
        }
    }

    /// The screens: name, address, and whether this page is of it.
    pub(super) fn navigation(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let here = self.place;
        NAVIGATION.into_iter().map(move |(place, name, path)| (name, path, place == here))
    }
}
