//! The steps of a probe, in the order in which a call takes them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Identity;
use super::client::{Client, Via};
use super::failure::Failure;
use super::report::{Failed, Report, Step, milliseconds};
use super::url::TurnUrl;
use crate::auth::printable;

/// How long a packet may take from one client to the other.
const PACKET_PATIENCE: Duration = Duration::from_millis(500);

/// So many lost at the beginning, and nothing else, is no luck.
const HOPELESS: u16 = 4;

/// Bytes of a packet: 20 ms of speech.
const PACKET_SIZE: usize = 172;

/// The channels of the two clients; different, so that neither is mistaken for the other.
const CHANNELS: [u16; 2] = [0x4000, 0x4001];

/// Goes through all steps until one fails.
pub(super) fn run(
    url: &TurnUrl,
    identity: &Identity,
    packets: u16,
    report: &mut Report<impl FnMut(&Step)>,
) -> Result<(), Failed> {
    let server = report.step("resolve", || resolve(url))?;
    let mut client = report.step("Binding", || binding(server, identity).map_err(|f| f.to_string()))?;
    report.step("Allocate, no user", || {
        let realm = client.challenge().map_err(|f| f.to_string())?;
        Ok(((), format!("refused with 401 as it should be, realm {}", printable(&realm))))
    })?;
    let relayed = report.step("Allocate", || allocate(&mut client))?;

    let relaying = relay(server, identity, packets, &mut client, relayed, report);
    // Also after a failure: the allocation is not to outlive the probe.
    let ended = report.step("Refresh, lifetime 0", || {
        client.end().map_err(|f| f.to_string())?;
        Ok(((), "allocation ended".into()))
    });
    relaying.and(ended)
}

/// The steps with a second client as the peer.
fn relay(
    server: SocketAddr,
    identity: &Identity,
    packets: u16,
    client: &mut Client,
    relayed: SocketAddr,
    report: &mut Report<impl FnMut(&Step)>,
) -> Result<(), Failed> {
    let (mut peer, peer_relayed) = report.step("Allocate, as the peer", || {
        let mut peer = Client::connect(server, identity).map_err(|e| e.to_string())?;
        peer.challenge().map_err(|f| f.to_string())?;
        let (relayed, detail) = allocate(&mut peer)?;
        Ok(((peer, relayed), detail))
    })?;

    let mut sending = || {
        report.step("CreatePermission", || {
            let permitted = client.permit(peer_relayed).and_then(|()| peer.permit(relayed));
            permitted.map_err(|f| format!("{f}; between its own relayed addresses"))?;
            Ok(((), format!("{} and {} may reach each other", relayed.ip(), peer_relayed.ip())))
        })?;
        report.step("Send indications", || {
            let ends = [Via::Indication(peer_relayed), Via::Indication(relayed)];
            echo(client, &mut peer, ends, packets)
        })?;
        report.step("ChannelBind", || {
            let bound = client.bind(CHANNELS[0], peer_relayed).and_then(|()| peer.bind(CHANNELS[1], relayed));
            bound.map_err(|f| f.to_string())?;
            Ok(((), format!("{:#06x} to {peer_relayed}, {:#06x} to {relayed}", CHANNELS[0], CHANNELS[1])))
        })?;
        report.step("ChannelData", || echo(client, &mut peer, CHANNELS.map(Via::Channel), packets))
    };
    let sent = sending();
    let ended = report.step("Refresh, as the peer", || {
        peer.end().map_err(|f| f.to_string())?;
        Ok(((), "allocation ended".into()))
    });
    sent.and(ended)
}

fn resolve(url: &TurnUrl) -> Result<(SocketAddr, String), String> {
    let addresses = (url.host.as_str(), url.port).to_socket_addrs();
    let addresses: Vec<_> = addresses.map_err(|e| format!("{}: {e}", url.host))?.collect();
    let first = addresses.iter().find(|a| a.is_ipv4()).or(addresses.first());
    let first = *first.ok_or(format!("{} has no address", url.host))?;
    let more = match addresses.len() {
        1 => String::new(),
        n if first.is_ipv4() => format!(", first IPv4 of {n} addresses"),
        n => format!(", first of {n} addresses"),
    };
    Ok((first, format!("{first}{more}")))
}

fn binding(server: SocketAddr, identity: &Identity) -> Result<(Client, String), Failure> {
    let mut client = Client::connect(server, identity)?;
    let (reflexive, answer) = client.binding()?;
    let round_trip = milliseconds(answer.round_trip);
    let again = match answer.attempts {
        1 => String::new(),
        n => format!(", at attempt {n}"),
    };
    Ok((client, format!("round trip {round_trip} ms{again}, the server sees {reflexive}")))
}

fn allocate(client: &mut Client) -> Result<(SocketAddr, String), String> {
    let (relayed, lifetime) = client.allocate().map_err(|f| f.to_string())?;
    Ok((relayed, format!("relayed address {relayed}, lifetime {} s", lifetime.as_secs())))
}

/// Sends packets from the client to the peer and back, one after the other. `ends` are the ways on the client's side and on
/// the peer's.
fn echo(
    client: &mut Client,
    peer: &mut Client,
    ends: [Via; 2],
    packets: u16,
) -> Result<((), String), String> {
    let mut round_trips = Vec::new();
    let mut reached_peer = 0;
    let mut sent = 0;
    for number in 0..packets {
        let mut payload = vec![0; PACKET_SIZE];
        getrandom::fill(&mut payload).map_err(|e| e.to_string())?;
        let start = Instant::now();
        sent += 1;
        let there = hop(client, ends[0], peer, ends[1], &payload)?;
        reached_peer += u16::from(there);
        if there && hop(peer, ends[1], client, ends[0], &payload)? {
            round_trips.push(start.elapsed());
        }
        if round_trips.is_empty() && number + 1 == HOPELESS {
            break;
        }
    }
    judge(sent, reached_peer, &mut round_trips).map(|detail| ((), detail))
}

/// Sends one packet; whether it arrived in time, and on the right way.
fn hop(from: &mut Client, out: Via, to: &mut Client, way_in: Via, payload: &[u8]) -> Result<bool, String> {
    from.send(out, payload).map_err(|e| e.to_string())?;
    let deadline = Instant::now() + PACKET_PATIENCE;
    // Late packets of earlier rounds come first.
    while let Some(received) =
        to.receive(deadline.saturating_duration_since(Instant::now())).map_err(|e| e.to_string())?
    {
        if received.payload == payload {
            return if received.via == way_in {
                Ok(true)
            } else {
                Err(format!("a packet arrived by {:?}, expected by {way_in:?}", received.via))
            };
        }
    }
    Ok(false)
}

/// One packet in ten may be lost.
fn judge(sent: u16, reached_peer: u16, round_trips: &mut [Duration]) -> Result<String, String> {
    round_trips.sort();
    let returned = round_trips.len();
    let lost = usize::from(sent) - returned;
    let (Some(least), Some(most)) = (round_trips.first(), round_trips.last()) else {
        return Err(match reached_peer {
            0 => format!(
                "none of {sent} packets arrived: does the server forward between its own relayed addresses?"
            ),
            n => format!("{n} of {sent} packets arrived at the peer, none came back"),
        });
    };
    let median = milliseconds(round_trips[returned / 2]);
    let (least, most) = (milliseconds(*least), milliseconds(*most));
    let detail = format!(
        "{returned} of {sent} packets came back, round trip {least} to {most} ms, median {median} ms"
    );
    if lost * 10 > usize::from(sent) { Err(format!("{lost} lost: {detail}")) } else { Ok(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_packet_in_ten_is_forgiven_and_no_more() {
        let trips = |n| vec![Duration::from_micros(1500); n];
        assert_eq!(
            judge(20, 19, &mut trips(18)).unwrap(),
            "18 of 20 packets came back, round trip 1.5 to 1.5 ms, median 1.5 ms"
        );
        assert!(judge(20, 20, &mut trips(17)).unwrap_err().starts_with("3 lost: "));
        assert!(judge(4, 0, &mut []).unwrap_err().contains("own relayed addresses"));
        assert!(judge(4, 3, &mut []).unwrap_err().contains("3 of 4 packets arrived at the peer"));
    }
}
