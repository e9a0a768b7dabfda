//! The key that a request brings, and whose it is.

use axum::http::{HeaderMap, header};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::refusal::Refusal;
use crate::config::KeyHash;

/// The hash of the key in `Authorization: Bearer KEY` (RFC 6750 section 2.1).
pub(super) fn key(headers: &HeaderMap) -> Result<KeyHash, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::no_key()) };
    let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len()).ok_or_else(Refusal::no_key)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Refusal::no_key());
    }
    Ok(KeyHash::of(key.trim_ascii()))
}

/// Which of the holders has this key. All keys are compared, each in the same time, so that nothing can be learnt of them by a
/// clock; what is compared are hashes.
pub(super) fn holder<'a>(key: &KeyHash, holders: impl Iterator<Item = &'a [KeyHash]>) -> Option<usize> {
    const NOBODY: u32 = u32::MAX;
    let mut found = NOBODY;
    for (index, keys) in (0..NOBODY).zip(holders) {
        let mut has = Choice::from(0);
        for known in keys {
            has |= known.matches(key);
        }
        found.conditional_assign(&index, has);
    }
    (!bool::from(found.ct_eq(&NOBODY))).then_some(found as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_tenant_and_to_no_other() {
        let of = |key: &str| KeyHash::of(key.as_bytes());
        let tenants = [vec![of("a"), of("b")], vec![], vec![of("c")]];
        let holder = |key: &str| holder(&of(key), tenants.iter().map(Vec::as_slice));
        assert_eq!(["a", "b", "c", "d", ""].map(holder), [Some(0), Some(0), Some(2), None, None]);
    }

    #[test]
    fn only_one_bearer_header_brings_a_key() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            key(&headers).ok()
        };
        let expected = Some(KeyHash::of(b"secret"));
        assert_eq!(read(&["Bearer secret"]), expected);
        assert_eq!(read(&["bearer  secret"]), expected);
        for bad in [&[][..], &["secret"], &["Basic secret"], &["Bearer secret", "Bearer secret"], &["Bear"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
