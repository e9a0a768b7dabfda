//! coturn's `turnutils_uclient` over DTLS (`-S` without `-t`), which it speaks by OpenSSL. It tries DTLS 1.0 as well, by chance,
//! and then 1.2.

use turnpike_tests::lab::{Echo, Folder, PASSWORD, Path, ServerOptions, Totals, USER, Uclient, wait_for};

use crate::common::{Family, Lab};

const MESSAGES: u64 = 20;

fn complete(listen: Family, datapath: &'static str) {
    let folder = Folder::new();
    let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
    let cert = folder.write("cert.pem", &own.cert.pem());
    let key = folder.write("key.pem", &own.signing_key.serialize_pem());
    let options = ServerOptions { relay_ports: "50000-50999", ..ServerOptions::new(datapath) };
    let options = options.flag("--cert", &cert).flag("--key", &key);
    let Some(lab) = Lab::with_dtls(listen, &[Family::V4, Family::V6], options) else { return };
    let echoes = [Family::V4, Family::V6].map(|family| (family, Echo::start(&lab.peer(family))));
    let modes = ["", "-s", "-c", "-l 171 -D", "-l 1200", "-y", "-y -s"];
    let running: Vec<_> = modes
        .iter()
        .flat_map(|flags| echoes.iter().map(move |(family, echo)| (*flags, *family, echo)))
        .map(|(flags, family, echo)| {
            let clients: u64 = if flags.contains("-y") { 4 } else { 2 };
            let mut words: Vec<String> = flags.split_whitespace().map(String::from).collect();
            words.extend(["-S", "-u", USER, "-w", PASSWORD, "-z", "10"].map(String::from));
            words.extend(
                ["-E", &cert, "-m", &clients.to_string(), "-n", &MESSAGES.to_string()].map(String::from),
            );
            words.push(if family == Family::V6 { "-x" } else { "-X" }.to_owned());
            if !flags.contains("-y") {
                let peer = echo.address();
                words
                    .extend(["-e", &peer.ip().to_string(), "-r", &peer.port().to_string()].map(String::from));
            }
            (words.join(" "), clients * MESSAGES, Uclient::start(&lab.client(), lab.secure(), words))
        })
        .collect();
    let mut wrong = Vec::new();
    for (flags, all, client) in running {
        match client.end() {
            Ok(totals) if totals == (Totals { sent: all, received: all }) => {}
            otherwise => wrong.push(format!("{flags:?}: {otherwise:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{:#?}", lab.server.status()["dtls"]);
    // Whatever the data path: XDP leaves them alone.
    assert_eq!(lab.server.counters().relayed(Path::Xdp), (0, 0));
    wait_for("the associations to be counted", || {
        let status = lab.server.status();
        let kinds = status["connections"].as_array()?;
        kinds
            .iter()
            .any(|kind| kind["transport"] == "dtls" && kind["opened"].as_u64() > Some(13))
            .then_some(())
    });
}

#[test]
fn over_ipv4_beside_xdp() {
    complete(Family::V4, "xdp");
}

#[test]
fn over_ipv6_in_userspace() {
    complete(Family::V6, "userspace");
}
