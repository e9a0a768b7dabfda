//! coturn's `turnutils_uclient` over TLS (`-t -S`), which it speaks by OpenSSL.
//!
//! About a quarter of its attempts to connect are made with a version of TLS that is no more; it tries again. And it may count fewer
//! answers than it was sent: of forty by coturn's own server, which it is run against beside ours, once 36. TCP loses nothing on
//! the way, so what is held to the last message here is the server's own books. More clients and `-c`, which makes more
//! connections, would only have more of that.

use std::net::SocketAddr;

use turnpike_tests::lab::{
    Coturn, Echo, Folder, Host, PASSWORD, Path, ServerOptions, Totals, USER, Uclient, wait_for,
};

use crate::common::{Family, Lab};

const CLIENTS: u64 = 2;

/// Messages of each client.
const MESSAGES: u64 = 20;

fn start(host: &Host, server: SocketAddr, ca: &str, peer: SocketAddr, more: &str) -> Uclient {
    let family = if peer.is_ipv6() { "-x" } else { "-X" };
    let words = format!(
        "-t -S -E {ca} -u {USER} -w {PASSWORD} {family} -z 10 -m {CLIENTS} -n {MESSAGES} -e {} -r {} {more}",
        peer.ip(),
        peer.port()
    );
    Uclient::start(host, server, words.split_whitespace())
}

/// It has sent all that it had to send, and was answered.
fn is_good(totals: &Result<Totals, String>) -> bool {
    let all = CLIENTS * MESSAGES;
    totals.as_ref().is_ok_and(|totals| totals.sent == all && (all / 2..=all).contains(&totals.received))
}

fn complete(listen: Family, datapath: &'static str) {
    let folder = Folder::new();
    let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
    let cert = folder.write("cert.pem", &own.cert.pem());
    let key = folder.write("key.pem", &own.signing_key.serialize_pem());
    let options = ServerOptions::new(datapath).flag("--cert", &cert).flag("--key", &key);
    let Some(lab) = Lab::with_tls(listen, &[Family::V4, Family::V6], options) else { return };
    let echoes = [Family::V4, Family::V6].map(|family| Echo::start(&lab.peer(family)));
    let coturn = Coturn::start(&lab.peer(listen));
    let runs = echoes.iter().flat_map(|echo| ["", "-s"].map(|more| (echo.address(), more)));
    let running: Vec<_> = runs
        .map(|(peer, more)| {
            let what = format!("ours to {peer} {more}");
            (what, start(&lab.client(), lab.secure(), &cert, peer, more))
        })
        .collect();
    let same_family = echoes[usize::from(listen == Family::V6)].address();
    let theirs = start(&lab.client(), coturn.tls(), &coturn.ca(), same_family, "");
    let ours: Vec<_> = running.into_iter().map(|(what, client)| (what, client.end())).collect();
    println!("{ours:?}; coturn's: {:?}", theirs.end());
    assert!(ours.iter().all(|(_, totals)| is_good(totals)), "{ours:#?}");

    // All that was sent came to the peers, and as much from them was sent back.
    let counters = lab.server.counters();
    let sent = ours.len() as u64 * CLIENTS * MESSAGES;
    assert_eq!(counters.relayed(Path::Userspace), (sent, sent), "{ours:#?}");
    assert_eq!(counters.relayed(Path::Xdp), (0, 0), "TCP is left alone");
    wait_for("the end of the connections", || {
        let status = lab.server.status();
        let tls = status["connections"].as_array()?.iter().find(|kind| kind["transport"] == "tls")?.clone();
        (tls["opened"].as_u64() >= Some(4 * CLIENTS) && tls["open"] == 0).then_some(())
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
