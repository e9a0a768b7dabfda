//! Headers of the PROXY protocol, right and wrong.

use proptest::prelude::*;

use super::*;

/// Reads them byte by byte, with something behind.
fn read_all(header: &[u8]) -> Header {
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(b"\0\x01\0\0");
    let steps: Vec<_> = (0..=bytes.len()).map(|len| read(&bytes[..len])).collect();
    let known = steps.iter().position(|step| *step != Header::More);
    let known = known.unwrap_or_else(|| panic!("{header:?} is never known"));
    assert!(steps[known..].iter().all(|step| *step == steps[known]), "{header:?} is read in two ways");
    if let Header::Whole { len, .. } = steps[known] {
        assert_eq!((known, len), (header.len(), header.len()), "{header:?}");
    }
    steps[known]
}

fn client(header: &[u8]) -> Option<String> {
    match read_all(header) {
        Header::Whole { client, .. } => Some(client.map_or("itself".into(), |client| client.to_string())),
        _ => None,
    }
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &len, rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80];

#[test]
fn version_1_names_the_client_in_words() {
    let of = |line: &str| client(format!("{line}\r\n").as_bytes());
    assert_eq!(of("PROXY TCP4 192.0.2.1 10.0.0.2 8080 80").unwrap(), "192.0.2.1:8080");
    assert_eq!(of("PROXY TCP6 2001:db8::1 ::1 65535 0").unwrap(), "[2001:db8::1]:65535");
    assert_eq!(of("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2").unwrap(), "192.0.2.1:1");
    assert_eq!(of("PROXY UNKNOWN").unwrap(), "itself");
    assert_eq!(of("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535").unwrap(), "itself");
}

#[test]
fn version_2_names_the_client_in_bytes() {
    assert_eq!(client(&v2(0x21, 0x11, &V4)).unwrap(), "192.0.2.1:8080");
    let with_extension = [&V4[..], &[4, 0, 3, 0, 0, 0]].concat();
    assert_eq!(client(&v2(0x21, 0x11, &with_extension)).unwrap(), "192.0.2.1:8080");
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    (v6[15], v6[33]) = (1, 7);
    assert_eq!(client(&v2(0x21, 0x21, &v6)).unwrap(), "[2001:db8::1]:7");
    // LOCAL: the proxy speaks for itself, whatever family it writes.
    assert_eq!(client(&v2(0x20, 0x00, &[])).unwrap(), "itself");
    assert_eq!(client(&v2(0x20, 0x11, &V4)).unwrap(), "itself");
    assert_eq!(client(&v2(0x21, 0x00, &[1, 2, 3])).unwrap(), "itself");
    assert_eq!(client(&v2(0x21, 0x31, &[0; 216])).unwrap(), "itself");
}

#[test]
fn what_is_no_header_is_refused() {
    for line in [
        "GET / HTTP/1.1",
        "PROXY",
        "PROXY TCP4",
        "PROXY  TCP4 192.0.2.1 10.0.0.2 1 2",
        "PROXY TCP4 192.0.2.1 10.0.0.2 1",
        "PROXY TCP4 192.0.2.1 10.0.0.2 1 2 3",
        "PROXY TCP4 192.0.2.1 10.0.0.2 +1 2",
        "PROXY TCP4 192.0.2.1 10.0.0.2 01 2",
        "PROXY TCP4 192.0.2.1 10.0.0.2 65536 2",
        "PROXY TCP4 192.0.2.256 10.0.0.2 1 2",
        "PROXY TCP4 2001:db8::1 ::1 1 2",
        "PROXY TCP6 192.0.2.1 10.0.0.2 1 2",
        "PROXY TCP5 192.0.2.1 10.0.0.2 1 2",
        "PROXY UDP4 192.0.2.1 10.0.0.2 1 2",
        "PROXY tcp4 192.0.2.1 10.0.0.2 1 2",
    ] {
        assert_eq!(read_all(format!("{line}\r\n").as_bytes()), Header::Bad, "{line}");
    }
    assert_eq!(read_all(&[b"PROXY ", &[b'x'; 200][..]].concat()), Header::Bad);
    assert_eq!(read_all(b"PROXY TCP4 \xff\xfe 10.0.0.2 1 2\r\n"), Header::Bad);
    // Version, family, lengths.
    for bytes in [
        v2(0x11, 0x11, &V4),
        v2(0x22, 0x11, &V4),
        v2(0x21, 0x12, &V4),
        v2(0x21, 0x41, &V4),
        v2(0x21, 0x11, &V4[..11]),
        v2(0x21, 0x21, &V4),
        v2(0x21, 0x11, &[0; MOST_V2 + 1]),
    ] {
        assert_eq!(read_all(&bytes), Header::Bad, "{bytes:?}");
    }
    let mut signature = v2(0x21, 0x11, &V4);
    signature[11] = b'!';
    assert_eq!(read_all(&signature), Header::Bad);
    // A ClientHello, a Binding request.
    assert_eq!(read_all(&[0x16, 3, 1, 2, 0]), Header::Bad);
    assert_eq!(read_all(&[0, 1, 0, 0]), Header::Bad);
}

proptest! {
    /// Whatever comes: no panic, nothing read beyond the end, and no other answer when more has come.
    #[test]
    fn hostile_headers_are_read_in_one_way(
        begin in prop_oneof![Just(SIGNATURE.to_vec()), Just(b"PROXY TCP4 ".to_vec()), Just(b"PROXY TCP6 ::".to_vec())],
        command in 0x1f_u8..0x23, family in prop_oneof![Just(0x11_u8), Just(0x21), any::<u8>()],
        rest in prop_oneof![proptest::collection::vec(any::<u8>(), 0..80), proptest::collection::vec(0x20_u8..0x3b, 0..80)],
    ) {
        let bytes = [&begin[..], &[command, family, 0], &rest, b"\r\n"].concat();
        let mut known = Header::More;
        for len in 0..=bytes.len() {
            let now = read(&bytes[..len]);
            prop_assert!(known == Header::More || now == known);
            if let Header::Whole { len: whole, .. } = now {
                prop_assert!(whole <= len);
            }
            known = now;
        }
    }
}
