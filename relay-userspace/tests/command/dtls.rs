//! Listeners for DTLS, as OpenSSL and our own probe meet them.

use std::fs;

use crate::common::{Folder, Server, finished, own_address, page, wait_for};
use crate::streams::{certificate, handshake, output};

#[test]
fn openssl_shakes_hands_and_is_refused_by_an_old_version() {
    let (ip, folder) = (own_address(), Folder::new("dtls"));
    let (cert, key) = certificate(&folder, "one.test");
    let server = Server::start(&format!(
        "--listen dtls://{ip} --admin {ip}:9641 --user a:b --cert {cert} --key {key} --datapath userspace"
    ));
    assert!(server.screen.contains(&format!("turns:{ip}:5349?transport=udp")), "{}", server.screen);
    let shown = handshake(&format!("-dtls1_2 -connect {ip}:5349 -CAfile {cert} -verify_return_error"));
    assert!(shown.contains("Verify return code: 0 (ok)") && shown.contains("DTLSv1.2"), "{shown}");
    assert!(shown.contains("CHACHA20-POLY1305"), "{shown}");
    // A client that does not know it, and one that has nothing in common with the certificate.
    for (suites, expected) in [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "Cipher is ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "Cipher is (NONE)"),
    ] {
        let shown = handshake(&format!("-dtls1_2 -cipher {suites} -connect {ip}:5349"));
        assert!(shown.contains(expected), "{suites}: {shown}");
    }
    let old = output("openssl", &format!("s_client -dtls1 -cipher ALL:@SECLEVEL=0 -connect {ip}:5349"));
    let complaint = String::from_utf8_lossy(&old.stderr);
    assert!(complaint.contains("alert protocol version"), "{complaint}");
    let metrics = page(&format!("{ip}:9641"), "/metrics");
    for (event, count) in [("completed", 3), ("nothing_in_common", 1), ("old_version", 1)] {
        let line = format!("turnpike_dtls_events_total{{event=\"{event}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert_eq!(server.stop().0, Some(0));
}

/// New handshakes get the new certificate.
#[test]
fn a_certificate_is_replaced_and_probe_names_the_step_that_fails() {
    let (ip, folder) = (own_address(), Folder::new("dtls-replaced"));
    let name = ip.to_string();
    let [(cert, key), (other, other_key)] =
        [name.as_str(), "two.test"].map(|name| own_certificate(&folder, name));
    let server = Server::start(&format!(
        "--listen dtls://{ip} --listen tls://{ip} --admin {ip}:9641 --user a:b --realm r.test --cert {cert} --key {key} \
         --datapath userspace --allow-peer {ip}/32"
    ));
    let probe = |trusted: &str| {
        finished(&format!("probe turns:{ip}?transport=udp --user a --password b --ca {trusted}"))
    };
    let first = folder.write("first.pem", &fs::read_to_string(&cert).unwrap());
    let (code, shown, complaint) = probe(&first);
    assert_eq!(code, 0, "{shown}{complaint}");
    assert!(shown.contains("DTLS 1.2, the certificate is for") && shown.contains("20 of 20"), "{shown}");
    let (code, shown, _) = probe(&other);
    assert!(code != 0 && shown.contains("certificate") && shown.contains("signed by nobody"), "{shown}");

    fs::copy(&other, &cert).unwrap();
    fs::copy(&other_key, &key).unwrap();
    let is_other = || {
        let shown = handshake(&format!("-dtls1_2 -showcerts -connect {ip}:5349"));
        shown.contains(fs::read_to_string(&other).unwrap().trim())
    };
    wait_for("the other certificate", is_other);
    let (code, shown, _) = probe(&other);
    assert!(code != 0 && shown.contains("the certificate is for two.test"), "{shown}");
    let (code, shown, _) =
        finished(&format!("probe turns:{ip}:1?transport=udp --user a --password b --ca {first}"));
    assert!(code != 0 && shown.contains("nothing listens there"), "{shown}");
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_certificate_of_rsa_alone_is_refused_with_what_is_missing() {
    let (ip, folder) = (own_address(), Folder::new("dtls-rsa"));
    let (cert, key) = rsa_certificate(&folder);
    let flags = format!("check --listen dtls://{ip} --user a:b --cert {cert} --key {key}");
    let (code, _, complaint) = finished(&flags);
    assert!(code != 0 && complaint.contains("DTLS needs a certificate with an ECDSA key"), "{complaint}");
    // One more is enough; TLS has both.
    certificate(&folder, "ec.test");
    let config = folder.write(
        "turnpike.toml",
        &format!(
            "listen = ['dtls://{ip}']\nauth = {{ users = ['a:b'] }}\n[tls]\ncert = 'rsa.pem'\nkey = 'rsa.key'\n\
             [[tls.certificate]]\ncert = 'ec.test.pem'\nkey = 'ec.test.key'\n"
        ),
    );
    let (code, shown, complaint) = finished(&format!("check -c {config}"));
    assert_eq!(code, 0, "{shown}{complaint}");
}

/// A robot may renew with a key of another kind than before. TLS has both, DTLS knows ECDSA alone.
#[test]
fn a_certificate_renewed_with_an_rsa_key_leaves_dtls_the_one_before_and_is_told() {
    let (ip, folder) = (own_address(), Folder::new("dtls-renewed"));
    let (cert, key) = certificate(&folder, "one.test");
    let first = fs::read_to_string(&cert).unwrap();
    let server = Server::start(&format!(
        "--listen dtls://{ip} --listen tls://{ip} --admin {ip}:9641 --user a:b --cert {cert} --key {key} \
         --datapath userspace"
    ));
    let shown_to = |flags: &str| handshake(&format!("{flags} -showcerts -connect {ip}:5349"));
    let (renewed, renewed_key) = rsa_certificate(&folder);
    fs::copy(&renewed, &cert).unwrap();
    fs::copy(&renewed_key, &key).unwrap();
    let second = fs::read_to_string(&renewed).unwrap();
    wait_for("TLS with the new one", || shown_to("-tls1_2").contains(second.trim()));
    let is_served = || shown_to("-dtls1_2").contains(first.trim());
    assert!(is_served());
    let refused = format!("turnpike_certificate_refused{{file=\"{cert}\"}} 1");
    let is_told = || page(&format!("{ip}:9641"), "/metrics").lines().any(|line| line == refused);
    assert!(is_told());
    let status = finished(&format!("status --admin {ip}:9641 --json")).1;
    assert!(status.contains("DTLS goes on with the certificate before"), "{status}");
    // It is the whole configuration that a reload reads, and that could not be started with.
    let (code, _, complaint) = finished(&format!("reload --admin {ip}:9641"));
    assert!(code == 1 && complaint.contains("DTLS needs a certificate with an ECDSA key"), "{complaint}");
    assert!(is_served() && is_told());
    // And again, with an RSA key once more: the last of ECDSA is kept.
    let (renewed, renewed_key) = rsa_certificate(&folder);
    fs::copy(&renewed, &cert).unwrap();
    fs::copy(&renewed_key, &key).unwrap();
    let third = fs::read_to_string(&renewed).unwrap();
    wait_for("TLS with the third", || shown_to("-tls1_2").contains(third.trim()));
    assert!(is_served() && is_told());

    let (last, last_key) = certificate(&folder, "last.test");
    fs::copy(&last, &cert).unwrap();
    fs::copy(&last_key, &key).unwrap();
    let last = fs::read_to_string(&last).unwrap();
    wait_for("DTLS with the last", || shown_to("-dtls1_2").contains(last.trim()));
    assert!(!is_told());
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert_eq!(
        log.matches("DTLS goes on with the certificate before, until that expires").count(),
        2,
        "{log}"
    );
}

/// Where there is no DTLS, a key of RSA is as good as one of ECDSA.
#[test]
fn a_certificate_renewed_with_an_rsa_key_is_no_matter_without_dtls() {
    let (ip, folder) = (own_address(), Folder::new("no-dtls-renewed"));
    let (cert, key) = certificate(&folder, "one.test");
    let server = Server::start(&format!(
        "--listen tls://{ip} --admin {ip}:9641 --user a:b --cert {cert} --key {key} --datapath userspace"
    ));
    let (renewed, renewed_key) = rsa_certificate(&folder);
    fs::copy(&renewed, &cert).unwrap();
    fs::copy(&renewed_key, &key).unwrap();
    let second = fs::read_to_string(&renewed).unwrap();
    let shown = || handshake(&format!("-tls1_2 -showcerts -connect {ip}:5349"));
    wait_for("the new one", || shown().contains(second.trim()));
    let metrics = page(&format!("{ip}:9641"), "/metrics");
    assert!(metrics.contains(&format!("turnpike_certificate_refused{{file=\"{cert}\"}} 0")), "{metrics}");
    assert_eq!(server.stop().0, Some(0));
}

/// A certificate with a key that DTLS knows nothing of.
fn rsa_certificate(folder: &Folder) -> (String, String) {
    let (cert, key) = (folder.write("rsa.pem", ""), folder.write("rsa.key", ""));
    let made = output(
        "openssl",
        &format!("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=rsa.test -keyout {key} -out {cert}"),
    );
    assert!(made.status.success());
    (cert, key)
}

/// A certificate that has signed itself, and is no authority's.
fn own_certificate(folder: &Folder, name: &str) -> (String, String) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let [cert, key] = ["pem", "key"].map(|kind| format!("{name}.{kind}"));
    (folder.write(&cert, &own.cert.pem()), folder.write(&key, &own.signing_key.serialize_pem()))
}
