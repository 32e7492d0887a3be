//! Settings: the daemon, what it was told, and its keys.

use serde_json::json;

use crate::common::daemon::{KEY, Launch};
use crate::forms::Form;
use crate::viewer::{HOSTILE, Viewer, daemon, make_key, text};

#[test]
fn the_daemon_says_what_it_is_and_what_it_holds() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/settings");
    assert!(page.contains(env!("CARGO_PKG_VERSION")) && page.contains("On-disk format"));
    let csv = viewer.page("/dashboard/settings?format=csv");
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let number = |row: &[&str], place: usize| -> u64 {
        row[row.len() - 3 + place].parse().unwrap_or_else(|_| panic!("{row:?}"))
    };
    let (all, together) = rows.split_at(rows.len() - 1);
    for place in [0, 1] {
        let sum: u64 = all.iter().map(|row| number(row, place)).sum();
        assert_eq!(sum, number(&together[0], place), "{csv}");
    }
    assert!(number(&rows[0], 1) >= 8 << 20, "the log has room: {csv}");
}

#[test]
fn every_setting_is_shown_with_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own<b>.toml");
    std::fs::write(&path, "[credits]\norder = \"expires_first\"\n").unwrap();
    let launch = Launch::new(directory.path()).configured_by(path.to_str().unwrap());
    let daemon = launch.start();
    let (key, _) = make_key(&daemon, "read");
    let mut viewer = Viewer::with_key(&daemon, &key);
    let own = "/dashboard/settings/configuration";
    let csv = viewer.page(&format!("{own}?format=csv"));
    let file = path.display();
    for line in [
        "ingest.max_age,\"\"\"1h\"\"\",default,".to_owned(),
        format!("credits.order,\"\"\"expires_first\"\"\",file,{file}:2:9"),
        "log.segment_bytes,8388608,environment,environment variable QUIPU_LOG__SEGMENT_BYTES"
            .to_owned(),
        "listen.address,\"\"\"127.0.0.1:0\"\"\",flag,flag --listen".to_owned(),
        "first admin key,hidden,environment,environment variable QUIPU_API_KEY".to_owned(),
    ] {
        assert!(csv.contains(&format!("\r\n{line}\r\n")), "{line}: {csv}");
    }
    assert!(!csv.contains(KEY));
    let changed = viewer.page(&format!("{own}?changed=true&format=csv"));
    assert!(!changed.contains(",default,") && changed.contains("listen.address"));
    let page = viewer.page(own);
    assert!(!page.contains(KEY) && !page.contains("data-api"));
    assert!(page.contains("own&#60;b&#62;.toml") && !page.contains("<b>"));
}

#[test]
fn keys_are_made_listed_and_revoked_by_admins_alone() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let own = "/dashboard/settings/keys";
    let page = viewer.page(own);
    assert!(page.contains("No key was made yet") && page.contains("curl"));
    let form = Form::of(&page, "POST /keys");
    assert_eq!(form.body(), json!({ "name": "", "scope": "ingest" }));
    let wrong = form.clone().send(&mut viewer);
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("name")));
    let made = form.clone().with("name", HOSTILE).with("scope", "read").send(&mut viewer).json();
    viewer.assert_harmless(own);
    assert!(!viewer.page(own).contains(made["key"].as_str().unwrap()), "it was shown once");
    let mut reader = Viewer::with_key(&daemon, made["key"].as_str().unwrap());
    for refused in [own.to_owned(), format!("{own}?format=csv")] {
        assert_eq!(reader.get(&refused).status, 403);
    }
    assert!(!reader.page("/dashboard/settings").contains(own));
    let admin = form.with("name", "second").with("scope", "admin").send(&mut viewer).json();
    let mut second = Viewer::with_key(&daemon, admin["key"].as_str().unwrap());
    let page = second.page(own);
    assert!(page.contains("you are signed in with it"));
    let revoke = Form::of(&page, &format!("DELETE /keys/{}", text(&made["id"])));
    assert_eq!(revoke.send(&mut second).status, 204);
    assert_eq!(reader.get("/dashboard/settings").status, 302, "its session has ended");
    let csv = viewer.page(&format!("{own}?format=csv"));
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.lines().nth(1).unwrap().starts_with("second,admin,"), "{csv}");
}
