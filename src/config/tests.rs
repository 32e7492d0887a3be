//! The laws of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use super::layers::variable_name;
use super::*;

const COMMITTED: &str = include_str!("../../config.toml");

fn file(text: &str) -> Sources {
    let path = PathBuf::from("quipu.toml");
    Sources { file: Some(ConfigFile { path, text: text.to_owned() }), ..Sources::default() }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources { environment: owned.collect(), ..Sources::default() }
}

fn problems(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

fn check_file(text: &str, expected: &str) {
    assert_eq!(problems(&file(text)), expected, "{text}");
}

#[test]
fn the_committed_file_holds_every_key_with_its_default_in_order() {
    let settings = Settings::resolve(KEYS, &file(COMMITTED)).unwrap();
    let mut lines = Vec::new();
    for setting in settings.iter() {
        assert_eq!(setting.value, setting.key.default.value(), "{}", setting.key.name);
        let Origin::File { line, .. } = setting.origin else {
            panic!("{} is missing", setting.key.name)
        };
        let above = COMMITTED.lines().nth(line - 2).unwrap();
        assert!(above.starts_with("# "), "{} has no comment", setting.key.name);
        lines.push(line);
    }
    assert!(lines.is_sorted());
    assert_eq!(Config::load(&file(COMMITTED)), Config::load(&Sources::default()));
}

#[test]
fn the_defaults_are_what_the_design_says() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.listen.address, "127.0.0.1:4646".parse().unwrap());
    assert_eq!(config.listen.shutdown_grace, Duration::from_secs(10));
    assert_eq!(config.data.directory, PathBuf::from("./data"));
    assert_eq!(config.data.reserve_bytes, 536_870_912);
    assert_eq!(config.api_key_file, None);
    assert_eq!(config.ingest.max_age, Duration::from_hours(1));
    assert_eq!(config.ingest.unknown_customers, UnknownCustomers::Create);
    assert_eq!(config.dedupe.window, Some(Duration::from_hours(35 * 24)));
    assert_eq!(config.log.durability, Durability::Commit);
    assert_eq!(config.billing_grace, Duration::from_mins(70));
    assert_eq!(config.collection, Collection::Automatic);
    assert_eq!(config.past_due, None);
    assert!(!config.webhooks.allow_loopback);
    assert_eq!(config.output, Output { format: OutputFormat::Auto, level: Level::INFO });
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let mut sources = file(
        "[ingest]\nmax_age = \"3h\"\nmax_ahead = \"3m\"\n[listen]\naddress = \"127.0.0.1:3\"\n",
    );
    sources.environment =
        environment(&[("QUIPU_INGEST__MAX_AHEAD", "2m"), ("QUIPU_LISTEN__ADDRESS", "127.0.0.1:2")])
            .environment;
    sources.flags =
        vec![Flag { flag: "--listen", key: "listen.address", value: "127.0.0.1:1".to_owned() }];
    let settings = Settings::resolve(KEYS, &sources).unwrap();
    let origin = |name| settings.get(name).unwrap().origin.to_string();
    assert_eq!(origin("ingest.max_age"), "quipu.toml:2:11");
    assert_eq!(origin("ingest.max_ahead"), "environment variable QUIPU_INGEST__MAX_AHEAD");
    assert_eq!(origin("listen.address"), "flag --listen");
    assert_eq!(origin("listen.insecure"), "default");
    let config = Config::from_settings(&settings).unwrap();
    assert_eq!(config.ingest.max_age, Duration::from_hours(3));
    assert_eq!(config.ingest.max_ahead, Duration::from_mins(2));
    assert_eq!(config.listen.address.port(), 1);
    assert_eq!(config.billing_grace, Duration::from_mins(190));
}

#[test]
fn every_key_can_be_set_in_the_environment() {
    let settings = Settings::resolve(KEYS, &Sources::default()).unwrap();
    let as_text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(is_set) => is_set.to_string(),
        Value::List(texts) => texts.join(","),
    };
    let variables: BTreeMap<String, String> = settings
        .iter()
        .map(|setting| (variable_name(setting.key.name), as_text(&setting.value)))
        .collect();
    assert_eq!(variables.len(), KEYS.len());
    let sources = Sources { environment: variables, ..Sources::default() };
    assert_eq!(Config::load(&sources), Config::load(&Sources::default()));
    let hosts = environment(&[("QUIPU_LISTEN__HOSTS", "a.example, B.example:80")]);
    assert_eq!(Config::load(&hosts).unwrap().listen.hosts, ["a.example", "b.example:80"]);
}

#[test]
fn an_unknown_key_in_the_file_is_named_with_its_place_and_the_nearest_name() {
    check_file(
        "[listen]\naddress = \"127.0.0.1:1\"\n  adress = \"x\"\n",
        "quipu.toml:3:3: there is no setting listen.adress; did you mean listen.address?",
    );
    check_file(
        "[listn]\naddress = 1\n",
        "quipu.toml:1:2: there is no setting listn; did you mean listen?",
    );
    check_file(
        "max_age = \"1h\"\n",
        "quipu.toml:1:1: there is no setting max_age; did you mean ingest.max_age?",
    );
    check_file(
        "[listen]\nmax_age = \"1h\"\n",
        "quipu.toml:2:1: there is no setting listen.max_age; did you mean ingest.max_age?",
    );
    check_file("[listen.tls]\n", "quipu.toml:1:9: there is no setting listen.tls");
    check_file("listen = 1\n", "quipu.toml:1:10: listen: expected a section, found 1");
    check_file(
        "listen = { hosts = [\"é\"], zzzzzz = 1 }\n",
        "quipu.toml:1:27: there is no setting listen.zzzzzz",
    );
}

#[test]
fn an_unknown_variable_is_an_error_only_when_it_looks_like_a_setting() {
    Config::load(&environment(&[
        ("QUIPU_API_KEY", "quipu_x_y"),
        ("QUIPU_HOME", "x"),
        ("HOME", "x"),
        ("OTHER__KEY", "x"),
    ]))
    .unwrap();
    assert_eq!(
        problems(&environment(&[("QUIPU_LISTEN__ADRESS", "secret")])),
        "environment variable QUIPU_LISTEN__ADRESS: there is no setting QUIPU_LISTEN__ADRESS; did \
         you mean QUIPU_LISTEN__ADDRESS?"
    );
    for (variable, suggestion) in
        [("QUIPU_listen__address", "QUIPU_LISTEN__ADDRESS"), ("QUIPU_BRNAD__ID", "QUIPU_BRAND__ID")]
    {
        let message = problems(&environment(&[(variable, "127.0.0.1:1")]));
        assert!(message.ends_with(&format!("did you mean {suggestion}?")), "{message}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_place_and_what_is_expected() {
    for (text, expected) in [
        (
            "[ingest]\nmax_body = \"big\"\n",
            "quipu.toml:2:12: ingest.max_body: expected a whole number from 0, found \"big\"",
        ),
        (
            "[ingest]\nmax_body = -1\n",
            "quipu.toml:2:12: ingest.max_body: expected a whole number from 0, found -1",
        ),
        (
            "[ingest]\nmax_age = 3600\n",
            "quipu.toml:2:11: ingest.max_age: expected a text, found 3600",
        ),
        (
            "metrics.open = \"yes\"\n",
            "quipu.toml:1:16: metrics.open: expected true or false, found \"yes\"",
        ),
        (
            "[listen]\nhosts = [\"a\", 1]\n",
            "quipu.toml:2:9: listen.hosts: expected a list of texts, found [\"a\", 1]",
        ),
    ] {
        check_file(text, expected);
    }
    assert_eq!(
        problems(&environment(&[("QUIPU_INGEST__MAX_BODY", "4MiB")])),
        "environment variable QUIPU_INGEST__MAX_BODY: ingest.max_body: expected a whole number \
         from 0, found \"4MiB\""
    );
}

#[test]
fn a_value_that_a_setting_cannot_have_is_refused() {
    for (key, value) in [
        ("LISTEN__ADDRESS", "localhost"),
        ("LISTEN__ADDRESS", "127.0.0.1"),
        ("LISTEN__HOSTS", "http://x"),
        ("LISTEN__CONNECTIONS_MAX", "0"),
        ("LISTEN__HEADER_TIMEOUT", "0"),
        ("LISTEN__IDLE_TIMEOUT", "5"),
        ("DATA__DIRECTORY", ""),
        ("BUSINESS__ID", ""),
        ("BRAND__ID", "a b"),
        ("INGEST__MAX_BODY", "0"),
        ("INGEST__MAX_AGE", "0"),
        ("INGEST__UNKNOWN_CUSTOMERS", "drop"),
        ("DEDUPE__WINDOW", "99999d"),
        ("DEDUPE__GENERATION_IDS", "0"),
        ("LOG__DURABILITY", "none"),
        ("LOG__INTERVAL", "0s"),
        ("LOG__SEGMENT_BYTES", "512"),
        ("CHECKPOINT__EVENTS", "0"),
        ("BILLING__GRACE", "soon"),
        ("OUTPUT__FORMAT", "xml"),
        ("OUTPUT__LEVEL", "INFO"),
    ] {
        let variable = format!("QUIPU_{key}");
        let message = problems(&environment(&[(&variable, value)]));
        let name = key.to_lowercase().replace("__", ".");
        let start = format!("environment variable {variable}: {name}: expected ");
        assert!(message.starts_with(&start), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused_at_the_place_of_one_of_them() {
    for (text, start) in [
        ("listen.address = \"0.0.0.0:80\"", "quipu.toml:1:18: listen.address: 0.0.0.0:80 can be"),
        ("listen.address = \"[::]:80\"", "quipu.toml:1:18: listen.address: [::]:80 can be"),
        ("ingest.queue_bytes = 65536", "quipu.toml:1:22: ingest.queue_bytes: 65536 is less than"),
        ("log.segment_bytes = 8388609", "quipu.toml:1:21: log.segment_bytes: 8388609 is not"),
        (
            "log.segment_bytes = 8388096",
            "quipu.toml:1:21: log.segment_bytes: 8388096 is less than 2",
        ),
        ("billing.grace = \"59m\"", "quipu.toml:1:17: billing.grace: it is shorter than"),
        ("billing.past_due_grace = \"23h\"", "quipu.toml:1:26: billing.past_due_grace: "),
        ("billing.past_due_grace = \"31d\"", "quipu.toml:1:26: billing.past_due_grace: "),
        ("webhooks.keep = \"47h\"", "quipu.toml:1:17: webhooks.keep: "),
    ] {
        let message = problems(&file(text));
        assert!(message.starts_with(start), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    for text in [
        "listen = { address = \"0.0.0.0:80\", insecure = true }",
        "listen.address = \"[::1]:80\"",
        "billing.grace = \"1h\"",
        "ingest = { max_body = 1024, queue_bytes = 1024 }\nlog.segment_bytes = 65536",
    ] {
        Config::load(&file(text)).unwrap();
    }
}

#[test]
fn values_with_a_meaning_of_their_own_are_read_so() {
    let config = Config::load(&file(
        "dedupe.window = \"0\"\nlog = { durability = \"interval\", interval = \"20ms\" }\n\
         auth.api_key_file = \"/run/key\"\nlisten.shutdown_grace = \"0s\"\n\
         ingest.unknown_customers = \"reject\"\nbilling = { collection = \"manual\", past_due_grace = \"3d\", past_due_action = \"cancel\" }\noutput = { format = \"json\", level = \"trace\" }\n\
         data.reserve_bytes = 0x1000\ncredits = { order = \"expires_first\", reservations_max = 7 }\n\
         webhooks = { allow_loopback = true, keep = \"2d\" }\n",
    ))
    .unwrap();
    assert_eq!(config.dedupe.window, None);
    assert_eq!(config.log.durability, Durability::Interval(Duration::from_millis(20)));
    assert_eq!(config.api_key_file, Some(PathBuf::from("/run/key")));
    assert_eq!(config.listen.shutdown_grace, Duration::ZERO);
    assert_eq!(config.ingest.unknown_customers, UnknownCustomers::Reject);
    assert_eq!(config.collection, Collection::Manual);
    let grace = Duration::from_hours(72);
    assert_eq!(config.past_due, Some(PastDue { grace, end: PastDueEnd::Cancel }));
    assert_eq!(config.output, Output { format: OutputFormat::Json, level: Level::TRACE });
    assert_eq!(config.data.reserve_bytes, 4_096);
    assert_eq!((config.credit_order, config.reservations_max), (GrantOrder::ExpiresFirst, 7));
    assert!(config.webhooks.allow_loopback);
    assert_eq!(config.webhooks.keep, Duration::from_hours(48));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut sources = file("[listen]\nadress = 1\n[ingest]\nmax_body = true\n");
    sources.environment = environment(&[("QUIPU_A__B", "")]).environment;
    assert_eq!(problems(&sources).lines().count(), 3);
    let sources = file("ingest = { max_age = \"0\", max_ahead = \"x\" }\nbilling.grace = \"x\"");
    assert_eq!(problems(&sources).lines().count(), 3);
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_place() {
    for (text, start) in [
        ("[listen\n", "quipu.toml:1:"),
        ("[listen]\naddress = \n", "quipu.toml:2:"),
        ("[data]\n[listen]\n[data]\n", "quipu.toml:3:"),
        ("metrics.open = true\nmetrics.open = true\n", "quipu.toml:2:"),
    ] {
        let message = problems(&file(text));
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn written_settings_mean_the_same_with_origins_and_without() {
    let mut sources = file(
        "ingest.max_age = \"2h\"\ndata.directory = \"a \\\"b\\\"\\\\\\n#\"\nlisten.hosts = [\"a\", \"b\"]",
    );
    sources.environment = environment(&[("QUIPU_METRICS__OPEN", "true")]).environment;
    let settings = Settings::resolve(KEYS, &sources).unwrap();
    for with_origins in [false, true] {
        let mut out = Vec::new();
        settings.write_toml(with_origins, &mut out).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(Config::load(&file(&written)), Config::from_settings(&settings));
        assert_eq!(written.contains(" # default"), with_origins);
        let lines = [
            "[listen]\naddress = \"127.0.0.1:4646\" # default\n",
            "\n\n[metrics]\nopen = true # environment variable QUIPU_METRICS__OPEN\n",
            "\nmax_age = \"2h\" # quipu.toml:1:18\n",
        ];
        assert!(lines.iter().all(|line| written.contains(line) == with_origins), "{written}");
    }
}
