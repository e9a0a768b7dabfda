//! What the writer does with bindings, one by one.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use relay_common::addr::Be16;
use relay_common::flow::FlowKey;
use relay_common::tables::Count;

use super::super::flow_table::testing::{Seen, private_table};
use super::*;
use crate::datapath::Occupancy;
use crate::numbers::REST;
use crate::turn::{ChannelNumber, ClientAddr, FiveTuple, PeerAddr, RelayAddr, Transport, Via};

#[path = "flow_writer_random_tests.rs"]
mod random;

const START: Timestamp = Timestamp(1_000_000_000_000);

/// Next hops are another file's subject; here only that every record in use is attached, once.
#[derive(Default)]
struct Attached(Mutex<HashSet<u32>>);

impl NextHopSource for Attached {
    fn attach(&self, record: u32, _: IpAddr, _: IpAddr) {
        assert!(self.0.lock().unwrap().insert(record), "record {record} attached twice");
    }

    fn pair(&self, records: [u32; 2]) {
        let attached = self.0.lock().unwrap();
        assert!(
            records.iter().any(|record| attached.contains(record)),
            "{records:?} paired but not attached"
        );
    }

    fn detach(&self, record: u32) {
        assert!(self.0.lock().unwrap().remove(&record), "record {record} detached but not attached");
    }
}

/// Binding number `n` of a shard: every field follows from the two numbers.
fn binding(shard: u8, n: u16) -> Binding {
    let [hi, lo] = n.to_be_bytes();
    let at = |a, b, c, d, port| SocketAddr::from(([a, b, c, d], port));
    Binding {
        id: BindingId(u64::from(n)),
        allocation: AllocationId(u64::from(n % 100)),
        five_tuple: FiveTuple {
            client: ClientAddr(at(10, shard, hi, lo, 4000 + n % 7)),
            listener: at(192, 0, 2, 1, 3478),
            transport: Transport::Udp,
        },
        relayed: RelayAddr(at(192, 0, 2, 1, 50_000 + n % 1000)),
        peer: PeerAddr(at(172, shard, hi, lo, 5000 + n % 11)),
        via: Via::Channel(ChannelNumber::new(0x4000 + n % 0x1000).unwrap()),
        meter: 0,
        deadline: START,
    }
}

/// The same binding for a permission to the peer's address.
fn permission(shard: u8, n: u16) -> Binding {
    let channel = binding(shard, n);
    let peer = PeerAddr(SocketAddr::new(channel.peer.0.ip(), 0));
    Binding { id: BindingId(u64::from(n) + 100_000), peer, via: Via::Indications, ..channel }
}

/// A server with one address behind a 1:1 NAT.
fn relay() -> Arc<[RelayAddress]> {
    let address = |text: &str| text.parse().unwrap();
    [RelayAddress { public: address("198.51.100.7"), local: address("192.0.2.1") }].into()
}

fn records(binding: &Binding) -> [FlowRecord; 2] {
    let path = Path::from(binding);
    [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)]
}

fn keys(binding: &Binding) -> [FlowKey; 2] {
    records(binding).map(|r| r.key)
}

/// As many writers as shards, each with its slice.
fn writers(table: &Arc<FlowTable>, hops: &Arc<Attached>, shards: u32) -> Vec<FlowWriter> {
    let each = (table.len() - 1) / shards;
    (0..shards).map(|_| FlowWriter::new(table.clone(), hops.clone(), each, relay())).collect()
}

/// What a reader finds, but for the generation.
fn seen(table: &FlowTable, key: &FlowKey) -> Option<FlowRecord> {
    match table.look_up(key) {
        Seen::Record(r) => Some(FlowRecord { generation: 0, ..*r }),
        Seen::Nothing => None,
        Seen::Changed => panic!("nobody is writing"),
    }
}

#[test]
fn a_channel_is_found_in_both_directions_with_its_rewrite_and_deadline() {
    let table = Arc::new(private_table(16));
    let hops = Arc::new(Attached::default());
    let mut writer = writers(&table, &hops, 1).remove(0);
    let b = binding(0, 1);
    writer.bind_at(&b, START).unwrap();
    for want in records(&b) {
        assert_eq!(seen(&table, &want.key), Some(FlowRecord { deadline: START.0, ..want }));
    }
    writer.extend(&Binding { deadline: START + Duration::from_secs(600), ..b });
    let deadline = (START + Duration::from_secs(600)).0;
    assert!(keys(&b).iter().all(|key| seen(&table, key).unwrap().deadline == deadline));
    assert_eq!(writer.forwarded(b.id), Some(Forwarded::default()));
    writer.unbind_at(b.id, START);
    assert!(keys(&b).iter().all(|key| seen(&table, key).is_none()));
    assert_eq!(writer.forwarded(b.id), None);
}

/// The program fetches it from there before it knows.
#[test]
fn a_record_lies_where_its_keys_hash_says_whichever_shard_has_it() {
    let table = Arc::new(private_table(1000));
    let mut writers = writers(&table, &Arc::default(), 4);
    let mut likely = 0;
    for n in 0..250 {
        let b = binding((n % 4) as u8, n);
        let writer = &mut writers[usize::from(n % 4)];
        writer.bind_at(&b, START).unwrap();
        for (key, one) in keys(&b).iter().zip(writer.installed[&b.id].directions) {
            likely += u32::from(one.record == table.likely_record(key.hash(table.seed())));
        }
    }
    // A quarter of the table is in use, so that seven of eight find their place free.
    assert!(likely > 400, "{likely} of 500");
}

#[test]
fn a_channel_refreshed_after_its_expiry_is_alive_again() {
    let table = Arc::new(private_table(16));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let b = binding(0, 1);
    writer.bind_at(&b, START).unwrap();
    let late = START + Duration::from_secs(3600);
    writer.extend(&Binding { deadline: late + Duration::from_secs(600), ..b });
    assert!(keys(&b).iter().all(|key| seen(&table, key).unwrap().deadline > late.0));
    // The same after the core has ended the binding and made it anew.
    writer.unbind_at(b.id, late);
    writer.bind_at(&Binding { deadline: late, ..b }, late).unwrap();
    assert!(keys(&b).iter().all(|key| seen(&table, key).unwrap().deadline == late.0));
}

#[test]
fn a_relayed_port_used_again_never_leads_to_the_old_client() {
    let table = Arc::new(private_table(16));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let old = binding(0, 1);
    writer.bind_at(&old, START).unwrap();
    writer.unbind_at(old.id, START);
    let mut new = Binding { id: BindingId(2), ..old };
    new.five_tuple.client = ClientAddr("10.9.9.9:9".parse().unwrap());
    writer.bind_at(&new, START).unwrap();
    let to_client = seen(&table, &keys(&old)[1]).unwrap();
    assert_eq!(IpAddr::from(to_client.dst), new.five_tuple.client.0.ip());
    assert_eq!(seen(&table, &keys(&old)[0]), None, "the old client's channel is gone");
}

#[test]
fn a_full_table_refuses_counts_and_keeps_nothing_of_the_refused() {
    let table = Arc::new(private_table(8));
    let hops = Arc::new(Attached::default());
    let mut writer = writers(&table, &hops, 1).remove(0);
    let bound: Vec<u16> = (0..50).filter(|&n| writer.bind_at(&binding(0, n), START).is_ok()).collect();
    assert_eq!(bound.len(), 8);
    assert_eq!(table.occupancy(), Occupancy { bindings: 8, capacity: 8, refused: 42, promoted: 0 });
    for n in 0..50 {
        let found = keys(&binding(0, n)).map(|key| seen(&table, &key).is_some());
        assert_eq!(found, [bound.contains(&n); 2], "binding {n}: both directions or none");
    }
    assert_eq!(hops.0.lock().unwrap().len(), 16);
    writer.unbind_at(BindingId(u64::from(bound[0])), START);
    assert_eq!(writer.bind_at(&binding(0, 99), START), Err(NotInstalled::Full), "the records rest");
    writer.bind_at(&binding(0, 99), START + REST).unwrap();
}

#[test]
fn a_binding_that_found_no_room_is_installed_when_it_is_refreshed() {
    let table = Arc::new(private_table(8));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    (0..9).for_each(|n| _ = writer.bind_at(&binding(0, n), START));
    let late = binding(0, 8);
    writer.extend_at(&late, START);
    assert_eq!(writer.forwarded(late.id), None, "still full");
    writer.unbind_at(BindingId(0), START);
    let deadline = START + Duration::from_secs(600);
    writer.extend_at(&Binding { deadline, ..late }, START + REST);
    assert!(keys(&late).iter().all(|key| seen(&table, key).unwrap().deadline == deadline.0));
    assert_eq!(table.occupancy(), Occupancy { bindings: 8, capacity: 8, refused: 1, promoted: 1 });
}

#[test]
fn the_last_quarter_of_the_table_is_for_channels() {
    let table = Arc::new(private_table(16));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let permissions = (0..16).filter(|&n| writer.bind_at(&permission(0, n), START).is_ok()).count();
    let channels = (16..32).filter(|&n| writer.bind_at(&binding(0, n), START).is_ok()).count();
    assert_eq!((permissions, channels), (12, 4));
}

#[test]
fn a_permission_is_found_by_what_indications_and_peers_of_any_port_carry() {
    let table = Arc::new(private_table(16));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let (b, path) = (permission(0, 1), Path::from(&permission(0, 1)));
    writer.bind_at(&b, START).unwrap();
    let send = seen(&table, &FlowKey::send(path.client, path.listener, &path.peer.ip)).unwrap();
    assert_eq!((send.src, send.src_port), (path.relayed.ip, path.relayed.port));
    assert_eq!((send.dst, send.dst_port.get()), (path.peer.ip, 0), "the port that the indication names");
    let [_, data] = records(&b);
    assert_eq!(seen(&table, &data.key), Some(FlowRecord { deadline: START.0, ..data }));
    assert_eq!((data.key.src, data.key.src_port.get()), (path.peer.ip, 0));
    // The channel to one of its ports is another binding.
    writer.bind_at(&binding(0, 1), START).unwrap();
    writer.unbind_at(b.id, START);
    assert!(keys(&b).iter().all(|key| seen(&table, key).is_none()));
    assert!(keys(&binding(0, 1)).iter().all(|key| seen(&table, key).is_some()));
}

/// Clients name each other by the addresses that they were told, and that is how one finds the other in the tables.
#[test]
fn a_peer_that_is_another_client_of_this_server_is_reached_without_leaving_it() {
    let table = Arc::new(private_table(16));
    let hops = Arc::new(Attached::default());
    let mut writer = writers(&table, &hops, 1).remove(0);
    let (mut one, mut other) = (permission(0, 1), binding(0, 2));
    one.peer = PeerAddr(SocketAddr::new(other.relayed.0.ip(), 0));
    other.peer = PeerAddr(one.relayed.0);
    writer.bind_at(&one, START).unwrap();
    writer.bind_at(&other, START).unwrap();
    let (public, path) = (NetIp::from(relay()[0].public), Path::from(&one));
    let send = seen(&table, &FlowKey::send(path.client, path.listener, &public)).unwrap();
    assert_eq!(send.next_hop, HAIRPIN);
    // As it would arrive at the other's relayed address.
    let port = Be16::new(other.relayed.0.port());
    let key = FlowKey {
        src: send.src,
        dst: send.dst,
        src_port: send.src_port,
        dst_port: port,
        inside: FlowKey::INSIDE,
        ..FlowKey::default()
    };
    let to_client = seen(&table, &key).unwrap();
    assert_eq!(IpAddr::from(to_client.dst), other.five_tuple.client.0.ip());
    assert_eq!(to_client.next_hop, 0, "an ordinary one");
    assert_eq!(seen(&table, &FlowKey { inside: 0, ..key }), None, "nobody else can send in that name");
    assert_eq!(key.src, public, "by which a Data indication would name the peer");
    assert_eq!(hops.0.lock().unwrap().len(), 2, "the records to clients");
    drop(writer);
    assert!(hops.0.lock().unwrap().is_empty());
}

#[test]
fn a_table_filled_to_its_limit_has_a_bucket_for_every_binding() {
    let table = Arc::new(private_table(32_768));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let refused = (0..32_768).filter(|&n| writer.bind_at(&binding(0, n), START).is_err()).count();
    // One table in a hundred refuses one, by chance; three are no chance.
    assert!(refused < 3, "{refused} of 32,768 refused");
}

#[test]
fn what_removed_bindings_carried_is_kept_for_their_allocation_until_it_ends() {
    let table = Arc::new(private_table(16));
    let mut writer = writers(&table, &Arc::default(), 1).remove(0);
    let a = Binding { allocation: AllocationId(7), ..binding(0, 1) };
    let other = Binding { allocation: AllocationId(8), ..binding(0, 2) };
    let now = Timestamp::now();
    writer.bind_at(&a, now).unwrap();
    writer.bind_at(&other, now).unwrap();
    let [to_peer, to_client] = writer.installed[&a.id].directions.map(|one| one.record);
    table.count(to_peer, 100);
    table.count(to_client, 30);
    assert_eq!(writer.forwarded_before(a.allocation), Forwarded::default(), "it is installed");
    writer.unbind_at(a.id, now);
    // A program that found the record before counts at its end.
    table.count(to_peer, 11);
    writer.bind_at(&Binding { id: BindingId(3), ..a }, now).unwrap();
    assert_eq!(writer.forwarded(BindingId(3)), Some(Forwarded::default()), "another record");

    // Used again after its rest, by another allocation with the same keys.
    let later = now + 2 * REST;
    writer.unbind_at(BindingId(3), later);
    let b = Binding { id: BindingId(4), allocation: AllocationId(9), ..a };
    writer.bind_at(&b, later).unwrap();
    assert_eq!(writer.installed[&b.id].directions[0].record, to_peer);
    let count = |packets, bytes| Count { packets, bytes };
    let carried = Forwarded { to_peer: count(2, 111), to_client: count(1, 30) };
    assert_eq!(writer.forwarded_before(a.allocation), carried);
    assert_eq!(writer.forwarded(b.id), Some(Forwarded::default()));
    assert_eq!(writer.forwarded_before(other.allocation), Forwarded::default());

    assert_eq!(writer.close(a.allocation), carried);
    assert_eq!(writer.forwarded_before(a.allocation), Forwarded::default(), "it is forgotten");
}
