//! Bodies made to hurt. A test here that does not end is a failure: anything that cost the square
//! of its length would take days at these sizes.

use crate::http::decode::{DecodeError, decode};
use crate::model::RawValue;
use crate::model::event::RawMetadata;

/// A body for each place where a value may stand, with `value` in it.
fn in_every_position(value: &str) -> Vec<String> {
    [
        "@",
        r#"{"events":@}"#,
        r#"{"events":[@]}"#,
        r#"{"events":[{"event_id":@}]}"#,
        r#"{"events":[{"customer_id":@}]}"#,
        r#"{"events":[{"event_name":@}]}"#,
        r#"{"events":[{"timestamp":@}]}"#,
        r#"{"events":[{"metadata":@}]}"#,
        r#"{"events":[{"metadata":{"k":@}}]}"#,
        r#"{"events":[{"unknown":@}]}"#,
        r#"{"unknown":@,"events":[]}"#,
        r#"{"events":[],"unknown":@}"#,
    ]
    .map(|body| body.replace('@', value))
    .to_vec()
}

fn metadata_value(text: &str) -> Result<String, DecodeError> {
    let body = format!(r#"{{"events":[{{"metadata":{{"k":{text}}}}}]}}"#);
    let events = decode(body.as_bytes(), 1)?;
    let RawMetadata::Members(members) = &events[0].metadata else { panic!("{events:?}") };
    let RawValue::Number(number) = &members[0].1 else { panic!("{members:?}") };
    Ok(number.to_string())
}

#[test]
fn deep_nesting_is_refused_in_every_position() {
    const DEPTH: usize = 100_000;
    for (open, close) in
        [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"metadata":"#, "}]"), ("[1,[],", "]")]
    {
        let unclosed = open.repeat(DEPTH);
        let closed = format!("{unclosed}1{}", close.repeat(DEPTH));
        for body in in_every_position(&unclosed).iter().chain(&in_every_position(&closed)) {
            let refused = decode(body.as_bytes(), 1000);
            assert!(matches!(refused, Err(DecodeError::Malformed { .. })), "{body:.60}");
        }
    }
}

#[test]
fn eight_levels_are_passed_over_and_nine_are_not() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for (depth, accepted) in [(1, true), (8, true), (9, false)] {
            let value = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let positions = in_every_position(&value);
            for body in positions.iter().skip(3).filter(|body| !body.contains(r#""metadata":{"a""#))
            {
                assert_eq!(decode(body.as_bytes(), 1).is_ok(), accepted, "{body}");
            }
        }
    }
}

#[test]
fn numbers_of_any_size_stay_text() {
    for text in
        ["1e308", "-1E+400", "1e99999999999999999999", &"9".repeat(400), &"1".repeat(100_000)]
    {
        assert_eq!(metadata_value(text).as_deref(), Ok(text));
    }
    for text in ["NaN", "Infinity", "-Infinity", "-", "+1", "1.", ".5", "0x10", "1e", "00"] {
        assert!(metadata_value(text).is_err(), "{text}");
    }
}

#[test]
fn control_characters_stand_in_strings_only_as_escapes() {
    for code in 0..0x20_u8 {
        let raw = format!(r#"{{"events":[{{"event_id":"{}"}}]}}"#, char::from(code));
        assert!(decode(raw.as_bytes(), 1).is_err(), "{code}");
        let escaped = format!(r#"{{"events":[{{"event_id":"\u{code:04x}"}}]}}"#);
        let expected = Some(RawValue::String(char::from(code).to_string().into()));
        assert_eq!(decode(escaped.as_bytes(), 1).unwrap()[0].event_id, expected);
    }
}

#[test]
fn invalid_utf8_is_refused_wherever_it_stands() {
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        for (before, after) in [
            (&b""[..], &b"{\"events\":[]}"[..]),
            (b"{\"", b"\":1,\"events\":[]}"),
            (b"{\"events\":[{\"event_id\":\"", b"\"}]}"),
            (b"{\"events\":[]}", b""),
        ] {
            let body = [before, bad, after].concat();
            assert!(matches!(
                decode(&body, 1),
                Err(DecodeError::Malformed { offset, .. }) if offset == before.len()
            ));
        }
    }
}

#[test]
fn a_body_of_ten_megabytes_is_read_in_one_pass() {
    const BYTES: usize = 10_000_000;
    let fill = |unit: &str| unit.repeat(BYTES / unit.len());
    let keys = |first: usize, count: usize| {
        let keys: Vec<_> = (first..first + count).map(|key| format!(r#""{key}":0"#)).collect();
        keys.join(",")
    };
    let accepted = [
        format!(r#"{{"events":[{{"event_id":"{}"}}]}}"#, fill("x")),
        format!(r#"{{"events":[{{"event_id":"{}"}}]}}"#, fill("\\n")),
        format!(r#"{{"events":[{{"event_id":{}}}]}}"#, fill("1")),
        format!(r#"{{"events":{}[]}}"#, fill(" ")),
        format!(r#"{{"events":[{{"a":[{}0]}}]}}"#, fill("[],")),
        format!(r#"{{{}"events":[]}}"#, fill(r#""a":"\u0061","#)),
        format!(r#"{{"events":[{{{}}}]}}"#, keys(0, BYTES / 12)),
        format!(r#"{{"events":[{{"metadata":{{"a":{{{}}}}}}}]}}"#, keys(0, BYTES / 12)),
    ];
    for body in &accepted {
        assert!(decode(body.as_bytes(), 1).is_ok(), "{body:.60}");
    }
    let most_keys = format!(r#"{{"metadata":{{{}}}}}"#, keys(100_000, 1000));
    let body = format!(r#"{{"events":[{}]}}"#, vec![most_keys; 900].join(","));
    assert!(decode(body.as_bytes(), 1000).is_ok());
    for count in [1001, 100_000] {
        let body = format!(r#"{{"events":[{{"metadata":{{{}}}}}]}}"#, keys(0, count));
        assert!(matches!(
            decode(body.as_bytes(), 1),
            Err(DecodeError::Malformed { message: "more than 1000 members in `metadata`", .. })
        ));
    }
}
