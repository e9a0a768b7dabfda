//! Real interfaces, which an operator gives.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Port;
use super::addresses::{Addresses, Hosts};

/// How long a neighbour may take to be found.
const PATIENCE: Duration = Duration::from_secs(3);

/// The interfaces of this machine by which a relay is reached, and who has which address.
#[derive(Clone, Debug)]
pub struct RealInterfaces {
    /// The interface that clients are on (`--client-if`).
    pub client_interface: String,
    /// The interface that peers are on (`--peer-if`); may be the same.
    pub peer_interface: String,
    /// Addresses of clients; those of the interface when there are none. More make more flows look like a fleet's.
    pub clients: Vec<IpAddr>,
    /// Addresses of peers; those of the interface when there are none.
    pub peers: Vec<IpAddr>,
    /// Where the relay listens, one of each family at the most.
    pub listeners: Vec<SocketAddr>,
    /// The addresses that it relays from; those of the listeners when there are none.
    pub relayed: Vec<IpAddr>,
}

impl RealInterfaces {
    /// Fills in what was not given, and finds the relay: what frames of clients and of peers are addressed to.
    pub(super) fn ports(&self) -> Result<[Port; 2]> {
        ensure!(!self.listeners.is_empty(), "say where the relay listens");
        for (interface, given) in
            [(&self.client_interface, &self.clients), (&self.peer_interface, &self.peers)]
        {
            let own = addresses_of(interface)?;
            for ip in given {
                ensure!(
                    own.contains(ip),
                    "{ip} is no address of {interface}: ip addr add {ip} dev {interface}"
                );
            }
            ensure!(!own.is_empty(), "{interface} has no address");
        }
        let clients = port(&self.client_interface, self.listeners[0].ip())?;
        let peers = port(&self.peer_interface, self.relayed()[0])?;
        Ok([clients, peers])
    }

    pub(super) fn addresses(self) -> Addresses {
        let of = |given: &[IpAddr], interface: &str| {
            if given.is_empty() { addresses_of(interface).unwrap_or_default() } else { given.to_vec() }
        };
        Addresses {
            clients: Hosts::Given(of(&self.clients, &self.client_interface)),
            peers: Hosts::Given(of(&self.peers, &self.peer_interface)),
            relayed: self.relayed(),
            listeners: self.listeners,
        }
    }

    fn relayed(&self) -> Vec<IpAddr> {
        match self.relayed[..] {
            [] => self.listeners.iter().map(SocketAddr::ip).collect(),
            _ => self.relayed.clone(),
        }
    }
}

/// An interface, and the next hop from it to the relay.
fn port(interface: &str, relay: IpAddr) -> Result<Port> {
    let path = format!("/sys/class/net/{interface}/address");
    let text =
        fs::read_to_string(&path).with_context(|| format!("{path}: is there an interface {interface}?"))?;
    let own_mac = mac(text.trim()).with_context(|| format!("{interface} is no Ethernet interface"))?;
    let routes = ip(&["route", "get", &relay.to_string(), "oif", interface])?;
    let gateway = routes[0]["gateway"].as_str().and_then(|text| text.parse().ok());
    let next_hop: IpAddr = gateway.unwrap_or(relay);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let neighbours = ip(&["neigh", "show", "to", &next_hop.to_string(), "dev", interface])?;
        if let Some(relay_mac) = neighbours[0]["lladdr"].as_str().and_then(mac) {
            return Ok(Port { interface: interface.to_owned(), own_mac, relay_mac });
        }
        if Instant::now() > deadline {
            bail!(
                "{next_hop} does not answer on {interface}: is the cable in, and the relay {relay} behind it?"
            );
        }
        // Anything sent there has the kernel ask who it is; the port is that of the discard protocol.
        let any = if relay.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).context("a UDP socket")?;
        let _ = socket.send_to(&[0], SocketAddr::new(next_hop, 9));
        thread::sleep(Duration::from_millis(100));
    }
}

/// The addresses of an interface that others can reach.
fn addresses_of(interface: &str) -> Result<Vec<IpAddr>> {
    let interfaces = ip(&["addr", "show", "dev", interface])?;
    let all = interfaces[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let global = all.iter().filter(|address| address["scope"] == "global");
    Ok(global.filter_map(|address| address["local"].as_str()?.parse().ok()).collect())
}

/// What `ip -json` says.
fn ip(arguments: &[&str]) -> Result<Value> {
    let line = || format!("ip {}", arguments.join(" "));
    let output = Command::new("ip").arg("-json").args(arguments).output();
    let output = output.context("ip does not start: apt-get install iproute2")?;
    ensure!(output.status.success(), "{}: {}", line(), String::from_utf8_lossy(&output.stderr).trim());
    // Nothing found is nothing printed.
    let text = if output.stdout.trim_ascii().is_empty() { b"[]".as_slice() } else { &output.stdout };
    serde_json::from_slice(text).with_context(line)
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = bytes.next()??;
    }
    Some(mac)
}
