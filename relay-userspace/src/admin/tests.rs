//! The pages, and what they change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use super::testing::*;
use super::*;

mod hostile;

#[test]
fn sessions_are_told_to_clients_of_this_host() {
    let (admin, source) = serve();
    let at = admin.address();
    let list = |query: &str| ask(at, &format!("GET /v1/sessions{query} HTTP/1.1\r\n{OPERATOR}\r\n"));
    let (first, body) = list("");
    assert_eq!(first, "HTTP/1.1 200 OK");
    let told: Sessions = serde_json::from_str(&body).unwrap();
    assert_eq!(told, Sessions { total: 1000, sessions: vec![busy_session()] });
    for (limit, most) in [("0", 0), ("7", 7), ("1000000", 10_000)] {
        let told: Sessions = serde_json::from_str(&list(&format!("?limit={limit}")).1).unwrap();
        assert_eq!(told.total, most);
    }
    assert_eq!(list("?user=nobody%20%26%20co").1, r#"{"total":0,"sessions":[]}"#);
    assert_eq!(list("?user=slow"), ("HTTP/1.1 503 Service Unavailable".into(), "ask again\n".into()));
    assert_eq!(list("?limit=-1").0, "HTTP/1.1 400 Bad Request");
    source.changes();

    // They name users: no page in a browser gets them, by whatever trick.
    for head in ["Host: 127.0.0.1:9641", "Host: evil.example\r\nX-Turnpike: 1"] {
        let (first, body) = ask(at, &format!("GET /v1/sessions HTTP/1.1\r\n{head}\r\n\r\n"));
        assert_eq!(first, "HTTP/1.1 403 Forbidden", "{head}");
        assert!(!body.contains("alice"), "{body}");
    }
    assert_eq!(source.changes(), [] as [&str; 0]);
}

#[test]
fn sessions_are_ended_by_name_and_by_user() {
    let (admin, source) = serve();
    let at = admin.address();
    let end = |path: &str| ask(at, &format!("DELETE /v1/sessions{path} HTTP/1.1\r\n{OPERATOR}\r\n"));
    for (path, ended) in [("/1-17", 1), ("/0-17", 0), ("?user=alice", 3), ("?user=bob", 0)] {
        let (first, body) = end(path);
        assert_eq!((first.as_str(), body), ("HTTP/1.1 200 OK", format!("{{\"ended\":{ended}}}")), "{path}");
    }
    source.changes();
    for path in ["", "?users=alice", "/17", "/all", "/1-", "/1-+17", "/99999-1", "/1-17-1"] {
        assert_eq!(end(path).0, "HTTP/1.1 400 Bad Request", "{path}");
    }
    let unasked = "DELETE /v1/sessions?user=alice HTTP/1.1\r\nHost: 127.0.0.1:9641\r\n\r\n";
    assert_eq!(ask(at, unasked).0, "HTTP/1.1 403 Forbidden");
    assert_eq!(source.changes(), [] as [&str; 0]);
}

fn serve() -> (Admin, Arc<Fixed>) {
    let source = Fixed::new();
    (Admin::start("127.0.0.1:0".parse().unwrap(), source.clone()).unwrap(), source)
}

/// First line and body of the answer to these bytes.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A refused request may end in a reset; what came before it counts.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn the_pages_are_there_and_nothing_else() {
    let (admin, source) = serve();
    let at = admin.address();
    assert_eq!(get(at, "/livez"), ("HTTP/1.1 200 OK".into(), "ok\n".into()));
    assert_eq!(get(at, "/readyz"), ("HTTP/1.1 200 OK".into(), "ready\n".into()));
    let (first, body) = get(at, "/v1/status");
    assert_eq!(first, "HTTP/1.1 200 OK");
    assert_eq!(serde_json::from_str::<Status>(&body).unwrap(), busy_status());
    assert_eq!(get(at, "/").0, "HTTP/1.1 404 Not Found");
    assert_eq!(ask(at, "POST /livez HTTP/1.1\r\nHost: x\r\n\r\n").0, "HTTP/1.1 405 Method Not Allowed");

    for state in [State::Starting, State::Draining, State::Stopping] {
        source.0.lock().unwrap().state = state;
        assert_eq!(get(at, "/readyz").0, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(get(at, "/livez").0, "HTTP/1.1 200 OK");
    }
}

#[test]
fn a_request_that_is_too_long_is_refused() {
    let (admin, _) = serve();
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(ask(admin.address(), &long).0, "HTTP/1.1 431 Request Header Fields Too Large");
}

#[test]
fn the_address_is_free_again_when_the_server_is_dropped() {
    let (admin, _) = serve();
    let address = admin.address();
    let second = Admin::start(address, Fixed::new());
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(admin);
    Admin::start(address, Fixed::new()).unwrap();
}

#[test]
fn metrics_are_open_metrics_with_bounded_labels() {
    let (admin, _) = serve();
    let text = get(admin.address(), "/metrics").1;
    for line in [
        r#"turnpike_packets_total{datapath="xdp",verdict="forwarded",reason="to_peer"} 598000"#,
        r#"turnpike_bytes_total{datapath="userspace",verdict="forwarded",reason="to_peer"} 400000"#,
        r#"turnpike_relayed_packets_total{direction="to_peer",datapath="xdp"} 598000"#,
        r#"turnpike_relayed_packets_total{direction="to_client",datapath="userspace"} 0"#,
        r#"turnpike_relayed_bytes_total{direction="to_client",datapath="xdp"} 80000000"#,
        r#"turnpike_interface_packets_total{interface="eth0",path="fast"} 998000"#,
        r#"turnpike_interface_packets_total{interface="eth0",path="slow"} 2000"#,
        "# TYPE turnpike_packets counter",
        "turnpike_allocations 12",
        "turnpike_ready 1",
        "turnpike_draining 0",
        "turnpike_config_last_reload_successful 1",
        "turnpike_config_last_reload_success_timestamp_seconds 1700000000",
        "turnpike_config_waiting_for_restart 0",
        r#"turnpike_interface_mode{interface="eth1",mode="xdp-generic"} 1"#,
        r#"turnpike_responses_total{method="allocate",code="success"} 1234"#,
        r#"turnpike_responses_total{method="allocate",code="401"} 1240"#,
        r#"turnpike_responses_total{method="other",code="other"} 1"#,
        "turnpike_fast_path_bindings 20",
        r#"turnpike_connections{transport="wss"} 2"#,
        r#"turnpike_connections_opened_total{transport="tcp"} 3"#,
        "turnpike_connections_refused_total 1",
        r#"turnpike_bindings_total{outcome="table_full"} 2"#,
        r#"turnpike_bindings_total{outcome="promoted"} 1"#,
        r#"turnpike_receive_buffer_drops_total{socket="relay"} 5"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_drain_and_a_reload_that_failed_can_be_seen_in_the_metrics() {
    let (admin, source) = serve();
    {
        let mut status = source.0.lock().unwrap();
        status.state = State::Draining;
        status.reload.successful = false;
        status.reload.waiting = vec!["listen".into(), "shards".into()];
    }
    let text = get(admin.address(), "/metrics").1;
    for line in [
        "turnpike_ready 0",
        "turnpike_draining 1",
        "turnpike_config_last_reload_successful 0",
        "turnpike_config_waiting_for_restart 2",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line}\n{text}");
    }
}

const OPERATOR: &str = "Host: 127.0.0.1:9641\r\nX-Turnpike: 1\r\n";

#[test]
fn an_operator_of_this_host_makes_changes() {
    let (admin, source) = serve();
    let at = admin.address();
    let change = |line: &str| ask(at, &format!("{line} HTTP/1.1\r\n{OPERATOR}\r\n"));
    let (first, body) = change("POST /v1/reload");
    assert_eq!(first, "HTTP/1.1 200 OK");
    assert_eq!(serde_json::from_str::<Reloaded>(&body).unwrap(), Reloaded::default());
    let (_, body) = change("POST /v1/drain");
    assert_eq!(serde_json::from_str::<Drained>(&body).unwrap(), Drained { draining: true, allocations: 12 });
    let (_, body) = change("DELETE /v1/drain");
    assert!(!serde_json::from_str::<Drained>(&body).unwrap().draining);
    assert_eq!(source.changes(), ["reload", "drain", "undo"]);

    source.0.lock().unwrap().state = State::Stopping;
    let (first, body) = change("POST /v1/reload");
    assert_eq!(first, "HTTP/1.1 422 Unprocessable Entity");
    assert_eq!(body, "turnpike.toml:3:1: unknown key\n");
}

#[test]
fn pages_from_elsewhere_and_wrong_requests_change_nothing() {
    let (admin, source) = serve();
    for (expected, head) in [
        ("405", format!("GET /v1/reload HTTP/1.1\r\n{OPERATOR}")),
        ("405", format!("PUT /v1/drain HTTP/1.1\r\n{OPERATOR}")),
        ("405", format!("OPTIONS /v1/drain HTTP/1.1\r\n{OPERATOR}Origin: http://evil.example\r\n")),
        ("405", format!("DELETE /v1/reload HTTP/1.1\r\n{OPERATOR}")),
        // A form of a page, and a script that may not send the header unasked.
        ("403", "POST /v1/drain HTTP/1.1\r\nHost: 127.0.0.1:9641\r\n".into()),
        ("403", format!("POST /v1/drain HTTP/1.1\r\n{OPERATOR}Origin: http://evil.example\r\n")),
        ("403", format!("POST /v1/drain HTTP/1.1\r\n{OPERATOR}Origin: null\r\n")),
        ("403", format!("DELETE /v1/drain HTTP/1.1\r\n{OPERATOR}Origin: http://127.0.0.1:9641\r\n")),
        // DNS rebinding: to the browser this is the page's own server.
        ("403", "POST /v1/reload HTTP/1.1\r\nHost: evil.example:9641\r\nX-Turnpike: 1\r\n".into()),
        ("403", "POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\nX-Turnpike: 1\r\n".into()),
        ("403", format!("POST /v1/reload HTTP/1.1\r\n{OPERATOR}Host: evil.example\r\n")),
        ("403", "POST /v1/reload HTTP/1.0\r\nX-Turnpike: 1\r\n".into()),
        ("413", format!("POST /v1/reload HTTP/1.1\r\n{OPERATOR}Content-Length: 1000000000000\r\n")),
        ("413", format!("POST /v1/reload HTTP/1.1\r\n{OPERATOR}Transfer-Encoding: chunked\r\n")),
    ] {
        let (first, _) = ask(admin.address(), &format!("{head}\r\n"));
        assert_eq!(first.split(' ').nth(1), Some(expected), "{head}: {first}");
        assert_eq!(source.changes(), [] as [&str; 0], "{head}");
    }
    assert_eq!(get(admin.address(), "/livez").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_reload_that_hangs_holds_up_neither_the_pages_nor_a_drain_nor_the_end() {
    let (called, calls) = std::sync::mpsc::channel();
    let admin = Admin::start("127.0.0.1:0".parse().unwrap(), Arc::new(Stuck(called))).unwrap();
    let mut waiting: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.write_all(format!("POST /v1/reload HTTP/1.1\r\n{OPERATOR}\r\n").as_bytes()).unwrap();
        waiting.push(stream);
    }
    let patience = std::time::Duration::from_secs(10);
    calls.recv_timeout(patience).unwrap();
    assert_eq!(get(admin.address(), "/livez").0, "HTTP/1.1 200 OK");
    let drain = format!("POST /v1/drain HTTP/1.1\r\n{OPERATOR}\r\n");
    assert_eq!(ask(admin.address(), &drain).0, "HTTP/1.1 200 OK");
    assert!(calls.try_recv().is_err(), "one at a time");
    drop(admin);
}

#[test]
fn the_operators_page_lists_every_metric_and_no_other() {
    let text = super::metrics::encode(busy_status()).unwrap();
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let page = include_str!("../../../docs/monitoring.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| metric |")).take_while(|l| !l.is_empty());
    let mut listed: Vec<&str> = table
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').filter(|name| name.starts_with("turnpike_")))
        .collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, names);
}
