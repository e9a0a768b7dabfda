use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use relay_common::reason::Reason;
use relay_common::tables::Count;

use super::*;
use crate::datapath::{InterfaceStatus, Mode, Request};

/// A server in the middle of its work.
pub(crate) fn busy_status() -> Status {
    let interface = |name: &str, index, mode, reasons: &[&str]| InterfaceStatus {
        name: name.into(),
        index,
        mode,
        reasons: reasons.iter().map(ToString::to_string).collect(),
    };
    let traffic = |datapath, reason, packets, bytes| Traffic::new(datapath, reason, Count { packets, bytes });
    let responses = |method: &str, code, count| Responses { method: method.into(), code, count };
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        state: State::Ready,
        started: 1_700_000_000,
        uptime_seconds: 11_525,
        realm: "example.org".into(),
        shards: 2,
        listeners: vec!["udp://10.0.0.2:3478".into(), "udp://10.0.0.3:3478".into()],
        relay_addresses: vec!["198.51.100.1/10.0.0.2".into()],
        relay_ports: "49152-65535".into(),
        datapath: Request::Auto,
        interfaces: vec![
            interface("eth0", 2, Mode::Xdp, &[]),
            interface("eth1", 3, Mode::XdpGeneric, &["driver mode: no native support (EOPNOTSUPP)"]),
        ],
        allocations: Allocations {
            active: 12,
            created: 1234,
            users: 7,
            free_ports: 16_372,
            ports_in_use: 3,
            ports_without_resources: 0,
        },
        bindings: Bindings {
            active: 20,
            capacity: 65_536,
            installed: 24,
            refused_full: 2,
            without_fast_path: 0,
        },
        traffic: vec![
            traffic(Where::Xdp, Reason::ToPeer, 598_000, 119_600_000),
            traffic(Where::Xdp, Reason::ToClient, 400_000, 80_000_000),
            traffic(Where::Xdp, Reason::NoBinding, 12, 2280),
            traffic(Where::Userspace, Reason::ToPeer, 2_000, 400_000),
        ],
        responses: vec![
            responses("allocate", None, 1234),
            responses("allocate", Some(401), 1240),
            responses("other", Some(0), 1),
        ],
        drops: Drops { listener: 0, relay: 5 },
    }
}

struct Fixed(Mutex<Status>);

impl Source for Fixed {
    fn status(&self) -> Status {
        self.0.lock().unwrap().clone()
    }
}

fn serve() -> (Admin, Arc<Fixed>) {
    let source = Arc::new(Fixed(Mutex::new(busy_status())));
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

    for state in [State::Starting, State::Stopping] {
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
    let second = Admin::start(address, Arc::new(Fixed(Mutex::new(busy_status()))));
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(admin);
    Admin::start(address, Arc::new(Fixed(Mutex::new(busy_status())))).unwrap();
}

#[test]
fn metrics_are_open_metrics_with_bounded_labels() {
    let (admin, _) = serve();
    let text = get(admin.address(), "/metrics").1;
    for line in [
        r#"turnpike_packets_total{datapath="xdp",verdict="forwarded",reason="to_peer"} 598000"#,
        r#"turnpike_bytes_total{datapath="userspace",verdict="forwarded",reason="to_peer"} 400000"#,
        "# TYPE turnpike_packets counter",
        "turnpike_allocations 12",
        "turnpike_ready 1",
        r#"turnpike_interface_mode{interface="eth1",mode="xdp-generic"} 1"#,
        r#"turnpike_responses_total{method="allocate",code="success"} 1234"#,
        r#"turnpike_responses_total{method="allocate",code="401"} 1240"#,
        r#"turnpike_responses_total{method="other",code="other"} 1"#,
        "turnpike_fast_path_bindings 20",
        r#"turnpike_bindings_total{outcome="table_full"} 2"#,
        r#"turnpike_receive_buffer_drops_total{socket="relay"} 5"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
