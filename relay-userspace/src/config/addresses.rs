//! The addresses to listen on and to relay from: the defaults of the host, and what cannot be.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::host::is_link_local;
use super::listen::{DEFAULT_PORT, Listen};
use super::resolve::refuse;
use super::values::PortRange;
use super::{ConfigError, Host};
use crate::turn::RelayAddress;

/// Those that were named, or the defaults of the host.
pub(super) fn listeners(
    named: Vec<Listen>,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Vec<Listen>, ConfigError> {
    if named.is_empty() {
        let (addresses, why) = host.best_addresses();
        warnings.extend(why.map(Into::into));
        let udp = |ip| Listen::udp(SocketAddr::new(ip, DEFAULT_PORT));
        return Ok(addresses.into_iter().map(udp).collect());
    }
    for (index, listen) in named.iter().enumerate() {
        check_address(&format!("listener {listen}"), listen.address.ip(), host, warnings)?;
        // A port of UDP and the same port of TCP have nothing to do with each other.
        let takes_the_same = |other: &&Listen| {
            other.address == listen.address && other.scheme.is_stream() == listen.scheme.is_stream()
        };
        match named[..index].iter().find(takes_the_same) {
            Some(other) if other == listen => return refuse(format!("listener {listen} is listed twice")),
            Some(other) if !listen.scheme.is_stream() => {
                return refuse(format!(
                    "listeners {other} and {listen} have one port: DTLS has one of its own (5349 is where clients look for it)"
                ));
            }
            Some(other) => {
                return refuse(format!(
                    "listeners {other} and {listen} have one port: leave one of them, tls and https serve the same, \
                     and so do tcp and http"
                ));
            }
            None => {}
        }
    }
    Ok(named)
}

/// Those that were named, or the addresses of the listeners.
pub(super) fn relay_addresses(
    named: Vec<RelayAddress>,
    listen: &[Listen],
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Vec<RelayAddress>, ConfigError> {
    let mut seen = HashSet::new();
    let named = if named.is_empty() {
        let of_listeners = listen.iter().map(|l| l.address.ip()).filter(|ip| seen.insert(*ip));
        of_listeners.map(|ip| RelayAddress { public: ip, local: ip }).collect()
    } else {
        check_relay_addresses(&named, host, warnings)?;
        named
    };
    // RFC 8656 section 7.2 leaves the server no choice.
    if named.iter().all(|address| address.local.is_ipv6()) {
        warnings.push(
            "no IPv4 relay address: clients that do not ask for IPv6 by name, as browsers do not, are refused with 440"
                .into(),
        );
    }
    Ok(named)
}

fn check_relay_addresses(
    named: &[RelayAddress],
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for address in named {
        let known = warnings.len();
        check_address(&format!("relay address {address}"), address.local, host, warnings)?;
        // What coturn takes as `external-ip` alone: the server would start, and refuse every allocation.
        if let Some(warning) = warnings.get_mut(known) {
            warning.push_str(": until it is one, clients that get it are refused with 508");
            if address.public == address.local {
                warning.push_str(&format!("; behind a 1:1 NAT write {}/LOCAL", address.public));
            }
        }
        if address.public.is_unspecified() || address.public.is_multicast() {
            return refuse(format!(
                "relay address {address}: name the public address that the NAT maps to {}",
                address.local
            ));
        }
        check_v6(&format!("relay address {address}"), address.public)?;
        // Both by themselves: a 1:1 NAT maps each to one other, and a client that names a relayed address by its public
        // name must mean one of them.
        for ip in HashSet::from([address.local, address.public]) {
            if !seen.insert(ip) {
                return refuse(format!("relay address {ip} is listed twice"));
            }
        }
    }
    Ok(())
}

/// The data path compares a packet's destination with this address, so it must be a real one.
fn check_address(what: &str, ip: IpAddr, host: &Host, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    if ip.is_unspecified() {
        return refuse(format!("{what}: name one of this host's addresses ({})", host.list()));
    }
    if ip.is_multicast() {
        return refuse(format!("{what}: a multicast address cannot be served on"));
    }
    check_v6(what, ip)?;
    if !host.has(ip) && !ip.is_loopback() {
        warnings.push(format!("{what}: not an address of this host, which has {}", host.list()));
    }
    Ok(())
}

/// Refuses what is an IPv6 address in form only.
fn check_v6(what: &str, ip: IpAddr) -> Result<(), ConfigError> {
    if is_link_local(ip) {
        return refuse(format!(
            "{what}: a link-local address reaches one link only: name a global or unique local one"
        ));
    }
    match ip.to_canonical() {
        v4 if v4 != ip => refuse(format!("{what}: this is an IPv4 address: write {v4}")),
        _ => Ok(()),
    }
}

/// Whether listeners and relayed addresses leave each other their ports.
pub(super) fn check_ports(
    listen: &[Listen],
    relay: PortRange,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    // The XDP program tells a client's packet from a peer's by the destination port.
    if let Some(listener) = listen.iter().find(|l| relay.contains(l.address.port())) {
        return refuse(format!(
            "listener {listener} lies in the relay port range {relay}: move it (--listen) or the range (--relay-ports)"
        ));
    }
    if *relay.range().start() < 1024 {
        warnings.push(format!(
            "the relay port range {relay} has ports below 1024, which belong to other services"
        ));
    }
    if host.hands_out(relay) {
        warnings.push(format!(
            "the kernel gives ports of the relay range to other programs on this host; reserve them: \
             sysctl net.ipv4.ip_local_reserved_ports={relay}"
        ));
    }
    Ok(())
}
