//! Lesson 32: settings change while clients are served.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use turnpike::stun::ErrorCode;

use crate::client::Client;
use crate::common::{Folder, Server, finished, own_address, page, wait_for};

fn reload(ip: std::net::Ipv4Addr) -> (i32, String, String) {
    finished(&format!("reload --admin {ip}:9641"))
}

#[test]
fn a_secret_is_rotated_while_a_client_keeps_refreshing() {
    let (ip, folder) = (own_address(), Folder::new("rotation"));
    let secrets = folder.write("secrets", "old\n");
    let config = folder.write("turnpike.toml", "[auth]\nsecrets-file = 'secrets'\n");
    let _server = Server::start(&format!("-c {config} --listen udp://{ip} --admin {ip}:9641"));

    let mut old = Client::of_secret(ip, "old", "alice");
    old.allocate().unwrap();
    let (stop, refreshed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let client = thread::spawn({
        let (stop, refreshed) = (stop.clone(), refreshed.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                old.refresh().expect("the old secret is still listed");
                refreshed.fetch_add(1, Ordering::Relaxed);
            }
            old
        }
    });
    wait_for("a refresh", || refreshed.load(Ordering::Relaxed) > 0);

    assert_eq!(Client::of_secret(ip, "new", "bob").allocate(), Err(ErrorCode::UNAUTHENTICATED));
    fs::write(&secrets, "new\nold\n").unwrap();
    let (code, shown, complaint) = reload(ip);
    assert_eq!(code, 0, "{complaint}");
    assert!(shown.starts_with("reloaded\n\nin force\n  auth.secrets           1 new; 2 now\n"), "{shown}");
    Client::of_secret(ip, "new", "bob").allocate().unwrap();
    let so_far = refreshed.load(Ordering::Relaxed);
    wait_for("a refresh since", || refreshed.load(Ordering::Relaxed) > so_far + 1);
    stop.store(true, Ordering::Relaxed);
    let mut old = client.join().unwrap();

    fs::write(&secrets, "new\n").unwrap();
    let (_, shown, _) = reload(ip);
    assert!(shown.contains("  auth.secrets           1 gone; 1 now\n"), "{shown}");
    assert_eq!(old.refresh(), Err(ErrorCode::UNAUTHENTICATED));
    // Its allocation lives until the lifetime it was last given.
    let (_, shown, _) = finished(&format!("status --admin {ip}:9641"));
    assert!(shown.contains("allocations  2 active"), "{shown}");
}

#[test]
fn a_bad_file_changes_nothing_and_its_place_is_told_everywhere() {
    let (ip, folder) = (own_address(), Folder::new("bad"));
    let good = "auth = { users = ['alice:a'] }\n";
    let config = folder.write("turnpike.toml", good);
    let server = Server::start(&format!("-c {config} --listen udp://{ip} --admin {ip}:9641"));
    let successful = |n: u32| {
        let metrics = page(&format!("{ip}:9641"), "/metrics");
        let line = format!("turnpike_config_last_reload_successful {n}");
        assert!(metrics.lines().any(|l| l == line), "{metrics}");
    };

    fs::write(&config, "auth = { users = ['bob:b'] }\n[peers]\ndeny = ['10.0.0.0/33']\n").unwrap();
    let (code, shown, complaint) = reload(ip);
    assert_eq!((code, shown.as_str()), (1, ""));
    let place = format!("{config}:3:9: ");
    let expected = format!("turnpike: not reloaded, the settings before still hold: {place}");
    assert!(complaint.starts_with(&expected) && complaint.contains("from 0 to 32"), "{complaint}");
    successful(0);
    let (_, shown, _) = finished(&format!("status --admin {ip}:9641"));
    assert!(shown.contains("settings     the last reload failed (see the log)"), "{shown}");
    Client::new(ip, "alice", "a").allocate().unwrap();
    assert_eq!(Client::new(ip, "bob", "b").allocate(), Err(ErrorCode::UNAUTHENTICATED));

    // A file that is being written, or was lost.
    fs::write(&config, "").unwrap();
    let (code, _, complaint) = reload(ip);
    assert!(code == 1 && complaint.contains("nobody could come in"), "{complaint}");
    fs::remove_file(&config).unwrap();
    let (code, _, complaint) = reload(ip);
    assert!(code == 1 && complaint.contains(&format!("cannot read {config}")), "{complaint}");

    fs::write(&config, good).unwrap();
    let (code, shown, _) = reload(ip);
    assert_eq!((code, shown.as_str()), (0, "reloaded, nothing is different\n"));
    successful(1);
    let (_, log) = server.stop();
    assert!(log.contains("not reloaded, nothing has changed") && log.contains(&place), "{log}");
}

#[test]
fn a_hangup_reads_the_files_again_and_ends_nothing() {
    let (ip, folder) = (own_address(), Folder::new("hangup"));
    let users = folder.write("users", "alice:a\nbob:b\n");
    let server = Server::start(&format!("--listen udp://{ip} --admin off --users-file {users}"));
    let mut bob = Client::new(ip, "bob", "b");
    bob.allocate().unwrap();

    fs::write(&users, "alice:a\ncarol:c\n").unwrap();
    server.signal(Signal::SIGHUP);
    wait_for("carol", || Client::new(ip, "carol", "c").allocate().is_ok());
    // Each shard takes the new users for itself.
    wait_for("bob's refusal", || bob.refresh() == Err(ErrorCode::UNAUTHENTICATED));

    fs::write(&users, "alice:a\nnonsense\n").unwrap();
    server.signal(Signal::SIGHUP);
    // The last of many is never lost.
    thread::sleep(std::time::Duration::from_millis(200));
    fs::write(&users, "dave:d\n").unwrap();
    (0..20).for_each(|_| server.signal(Signal::SIGHUP));
    wait_for("dave", || Client::new(ip, "dave", "d").allocate().is_ok());
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains(&format!("{users}:2:1: a user is written NAME:PASSWORD")), "{log}");
    assert!(log.contains("auth.users: 1 new, 1 gone; 2 now"), "{log}");
    assert!(!log.contains("nonsense") && !log.contains("carol:c"), "{log}");
}

#[test]
fn what_needs_a_restart_is_listed_and_the_rest_holds() {
    let (ip, other, folder) = (own_address(), own_address(), Folder::new("restart"));
    let text = |listen, quota| {
        format!(
            "listen = ['udp://{listen}']\nauth = {{ users = ['a:b'] }}\nlimits = {{ user-quota = {quota} }}\n"
        )
    };
    let config = folder.write("turnpike.toml", &text(ip, 1));
    let _server = Server::start(&format!("-c {config} --shards 1 --admin {ip}:9641"));

    fs::write(&config, text(other, 2)).unwrap();
    let (code, shown, _) = reload(ip);
    assert_eq!(code, 0);
    let expected = format!(
        "reloaded\n\nin force\n  limits.user-quota      1 -> 2\n\nwaiting for a restart\n  \
         listen                 udp://{ip}:3478 -> udp://{other}:3478\n  \
         relay.addresses        {ip} -> {other}\n"
    );
    assert_eq!(shown, expected);
    let mut clients = [0; 3].map(|_| Client::new(ip, "a", "b"));
    assert_eq!(
        clients.each_mut().map(Client::allocate),
        [Ok(()), Ok(()), Err(ErrorCode::ALLOCATION_QUOTA_REACHED)]
    );
    let (_, shown, _) = finished(&format!("status --admin {ip}:9641"));
    assert!(shown.contains("settings     waiting for a restart: listen, relay.addresses\n"), "{shown}");

    fs::write(&config, text(ip, 2)).unwrap();
    assert_eq!(reload(ip).1, "reloaded, nothing is different\n");
    let (_, shown, _) = finished(&format!("status --admin {ip}:9641"));
    assert!(!shown.contains("waiting for a restart"), "{shown}");
}

#[test]
fn a_flag_stays_on_top_of_the_file() {
    let (ip, folder) = (own_address(), Folder::new("flags"));
    let config = folder.write("turnpike.toml", "realm = 'one'\n");
    let _server =
        Server::start(&format!("-c {config} --listen udp://{ip} --admin {ip}:9641 --user a:b --realm top"));
    fs::write(&config, "realm = 'two'\nauth = { users = ['c:d'] }\n").unwrap();
    assert_eq!(reload(ip).1, "reloaded, nothing is different\n");
    Client::new(ip, "a", "b").allocate().unwrap();
    assert_eq!(Client::new(ip, "c", "d").allocate(), Err(ErrorCode::UNAUTHENTICATED));
}

#[test]
fn the_user_that_was_made_up_stays_while_there_is_no_other() {
    let (ip, folder) = (own_address(), Folder::new("made-up"));
    let users = folder.write("users", "# nobody yet\n");
    let config = folder.write("turnpike.toml", "[auth]\nusers-file = 'users'\n");
    let server =
        Server::start_with_made_up_user(&format!("-c {config} --listen udp://{ip} --admin {ip}:9641"));
    let (user, password) = (server.row("user").to_owned(), server.row("password").to_owned());
    let comes_in = || Client::new(ip, &user, &password).allocate().is_ok();

    assert_eq!(reload(ip).1, "reloaded, nothing is different\n");
    assert!(comes_in());
    fs::write(&users, "alice:a\n").unwrap();
    assert!(reload(ip).1.contains("auth.users             1 new, 1 gone; 1 now"));
    assert!(!comes_in());
    Client::new(ip, "alice", "a").allocate().unwrap();
}

#[test]
fn a_reload_of_no_server_is_an_error_that_says_so() {
    let (code, shown, complaint) = reload(own_address());
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("cannot connect") && complaint.contains("Connection refused"), "{complaint}");
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_does_not_keep_the_server_from_stopping() {
    let (ip, folder) = (own_address(), Folder::new("fifo"));
    let users = folder.write("users", "a:b\n");
    let server = Server::start(&format!("--listen udp://{ip} --admin {ip}:9641 --users-file {}", users));
    fs::remove_file(&users).unwrap();
    assert!(Command::new("mkfifo").arg(&users).status().unwrap().success());
    server.signal(Signal::SIGHUP);
    thread::sleep(std::time::Duration::from_millis(200));
    Client::new(ip, "a", "b").allocate().unwrap();
    assert!(page(&format!("{ip}:9641"), "/readyz").ends_with("ready\n"));
    let (code, shown, _) = finished(&format!("drain --admin {ip}:9641"));
    assert_eq!(code, 0, "{shown}");
    assert_eq!(server.stop().0, Some(0));
}
