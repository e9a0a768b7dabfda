//! OpenSSL's own client speaks TURN at a port of TLS: each version, ALPN, a certificate for each name.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;

use turnpike::stun::Message;
use turnpike_tests::lab::{self, Folder, Host, ServerOptions};

use crate::common::{Family, Lab};

/// A Binding request (RFC 8489 section 5) without attributes.
const BINDING: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42of-s_client.";

/// How long OpenSSL may take, in seconds.
const LIMIT: &str = "20";

/// Asks by `openssl s_client WORDS` for a Binding: what OpenSSL tells of the connection, and the server of its address.
fn ask(host: &Host, words: &str) -> (String, Option<SocketAddr>) {
    let mut command = host.command("timeout");
    command.args([LIMIT, "openssl", "s_client"]).args(words.split_whitespace());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().expect("openssl starts");
    let mut requests = client.stdin.take().expect("a pipe");
    // It may have ended already: a handshake that failed.
    let _ = requests.write_all(&BINDING);
    let (mut output, mut piece) = (Vec::new(), [0; 4096]);
    let mut answers = client.stdout.take().expect("a pipe");
    let mut mapped = None;
    while mapped.is_none() {
        match answers.read(&mut piece).expect("a pipe can be read") {
            0 => break,
            length => output.extend_from_slice(&piece[..length]),
        }
        // Behind what OpenSSL says of the connection.
        let transaction = output.windows(12).position(|bytes| *bytes == BINDING[8..]);
        let answer = transaction.and_then(|at| Message::parse(output.get(at - 8..)?).ok());
        mapped = answer.and_then(|answer| answer.xor_mapped_address().ok()?);
    }
    // With its input it ends.
    drop(requests);
    let mut rest = Vec::new();
    let _ = answers.read_to_end(&mut rest);
    client.wait().expect("a child");
    (String::from_utf8_lossy(&[output, rest].concat()).into_owned(), mapped)
}

#[test]
fn each_version_and_name_is_served_at_ports_of_tls_and_https() {
    let folder = Folder::new();
    for name in ["turn.test", "more.test", "*.wild.test"] {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let file = name.replace('*', "any");
        folder.write(&format!("{file}.pem"), &own.cert.pem());
        folder.write(&format!("{file}.key"), &own.signing_key.serialize_pem());
    }
    let more = ["more.test", "any.wild.test"]
        .map(|file| format!("[[tls.certificate]]\ncert = '{file}.pem'\nkey = '{file}.key'\n"));
    let config = format!("[tls]\ncert = 'turn.test.pem'\nkey = 'turn.test.key'\n{}", more.concat());
    let config = folder.write("turnpike.toml", &config);
    let options = ServerOptions::new("userspace").flag("--config", config);
    let options = options.flag("--listen", "https://10.77.0.1:443");
    let Some(lab) = Lab::with_tls(Family::V4, &[Family::V4], options) else { return };
    if lab::lacks("/usr/bin/openssl", "openssl") {
        return;
    }
    let client = lab.client();
    for at in [lab.secure(), SocketAddr::new(lab.secure().ip(), 443)] {
        for (version, shown) in [("-tls1_2", "New, TLSv1.2"), ("-tls1_3", "New, TLSv1.3")] {
            for (name, file) in
                [("turn.test", "turn.test"), ("more.test", "more.test"), ("one.wild.test", "any.wild.test")]
            {
                let ca = folder.path(&format!("{file}.pem"));
                let words = format!(
                    "{version} -connect {at} -servername {name} -CAfile {ca} -verify_hostname {name} -verify_return_error"
                );
                for alpn in ["stun.turn", "stun.nat-discovery"] {
                    let (said, mapped) = ask(&client, &format!("{words} -alpn {alpn}"));
                    assert_eq!(mapped.map(|mapped| mapped.ip()), Some(client.address()), "{words}: {said}");
                    for part in [shown, &format!("ALPN protocol: {alpn}"), "Verify return code: 0 (ok)"] {
                        assert!(said.contains(part), "{words}: no {part} in {said}");
                    }
                }
                // As browsers have it.
                let (said, mapped) = ask(&client, &words);
                assert!(mapped.is_some() && said.contains("No ALPN negotiated"), "{words}: {said}");
            }
        }
        let words = format!("-connect {at} -servername turn.test");
        let (said, mapped) = ask(&client, &format!("{words} -tls1_1 -cipher ALL:@SECLEVEL=0"));
        assert!(mapped.is_none() && said.contains("no peer certificate available"), "{said}");
        // ALPN decides: who wants HTTP is not answered in STUN.
        let (said, mapped) = ask(&client, &format!("{words} -alpn http/1.1"));
        assert!(mapped.is_none() && said.contains("ALPN protocol: http/1.1"), "{said}");
    }
}
