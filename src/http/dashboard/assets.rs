//! Scripts and styles, part of the program. Their addresses carry a hash of their content, so that browsers
//! keep them for good and still see the next version's.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, VARY,
};

use super::answer::NotShown;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// How hard assets are compressed, once.
const LEVEL: i32 = 19;

const SOURCES: [(&str, &str, &str); 8] = [
    ("app.css", STYLE, include_str!("../assets/app.css")),
    ("app.js", SCRIPT, include_str!("../assets/app.js")),
    ("filter.js", SCRIPT, include_str!("../assets/filter.js")),
    ("htmx.js", SCRIPT, include_str!("../assets/htmx.min.js")),
    ("icon.svg", IMAGE, include_str!("../assets/icon.svg")),
    ("rows.js", SCRIPT, include_str!("../assets/rows.js")),
    ("uplot.css", STYLE, include_str!("../assets/uplot.min.css")),
    ("uplot.js", SCRIPT, include_str!("../assets/uplot.iife.min.js")),
];

/// Where pages find the assets.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) app_css: String,
    pub(super) app_js: String,
    pub(super) filter_js: String,
    pub(super) htmx_js: String,
    pub(super) icon: String,
    pub(super) rows_js: String,
    pub(super) uplot_css: String,
    pub(super) uplot_js: String,
}

#[derive(Debug)]
struct Asset {
    /// The last part of its address.
    name: String,
    /// With its quotes.
    tag: HeaderValue,
    media_type: &'static str,
    text: &'static str,
    compressed: Bytes,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| SOURCES.iter().map(Asset::new).collect());

static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    let mut names = ASSETS.iter().map(|asset| format!("/dashboard/assets/{}", asset.name));
    let mut next = || names.next().unwrap_or_default();
    Paths {
        app_css: next(),
        app_js: next(),
        filter_js: next(),
        htmx_js: next(),
        icon: next(),
        rows_js: next(),
        uplot_css: next(),
        uplot_js: next(),
    }
});

/// Where pages find the assets.
pub(super) fn paths() -> &'static Paths {
    &PATHS
}

impl Asset {
    fn new((name, media_type, text): &(&str, &'static str, &'static str)) -> Self {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let hash = hash.get(..16).unwrap_or_default();
        // Packing bytes that are in memory fails only without memory; then they are sent as they are.
        let compressed = zstd::bulk::compress(text.as_bytes(), LEVEL).unwrap_or_default();
        Self {
            name: format!("{hash}-{name}"),
            tag: HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits"),
            media_type,
            text,
            compressed: compressed.into(),
        }
    }
}

/// Sends an asset.
pub(super) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return NotShown::not_found("asset").fragment();
    };
    let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|tag| *tag == asset.tag);
    let takes_zstd = accepts_zstd(&headers) && !asset.compressed.is_empty();
    let body = match (is_known, takes_zstd) {
        (true, _) => Body::empty(),
        (false, true) => asset.compressed.clone().into(),
        (false, false) => asset.text.into(),
    };
    let mut response = Response::new(body);
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(ETAG, asset.tag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let for_good = "public, max-age=31536000, immutable";
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(for_good));
    if takes_zstd && !is_known {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    response.into_response()
}

/// Whether a browser takes what is packed with zstd: all do since 2024 or 2025, and for those on this
/// machine nothing is saved.
fn accepts_zstd(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|coding| coding.trim() == "zstd")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `VENDORED.md` says of the files that others wrote.
    const VENDORED: &str = include_str!("../assets/VENDORED.md");

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn vendored_files_are_those_that_are_named() {
        use sha2::{Digest, Sha256};
        for (file, text) in [
            ("htmx.min.js", include_str!("../assets/htmx.min.js")),
            ("uplot.iife.min.js", include_str!("../assets/uplot.iife.min.js")),
            ("uplot.min.css", include_str!("../assets/uplot.min.css")),
        ] {
            let hash = hexadecimal(&Sha256::digest(text));
            let line = VENDORED.lines().find(|line| line.contains(&format!("`{file}`")));
            assert!(line.is_some_and(|line| line.contains(&hash)), "{file} {hash}");
        }
    }

    #[test]
    fn all_assets_together_are_small() {
        let packed: usize = ASSETS.iter().map(|asset| asset.compressed.len()).sum();
        assert!(packed <= 50 * 1024, "{packed} bytes");
        for asset in ASSETS.iter() {
            let unpacked = zstd::bulk::decompress(&asset.compressed, asset.text.len()).unwrap();
            assert_eq!(unpacked, asset.text.as_bytes(), "{}", asset.name);
        }
    }

    #[test]
    fn each_name_leads_to_its_own_file() {
        let names = [
            &PATHS.app_css,
            &PATHS.app_js,
            &PATHS.filter_js,
            &PATHS.htmx_js,
            &PATHS.icon,
            &PATHS.rows_js,
            &PATHS.uplot_css,
            &PATHS.uplot_js,
        ];
        for (path, (name, ..)) in names.iter().zip(SOURCES) {
            assert!(path.starts_with("/dashboard/assets/") && path.ends_with(&format!("-{name}")));
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_text_becomes_code() {
        let own = include_str!("../assets/app.js");
        for forbidden in ["eval(", "new Function", "document.write", "http://", "https://"] {
            assert!(!own.contains(forbidden), "{forbidden}");
        }
        assert!(!include_str!("../assets/app.css").contains("url("));
    }
}
