//! Signatures of messages, as Standard Webhooks has them: `v1,` and the base64 of an HMAC-SHA256 over
//! id, time and body, one for each secret that counts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::webhook::WebhookSecret;

/// The value of `webhook-signature`.
pub(super) fn signatures(
    secrets: impl Iterator<Item = WebhookSecret>,
    (id, seconds): (&str, i64),
    body: &[u8],
) -> String {
    let signed = secrets.map(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key may have any length");
        for part in [id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::webhook::SECRET_BYTES;

    /// Made with the library that Standard Webhooks publishes for Python.
    #[test]
    fn a_signature_is_what_the_published_library_makes() {
        let secret: [u8; SECRET_BYTES] =
            STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().try_into().unwrap();
        let message = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let body = br#"{"test": 2432232314}"#;
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures([WebhookSecret(secret)].into_iter(), message, body), one);
        let both = [WebhookSecret(secret), WebhookSecret([0; SECRET_BYTES])];
        let found = signatures(both.into_iter(), message, body);
        let (first, second) = found.split_once(' ').unwrap();
        assert_eq!(first, one);
        assert!(second.starts_with("v1,") && second != one);
        assert_eq!(signatures(std::iter::empty(), message, body), "");
    }
}
