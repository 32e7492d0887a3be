//! A stretch of time on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::text::Instant;
use crate::model::Period;

/// Half-open: holds its start and not its end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Period)]
pub(crate) struct PeriodBody {
    #[schema(value_type = String, format = DateTime)]
    start: Instant,
    #[schema(value_type = String, format = DateTime)]
    end: Instant,
}

impl From<Period> for PeriodBody {
    fn from(period: Period) -> Self {
        Self { start: Instant(period.start), end: Instant(period.end) }
    }
}
