//! The URLs that are tried, as `iceServers` has them.

use serde_json::{Value, json};

use super::topology::{ADDRESS, NAME, TCP_NAME};
use crate::lab::{PASSWORD, USER};

/// A way to the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Url {
    /// TURN over UDP to the port that is its own.
    Udp3478,
    /// TURN over UDP to the port of QUIC.
    Udp443,
    /// TURN over TCP to the port that is its own.
    Tcp3478,
    /// TURN over TCP to the port of HTTP, where the server also answers HTTP.
    Tcp80,
    /// TURN over TCP to port 443, at an address of its own: at the other one that port speaks TLS.
    Tcp443,
    /// TURN over TLS to the port of HTTPS, where the server also answers HTTPS.
    Tls443,
    /// The five that an operator gives to browsers, at once.
    List,
    /// TURN over WebSocket over TLS, on the port that has TURN over TLS and HTTPS.
    Wss443,
    /// TURN over WebSocket, on the port that has TURN over TCP and HTTP.
    Ws80,
    /// TURN over UDP to the port of DNS. Chromium refuses it unless told otherwise.
    Udp53,
    /// The same over TCP.
    Tcp53,
}

impl Url {
    /// Those that are tried in every network.
    pub const EVERYWHERE: [Url; 9] = [
        Url::Udp3478,
        Url::Udp443,
        Url::Tcp3478,
        Url::Tcp80,
        Url::Tcp443,
        Url::Tls443,
        Url::List,
        Url::Wss443,
        Url::Ws80,
    ];

    /// What the list is made of.
    pub(super) const LISTED: [Url; 5] = [Url::Udp3478, Url::Udp443, Url::Tcp80, Url::Tcp443, Url::Tls443];

    /// Its name in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Url::Udp3478 => "udp 3478",
            Url::Udp443 => "udp 443",
            Url::Tcp3478 => "tcp 3478",
            Url::Tcp80 => "tcp 80",
            Url::Tcp443 => "tcp 443",
            Url::Tls443 => "tls 443",
            Url::List => "list of five",
            Url::Wss443 => "wss 443",
            Url::Ws80 => "ws 80",
            Url::Udp53 => "udp 53",
            Url::Tcp53 => "tcp 53",
        }
    }

    /// Whether a page has to do it by itself, because a browser's ICE does not know it.
    pub fn is_web_socket(self) -> bool {
        matches!(self, Url::Wss443 | Url::Ws80)
    }

    /// What carries it between the client and the server: `relayProtocol` of the selected candidate, or the WebSocket's
    /// scheme. A list has several.
    pub fn by(self) -> &'static [&'static str] {
        match self {
            Url::Udp3478 | Url::Udp443 | Url::Udp53 => &["udp"],
            Url::Tcp3478 | Url::Tcp80 | Url::Tcp443 | Url::Tcp53 => &["tcp"],
            Url::Tls443 => &["tls"],
            Url::List => &["udp", "tcp", "tls"],
            Url::Wss443 => &["wss"],
            Url::Ws80 => &["ws"],
        }
    }

    /// As it is written. Chromium asks a name server, not
    /// the file of hosts, for the address of a TURN server over UDP: the lab gives it the address.
    pub fn written(self) -> Vec<String> {
        let turn = |rest: &str| vec![format!("turn:{rest}")];
        match self {
            Url::Udp3478 => turn(&format!("{ADDRESS}:3478?transport=udp")),
            Url::Udp443 => turn(&format!("{ADDRESS}:443?transport=udp")),
            Url::Udp53 => turn(&format!("{ADDRESS}:53?transport=udp")),
            Url::Tcp3478 => turn(&format!("{NAME}:3478?transport=tcp")),
            Url::Tcp80 => turn(&format!("{NAME}:80?transport=tcp")),
            Url::Tcp443 => turn(&format!("{TCP_NAME}:443?transport=tcp")),
            Url::Tcp53 => turn(&format!("{NAME}:53?transport=tcp")),
            Url::Tls443 => vec![format!("turns:{NAME}:443?transport=tcp")],
            Url::Wss443 => vec![format!("wss://{NAME}/turn")],
            Url::Ws80 => vec![format!("ws://{NAME}/turn")],
            Url::List => Url::LISTED.iter().flat_map(|url| url.written()).collect(),
        }
    }

    /// The `iceServers` of a call by this URL alone.
    pub(super) fn ice_servers(self) -> Value {
        json!([{ "urls": self.written(), "username": USER, "credential": PASSWORD }])
    }
}
