//! The steps of a probe, in the order in which a call takes them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Identity;
use super::client::{Client, Via};
use super::report::{ALLOCATE, Failed, Report, Step, milliseconds};
use crate::auth::printable;
use crate::client::{Connector, Done, Failure};

/// How long a packet may take from one client to the other.
const PACKET_PATIENCE: Duration = Duration::from_millis(500);

/// So many lost at the beginning, and nothing else, is no luck.
const HOPELESS: u16 = 4;

/// Bytes of a packet: 20 ms of speech.
const PACKET_SIZE: usize = 172;

/// The channels of the two clients; different, so that neither is mistaken for the other.
const CHANNELS: [u16; 2] = [0x4000, 0x4001];

/// Goes through all steps until one fails.
pub(super) async fn run(
    connector: &Connector,
    identity: &Identity,
    packets: u16,
    report: &mut Report<impl FnMut(&Step) + Send>,
) -> Result<(), Failed> {
    let mut tell = |done: Done<'_>| {
        let outcome = done.outcome.map(str::to_owned).map_err(Failure::to_string);
        report.taken(done.step.name(), done.time, outcome);
    };
    let connection = connector.connect(&mut tell).await.map_err(|_| Failed)?;
    let mut client = Client::new(connection, connector, identity);
    report.step("Binding", async { binding(&mut client).await }).await?;
    report
        .step("Allocate, no user", async {
            let realm = client.challenge().await.map_err(|f| f.to_string())?;
            Ok(((), format!("refused with 401 as it should be, realm {}", printable(&realm))))
        })
        .await?;
    let relayed = report.step(ALLOCATE, allocate(&mut client)).await?;

    let relaying = relay(connector, identity, packets, &mut client, relayed, report).await;
    // Also after a failure: the allocation is not to outlive the probe.
    let ended = report.step("Refresh, lifetime 0", end(&mut client)).await;
    client.close().await;
    relaying.and(ended)
}

/// The steps with a second client as the peer.
async fn relay(
    connector: &Connector,
    identity: &Identity,
    packets: u16,
    client: &mut Client,
    relayed: SocketAddr,
    report: &mut Report<impl FnMut(&Step) + Send>,
) -> Result<(), Failed> {
    let second = async {
        let connection = connector.connect(&mut |_| {}).await.map_err(|f| f.to_string())?;
        let mut peer = Client::new(connection, connector, identity);
        peer.challenge().await.map_err(|f| f.to_string())?;
        let (relayed, detail) = allocate(&mut peer).await?;
        Ok(((peer, relayed), detail))
    };
    let (mut peer, peer_relayed) = report.step("Allocate, as the peer", second).await?;
    let sent = send_both_ways([client, &mut peer], [relayed, peer_relayed], packets, report).await;
    let ended = report.step("Refresh, as the peer", end(&mut peer)).await;
    peer.close().await;
    sent.and(ended)
}

/// From the first client to the second and back, by indications and by channels.
async fn send_both_ways(
    [client, peer]: [&mut Client; 2],
    [relayed, peer_relayed]: [SocketAddr; 2],
    packets: u16,
    report: &mut Report<impl FnMut(&Step) + Send>,
) -> Result<(), Failed> {
    report
        .step("CreatePermission", async {
            let refused = |f| format!("{f}; between its own relayed addresses");
            client.permit(peer_relayed).await.map_err(refused)?;
            peer.permit(relayed).await.map_err(refused)?;
            Ok(((), format!("{} and {} may reach each other", relayed.ip(), peer_relayed.ip())))
        })
        .await?;
    let ends = [Via::Indication(peer_relayed), Via::Indication(relayed)];
    report.step("Send indications", echo(client, peer, ends, packets)).await?;
    report
        .step("ChannelBind", async {
            client.bind(CHANNELS[0], peer_relayed).await.map_err(|f| f.to_string())?;
            peer.bind(CHANNELS[1], relayed).await.map_err(|f| f.to_string())?;
            Ok(((), format!("{:#06x} to {peer_relayed}, {:#06x} to {relayed}", CHANNELS[0], CHANNELS[1])))
        })
        .await?;
    report.step("ChannelData", echo(client, peer, CHANNELS.map(Via::Channel), packets)).await
}

async fn binding(client: &mut Client) -> Result<((), String), String> {
    let (reflexive, answer) = client.binding().await.map_err(|f| f.to_string())?;
    let round_trip = milliseconds(answer.round_trip);
    let again = match answer.attempts {
        1 => String::new(),
        n => format!(", at attempt {n}"),
    };
    Ok(((), format!("round trip {round_trip} ms{again}, the server sees {reflexive}")))
}

async fn allocate(client: &mut Client) -> Result<(SocketAddr, String), String> {
    let (relayed, lifetime) = client.allocate().await.map_err(|f| f.to_string())?;
    Ok((relayed, format!("relayed address {relayed}, lifetime {} s", lifetime.as_secs())))
}

async fn end(client: &mut Client) -> Result<((), String), String> {
    client.end().await.map_err(|f| f.to_string())?;
    Ok(((), "allocation ended".into()))
}

/// Sends packets from the client to the peer and back, one after the other. `ends` are the ways on the client's side and on
/// the peer's.
async fn echo(
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
        let there = hop(client, ends[0], peer, ends[1], &payload).await?;
        reached_peer += u16::from(there);
        if there && hop(peer, ends[1], client, ends[0], &payload).await? {
            round_trips.push(start.elapsed());
        }
        if round_trips.is_empty() && number + 1 == HOPELESS {
            break;
        }
    }
    judge(sent, reached_peer, &mut round_trips).map(|detail| ((), detail))
}

/// Sends one packet; whether it arrived in time, and on the right way.
async fn hop(
    from: &mut Client,
    out: Via,
    to: &mut Client,
    way_in: Via,
    payload: &[u8],
) -> Result<bool, String> {
    from.send(out, payload).await.map_err(|f| f.to_string())?;
    let deadline = Instant::now() + PACKET_PATIENCE;
    // Late packets of earlier rounds come first.
    while let Some(received) =
        to.receive(deadline.saturating_duration_since(Instant::now())).await.map_err(|f| f.to_string())?
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
