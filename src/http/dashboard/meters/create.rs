//! A new meter: the form, and what such a meter would make of the events that came last.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use hyper::body::Body as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::engine::command::NewMeter;
use crate::engine::diagnosis::MeterPreview;
use crate::http::body;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::{Dashboard, assets, events, tags};
use crate::http::meters::MeterCreate;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;

/// Bytes of the form: a filter as large as a meter may have one, escaped.
const FORM_BYTES_MAX: usize = 60 * 1024;

#[derive(Template)]
#[template(path = "dashboard/meter_new.html", config = ".config/askama.toml")]
struct NewMeterPage {
    shell: Shell,
    filter_js: &'static str,
}

#[derive(Template)]
#[template(path = "dashboard/meter_preview.html", config = ".config/askama.toml")]
struct Preview {
    found: MeterPreview,
    value: String,
    unit: String,
}

/// Nothing can be said yet.
#[derive(Template)]
#[template(
    source = r#"<p class="faint">Write an event name to see what the meter would count.</p>"#,
    ext = "html",
    config = ".config/askama.toml"
)]
struct Waits;

/// The form.
pub(super) async fn show(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Answer {
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Meters, "Create a meter");
    answer::show(&NewMeterPage { shell, filter_js: &assets::paths().filter_js })
}

/// What the meter in the form would make of recent events. Nothing is made.
pub(super) async fn preview(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Answer {
    let (parts, incoming) = request.into_parts();
    body::require_form(&parts.headers, incoming.is_end_stream())?;
    let text = body::read(incoming, FORM_BYTES_MAX, dashboard.edge.options.body_timeout).await?;
    let written = Parameters::of_form(&text)?;
    if written.text("event_name")?.is_none() {
        return answer::show(&Waits);
    }
    let new = new_meter(&written)?;
    let unit = new.measurement_unit.clone();
    let found = dashboard.edge.read(move |engine| engine.preview_meter(&new)).await??;
    answer::show(&Preview { value: tags::grouped(&found.value.to_string()), found, unit })
}

/// The meter that the form would make. What does not matter to events may be missing yet.
fn new_meter(written: &Parameters) -> Result<NewMeter, ApiError> {
    let text = |name: &str, otherwise: &str| -> Result<String, ApiError> {
        Ok(written.text(name)?.unwrap_or(otherwise).to_owned())
    };
    let key = written.text("aggregation.key")?;
    let meter = json!({
        "name": text("name", "preview")?,
        "event_name": text("event_name", "")?,
        "measurement_unit": text("measurement_unit", "units")?,
        "aggregation": { "type": text("aggregation.type", "count")?, "key": key },
    });
    let filter = written.text("filter")?.unwrap_or("null");
    // As it was written, so that a number keeps its text.
    let filter: &RawValue = serde_json::from_str(filter)
        .map_err(|_| ApiError::invalid("filter", "filter is not JSON"))?;
    let whole = with_filter(&meter, filter);
    body::object::<MeterCreate<'_>>(whole.as_bytes())?.into_new()
}

fn with_filter(meter: &Value, filter: &RawValue) -> String {
    let text = meter.to_string();
    format!("{},\"filter\":{}}}", text.strip_suffix('}').unwrap_or(&text), filter.get())
}

#[cfg(test)]
mod tests {
    use crate::http::query::parameters;
    use crate::model::{Aggregation, Clauses};

    use super::*;

    #[test]
    fn a_form_that_is_half_filled_in_has_a_preview() {
        let meter = new_meter(&parameters("event_name=call&aggregation.type=count")).unwrap();
        assert_eq!((meter.event_name.as_str(), meter.aggregation), ("call", Aggregation::Count));
        assert!(meter.filter.is_none());
        let summed = "event_name=call&aggregation.type=sum";
        assert_eq!(new_meter(&parameters(summed)).unwrap_err().status(), 422);
        let summed = new_meter(&parameters(&format!("{summed}&aggregation.key=tokens"))).unwrap();
        assert_eq!(summed.aggregation, Aggregation::Sum { key: "tokens".to_owned() });
    }

    #[test]
    fn a_filter_is_read_as_the_api_reads_it() {
        let filter =
            r#"{"conjunction":"and","clauses":[{"key":"n","operator":"equals","value":1.50}]}"#;
        let of = |filter: &str| {
            let filter: String = tags::encoded(filter);
            new_meter(&parameters(&format!("event_name=call&filter={filter}")))
        };
        let found = of(filter).unwrap().filter.unwrap();
        let Clauses::Conditions(conditions) = found.clauses else { panic!() };
        assert_eq!(super::super::condition(&conditions[0]), "n = 1.50");
        assert_eq!(
            of("{\"conjunction\":\"and\"}").unwrap_err().body().field.as_deref(),
            Some("filter")
        );
        assert_eq!(of("{").unwrap_err().body().field.as_deref(), Some("filter"));
    }
}
