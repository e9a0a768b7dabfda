//! What an operator is told of a certificate that cannot be served, or should not be.

use std::fs;

use super::super::tests::Files;
use super::*;

fn complaint(files: &CertificateFiles) -> String {
    Certificate::read(files).unwrap_err().to_string()
}

#[test]
fn a_certificate_that_fits_its_key_tells_its_names_and_its_end() {
    let files = Files::new("good");
    let written = files.certificate("a", &["Turn.Example.org", "*.example.net", "192.0.2.1"]);
    let certificate = Certificate::read(&written).unwrap();
    assert_eq!(certificate.names(), ["turn.example.org", "*.example.net", "192.0.2.1"]);
    assert_eq!(certificate.warnings(), None);
    assert!(certificate.expires() > 1_700_000_000);
}

#[test]
fn what_is_wrong_with_the_files_is_told_in_the_operators_words() {
    let files = Files::new("bad");
    let good = files.certificate("a", &["a.test"]);
    let other = files.certificate("b", &["b.test"]);
    let with = |cert: &Path, key: &Path| CertificateFiles { cert: cert.into(), key: key.into() };

    let told = complaint(&with(&good.cert, &other.key));
    assert!(told.contains("is not that of the certificate"), "{told}");
    let told = complaint(&with(Path::new("/no/such/file"), &good.key));
    assert!(told.starts_with("cannot read /no/such/file: No such file"), "{told}");
    let told = complaint(&with(&good.cert, Path::new("/no/such/key")));
    assert!(told.starts_with("cannot read /no/such/key: "), "{told}");
    let told = complaint(&with(&good.key, &good.cert));
    assert!(told.contains("this is a key: the certificate and the key may be confused"), "{told}");
    let told = complaint(&with(&good.cert, &good.cert));
    assert!(told.contains("no key in it"), "{told}");

    let empty = files.write("empty.pem", "");
    assert!(complaint(&with(&empty, &good.key)).contains("no certificate in it"));
    for (text, says) in [
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "is no base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "the line -----END CERTIFICATE----- is missing"),
        ("-----BEGIN \u{1b}[31m\u{fffd}-----\nAAAA\n", "a section has no end"),
        ("-----BEGIN CERTIFICATE AAAA\nAAAA\n", "does not end with -----"),
    ] {
        let broken = files.write("broken.pem", text);
        for told in [complaint(&with(&broken, &good.key)), complaint(&with(&good.cert, &broken))] {
            assert!(told.contains("this is no PEM file: ") && told.contains(says), "{text:?}: {told}");
            // Neither bytes as numbers nor the file's own.
            assert!(!told.contains("[45") && !told.contains("AAAA") && !told.contains('\u{1b}'), "{told}");
        }
    }
    let junk = files.write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(complaint(&with(&junk, &good.key)).contains("this is no certificate"));
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let told = complaint(&with(&good.cert, &files.write("locked.pem", locked)));
    assert!(told.contains("the key has a password"), "{told}");
    // Neither the key nor what was in its place is repeated.
    assert!(!told.contains("AAAA") && !complaint(&with(&junk, &good.key)).contains("AAAA"));

    let pipe = files.write("pipe", "");
    fs::remove_file(&pipe).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&pipe, Path::new("/dev/zero")] {
        for told in [complaint(&with(path, &good.key)), complaint(&with(&good.cert, path))] {
            assert!(told.ends_with("this is a pipe or a device: it must be a file"), "{told}");
        }
    }
    fs::remove_file(&good.cert).unwrap();
    assert!(complaint(&good).starts_with("cannot read "));
}

#[test]
fn an_expired_certificate_is_warned_about_and_served() {
    let files = Files::new("expired");
    for (from, to, expected) in [
        ((2020, 1, 1), (2021, 1, 1), Some("expired ")),
        ((4000, 1, 1), (4001, 1, 1), Some("is not valid for another ")),
        ((2020, 1, 1), (4001, 1, 1), None),
    ] {
        let written = files.certificate_valid("a", &["a.test"], from, to);
        let warning = Certificate::read(&written).unwrap().warnings();
        match expected {
            None => assert_eq!(warning, None),
            Some(words) => assert!(warning.as_ref().is_some_and(|w| w.contains(words)), "{warning:?}"),
        }
    }
}

#[test]
fn the_same_files_with_another_certificate_are_another() {
    let files = Files::new("equal");
    let first = Certificate::read(&files.certificate("a", &["a.test"])).unwrap();
    let again = Certificate::read(first.files()).unwrap();
    assert_eq!(first, again);
    let next = Certificate::read(&files.certificate("a", &["a.test"])).unwrap();
    assert_ne!(first, next);
}
