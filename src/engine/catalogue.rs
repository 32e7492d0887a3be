//! Meters, and the settings they count under: what an event is evaluated with.
//!
//! A catalogue never changes; a change makes a new one with a higher version.

use crate::metering::accumulator::Kind;
use crate::metering::evaluate::MeterSet;
use crate::model::{Meter, MeterId, MeterIndex, Settings};

/// One version of the meters and settings.
#[derive(Debug)]
pub struct Catalogue {
    meters: Vec<Meter>,
    settings: Settings,
    kinds: Vec<Kind>,
    set: MeterSet,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new(Vec::new(), Settings::default(), 0)
    }
}

impl Catalogue {
    /// A catalogue of these meters, in the order of their indexes.
    pub fn new(meters: Vec<Meter>, settings: Settings, version: u64) -> Self {
        let set = MeterSet::new(&meters, settings, version);
        let kinds = meters.iter().map(|meter| Kind::from(&meter.aggregation)).collect();
        Self { meters, settings, kinds, set }
    }

    /// The next version, with this meter in its place.
    #[must_use]
    pub fn with_meter(&self, meter: Meter) -> Self {
        let mut meters = self.meters.clone();
        match meters.get_mut(meter.index.position()) {
            Some(place) => *place = meter,
            None => meters.push(meter),
        }
        Self::new(meters, self.settings, self.version() + 1)
    }

    /// The next version, with these settings.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self::new(self.meters.clone(), settings, self.version() + 1)
    }

    /// Every meter, archived ones too, in the order of their indexes.
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// The meter with this id.
    pub fn meter(&self, id: &MeterId) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.id == *id)
    }

    /// How a meter aggregates, archived or not.
    pub fn kind(&self, meter: MeterIndex) -> Option<Kind> {
        self.kinds.get(meter.position()).copied()
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What events are evaluated with.
    pub fn set(&self) -> &MeterSet {
        &self.set
    }

    /// The version: equal versions of one process evaluate every event the same.
    pub fn version(&self) -> u64 {
        self.set.version()
    }
}
