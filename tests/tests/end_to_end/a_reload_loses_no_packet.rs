//! Settings change while a call goes on: no packet of it is lost, nor does one leave the fast path. Lesson 32.

use std::time::Duration;

use relay_common::reason::Reason;
use turnpike::stun::{ErrorCode, Method};
use turnpike_tests::lab::{self, OneNic, Path, Server, ServerOptions};

use crate::common::{Call, SettingsFile, moved, reload};

/// Reloads in a row.
const RELOADS: u64 = 10;

fn reloads(mode: &'static str, path: Path) {
    if lab::skipped() {
        return;
    }
    let file = SettingsFile::new(&format!("reload-{mode}"), "");
    let net = OneNic::new();
    let options = ServerOptions::new(mode).flag("--config", file.path());
    let server = Server::start(&net.server, &options);
    let mut call = Call::new(&server, &net.client, &net.peer);
    if path == Path::Xdp {
        call.settle(&server);
    }

    let peer = call.peer_address();
    let mut sent = 0;
    let moved = moved(&server, || {
        for n in 1..=RELOADS {
            // The last one forbids this very peer: what was permitted goes on until it has to be refreshed.
            let deny = if n == RELOADS { peer.ip().to_string() } else { format!("192.0.2.{n}") };
            file.write(&format!("[limits]\nuser-quota = {n}\n[peers]\ndeny = ['{deny}']\n"));
            let mut reload = reload(&net.server);
            while reload.exited().is_none() {
                call.both_ways();
                sent += 1;
            }
            let (status, output) = reload.wait(Duration::ZERO);
            assert!(status.success() && output.contains("limits.user-quota"), "{output}");
            call.both_ways();
            sent += 1;
        }
    });
    assert!(sent > RELOADS, "media flowed during the reloads");
    // One packet in 65,536 has a finished checksum that looks unfinished, and is relayed by the process.
    let chance = moved.of(Path::Xdp, Reason::UnfinishedChecksum);
    let (to_peer, to_client) = moved.relayed(path);
    assert_eq!(to_peer + to_client + chance, 2 * sent, "{moved:?}");
    assert!(chance <= 2, "{moved:?}");

    let refused =
        call.client.request(Method::CREATE_PERMISSION, |request| _ = request.xor_peer_address(peer));
    assert_eq!(refused.err(), Some(ErrorCode::FORBIDDEN), "the last reload holds");
    call.client_sends(b"permitted before");
    assert_eq!(lab::receive(&call.peer, Duration::from_millis(1)), None, "nothing came twice");
}

#[test]
fn by_xdp() {
    reloads("xdp", Path::Xdp);
}

#[test]
fn by_the_process() {
    reloads("userspace", Path::Userspace);
}
