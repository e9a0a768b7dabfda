//! The associations of a shard without sockets: datagrams go in, and those that they cause come out. Time passes when it is told
//! to. For fuzz targets, and their own test.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::table::MOST_HANDSHAKES;
use super::{Common, DtlsDoor};
use crate::dtls::{Hello, Identity, Rules};
use crate::net::batch::Arrival;
use crate::net::counters::{ConnectionKind, Stats};
use crate::net::rig;
use crate::net::server::ServerConfig;
use crate::net::shard::Shard;
use crate::net::streams::Place;
use crate::time::Timestamp;
use crate::turn::{ClientAddr, FiveTuple, Transport};

/// A shard that serves DTLS.
pub struct DtlsRig {
    shard: Shard,
    common: Arc<Common>,
    listener: SocketAddr,
    door: Arc<Door>,
    now: Timestamp,
}

struct Door {
    identity: Arc<Identity>,
    /// One more for each place that is taken.
    taken: Arc<()>,
    places: usize,
}

impl Door {
    fn taken(&self) -> usize {
        Arc::strong_count(&self.taken) - 1
    }
}

impl DtlsDoor for Door {
    fn admit(&self, _: IpAddr) -> Option<Place> {
        (self.taken() < self.places).then(|| Place::new(Arc::clone(&self.taken)))
    }

    fn identity(&self, _: Option<&str>) -> Option<Arc<Identity>> {
        Some(Arc::clone(&self.identity))
    }
}

impl DtlsRig {
    /// Settings without listeners, and so many places for clients.
    pub fn new(config: ServerConfig, listener: SocketAddr, identity: Identity, places: usize) -> Self {
        let door = Arc::new(Door { identity: Arc::new(identity), taken: Arc::default(), places });
        static RULES: OnceLock<Rules> = OnceLock::new();
        let rules = RULES.get_or_init(|| super::rules().expect("this machine can compute it")).clone();
        let common = Common::by(rules, Arc::<Door>::clone(&door)).expect("random numbers");
        let mut shard = rig::shard(config);
        shard.associations.common = Some(Arc::clone(&common));
        Self { shard, common, listener, door, now: Timestamp::now() }
    }

    /// A datagram comes, in a turn of its own. Returns what is sent, and to whom.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let slot = self.shard.batch.take_over(datagram);
        let arrival = Arrival::handed_on(slot, self.listener, datagram, None);
        self.shard.begin_dtls_turn();
        self.shard.take_dtls(self.now, (from, self.listener), arrival);
        let sent = self.shard.batch.take_queued();
        self.shard.flush();
        sent
    }

    /// Time passes. What is sent meanwhile is lost.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.shard.check_associations(self.now);
    }

    /// The cookie that this client would be given for this hello; `None` if it is none.
    pub fn cookie(&self, from: SocketAddr, hello: &[u8]) -> Option<[u8; 32]> {
        let hello = Hello::parse(hello).ok()?;
        Some(self.common.cookies.give(self.now, from, self.listener, &hello))
    }

    /// Whether a client has an association, or is on the way to one.
    pub fn knows(&mut self, client: SocketAddr) -> bool {
        let listener = self.listener;
        let client = FiveTuple { client: ClientAddr(client), listener, transport: Transport::Dtls };
        self.shard.associations.get_mut(&client).is_some()
    }

    /// How many associations there are.
    pub fn associations(&self) -> usize {
        self.shard.associations.count().0
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.shard.counters.add_to(&mut stats);
        stats
    }

    /// Panics where the books do not balance, or a bound does not hold.
    pub fn check(&self) {
        let (associations, handshakes) = self.shard.associations.count();
        assert_eq!(associations, self.door.taken(), "each association has a place");
        assert!(associations <= self.door.places);
        assert!(handshakes <= MOST_HANDSHAKES);
        let open = self.stats().connections(ConnectionKind::Dtls).open();
        assert_eq!(open, (associations - handshakes) as u64);
        let is_empty = self.shard.associations.next_check().is_none();
        assert!(associations == 0 || !is_empty, "somebody looks after them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::{Call, ToDo};
    use crate::net::streams::patience_tests::server::{ANY_PORT, config};

    #[test]
    fn a_client_shakes_hands_with_a_rig_and_is_forgotten_in_time() {
        let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).unwrap();
        let identity =
            Identity { certificate: own.cert.der().to_vec(), key: own.signing_key.serialize_der() };
        let [client, listener] = ["192.0.2.1:1000", "192.0.2.2:5349"].map(|at| at.parse().unwrap());
        let config = ServerConfig { listeners: Vec::new(), ..config(1, ANY_PORT) };
        let mut rig = DtlsRig::new(config, listener, identity, 1);
        let mut call = Call::new(Duration::from_secs(10)).unwrap();
        while !call.is_connected() {
            match call.poll() {
                ToDo::Send(datagram) => {
                    for (to, answer) in rig.receive(client, &datagram) {
                        assert_eq!(to, client);
                        call.receive(&answer).unwrap();
                    }
                    rig.check();
                }
                ToDo::Wait(_) => panic!("nothing was lost"),
                _ => {}
            }
        }
        assert!(rig.knows(client));
        rig.wait(Duration::from_secs(60));
        rig.check();
        assert_eq!((rig.associations(), rig.door.taken()), (0, 0));
    }
}
