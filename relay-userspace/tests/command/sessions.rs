//! Lessons 30 and 48: who is relayed for, and how to end it.

use turnpike::stun::ErrorCode;

use crate::client::Client;
use crate::common::{Server, finished, own_address};

#[test]
fn sessions_are_listed_and_ended_by_name_and_by_user_with_a_line_in_the_log() {
    let ip = own_address();
    let server = Server::start(&format!("--listen udp://{ip} --admin {ip}:9641 --user a:b --auth-secret s"));
    let admin = format!("--admin {ip}:9641");
    let sessions = |words: &str| finished(&format!("sessions {words} {admin}"));
    assert_eq!(sessions(""), (0, "no sessions\n".into(), String::new()));

    let mut by_password = [0; 2].map(|_| Client::new(ip, "a", "b"));
    by_password.iter_mut().for_each(|client| client.allocate().unwrap());
    let mut by_secret = Client::of_secret(ip, "s", "carol & co");
    by_secret.allocate().unwrap();

    let (_, shown, _) = sessions("");
    assert!(shown.starts_with("3 sessions\n\nid "), "{shown}");
    let (_, shown, _) = sessions("--limit 1");
    assert!(shown.starts_with("3 sessions, the 1 with the most data:\n"), "{shown}");
    let (_, text, _) = sessions("--json --user a");
    let told: turnpike::admin::Sessions = serde_json::from_str(&text).unwrap();
    assert_eq!((told.total, told.sessions.len()), (2, 2));
    let (_, shown, _) =
        finished_words(&["sessions", "--user", "carol & co", "--admin", &format!("{ip}:9641")]);
    assert!(shown.starts_with("1 session\n") && shown.contains("4000000000:carol & co"), "{shown}");

    let id = &told.sessions[0].id;
    assert_eq!(sessions(&format!("end {id}")).1, "ended 1 session\n");
    assert_eq!(sessions(&format!("end {id}")), (1, "there is none\n".into(), String::new()));
    let left = by_password.iter_mut().filter_map(|client| client.refresh().ok()).count();
    assert_eq!(left, 1);
    assert_eq!(sessions("end --user a").1, "ended 1 session\n");
    for client in &mut by_password {
        assert_eq!(client.refresh(), Err(ErrorCode::ALLOCATION_MISMATCH));
    }
    by_secret.refresh().unwrap();
    by_password[0].allocate().unwrap();

    for wrong in ["end", "end all", "end 0-1 --user a"] {
        assert_eq!(sessions(wrong).0, 2, "{wrong}");
    }
    let (_, log) = server.stop();
    assert!(log.contains("ended the sessions of a user user=a ended=1"), "{log}");
    let line = log.lines().find(|line| line.contains("allocation ended")).unwrap();
    for part in [
        "user=a ",
        "realm=",
        "client=127.0.0.1:",
        "relayed=",
        "cause=\"ended by the operator\"",
        "to_peer_bytes=0",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

/// As [`finished`], with words that hold blanks.
fn finished_words(words: &[&str]) -> (i32, String, String) {
    let output = crate::common::turnpike("").args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn sessions_of_no_server_are_an_error_that_says_so() {
    let (code, shown, complaint) = finished(&format!("sessions --admin {}:9641", own_address()));
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("is `turnpike run` up"), "{complaint}");
}
