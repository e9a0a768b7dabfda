//! Base64 with padding (RFC 4648 section 4). Secrets and nonces are compared, never decoded; tickets are.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of these bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let sextet = bits >> (18 - 6 * i) & 0x3f;
            text.push(if i <= chunk.len() { ALPHABET[sextet as usize].into() } else { '=' });
        }
    }
    text
}

/// The `N` bytes of a text, if it is one of as many; `N` is a multiple of three, so that there is no padding.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    const { assert!(N.is_multiple_of(3)) };
    if text.len() != N / 3 * 4 {
        return None;
    }
    let mut bytes = [0; N];
    for (group, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0;
        for byte in group {
            bits = bits << 6 | ALPHABET.iter().position(|known| known == byte)? as u32;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn text_can_be_read_again_and_other_text_cannot() {
        for bytes in [*b"foobar", [0; 6], [0xff; 6], [0xfb, 0xf0, 1, 2, 3, 4]] {
            assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }
        for bad in ["", "Zm9v", "Zm9vYmFyZm9v", "Zm9vYmF", "Zm9vYmF=", "Zm9vYm\n=", "Zm9vYmF-"] {
            assert_eq!(decode::<6>(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn base64_text_is_that_of_rfc_4648_section_10() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(encode(&[0xff, 0xfe, 0xfd, 0xfb]), "//79+w==");
    }
}
