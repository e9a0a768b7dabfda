//! The made-up network of the next hops' tests, and the tables above it.

use std::collections::HashMap;
use std::io;

use relay_common::flow::FlowRecord;
use relay_common::next_hop::NextHop;

use super::super::super::SharedWords;
use super::super::super::flow_table::testing::private_table;
use super::super::super::interfaces;
use super::super::super::netlink::{Link, Neighbour, Route};
use super::super::super::shared_map::from_words;
use super::super::*;

pub(super) const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
pub(super) const NIC: u32 = 2;
pub(super) const SECOND_NIC: u32 = 3;
pub(super) const NIC_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A network that the test changes under the tables.
#[derive(Clone, Default)]
pub(super) struct Network(pub(super) Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) routes: HashMap<IpAddr, Route>,
    pub(super) neighbours: HashMap<(u32, IpAddr), Neighbour>,
    pub(super) links: HashMap<u32, Link>,
    pub(super) routes_asked: usize,
}

impl Kernel for Network {
    fn route(&mut self, destination: IpAddr, _: IpAddr) -> io::Result<Option<Route>> {
        let mut state = self.0.lock().unwrap();
        state.routes_asked += 1;
        Ok(state.routes.get(&destination).copied())
    }

    fn neighbour(&mut self, ifindex: u32, ip: IpAddr) -> io::Result<Neighbour> {
        Ok(self.0.lock().unwrap().neighbours.get(&(ifindex, ip)).copied().unwrap_or(Neighbour::Unknown))
    }

    fn link(&mut self, ifindex: u32) -> io::Result<Option<Link>> {
        Ok(self.0.lock().unwrap().links.get(&ifindex).cloned())
    }
}

pub(super) fn link(index: u32) -> Link {
    let mac = Some([2, 0, 0, 0, 0, index as u8]);
    Link { mac, ..interfaces::testing::link(index, &format!("eth{index}")) }
}

pub(super) struct Bench {
    pub(super) network: Network,
    pub(super) hops: Arc<NextHops>,
    pub(super) flows: Arc<FlowTable>,
    pub(super) rows: Arc<SharedWords>,
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn mac(last: u8) -> [u8; 6] {
    [6, 0, 0, 0, 0, last]
}

impl Bench {
    /// Two interfaces with the program, nothing behind them.
    pub(super) fn new(rows: usize) -> Self {
        let network = Network::default();
        for index in [NIC, SECOND_NIC] {
            network.0.lock().unwrap().links.insert(index, link(index));
        }
        let flows = Arc::new(private_table(512));
        let rows = Arc::new(SharedWords::private(rows * size_of::<NextHop>()).unwrap());
        let attached = [NIC, SECOND_NIC].map(|i| (i, Attached { redirect: i == NIC })).into();
        let hops = NextHops::new(Box::new(network.clone()), rows.clone(), flows.clone(), attached);
        let hops = Arc::new(hops.unwrap());
        Self { network, hops, flows, rows }
    }

    pub(super) fn route(&self, to: &str, oif: u32, gateway: Option<&str>) {
        let route = Route { oif, gateway: gateway.map(ip), mtu: None };
        self.network.0.lock().unwrap().routes.insert(ip(to), route);
    }

    pub(super) fn neighbour(&self, oif: u32, at: &str, neighbour: Neighbour) {
        self.network.0.lock().unwrap().neighbours.insert((oif, ip(at)), neighbour);
    }

    pub(super) fn attach(&self, record: u32, to: &str) {
        self.flows.write(record, &FlowRecord::default());
        self.hops.attach(record, ip(to), OURS);
    }

    /// The row that a record points to.
    pub(super) fn row_of(&self, record: u32) -> u32 {
        self.flows.read(record).next_hop
    }

    /// What XDP reads for a record; never in the middle of a change.
    pub(super) fn hop_of(&self, record: u32) -> NextHop {
        let words = &self.rows[self.row_of(record) as usize * 8..][..8];
        let hop: NextHop =
            from_words::<_, 8>(&std::array::from_fn(|i| words[i].load(std::sync::atomic::Ordering::Relaxed)));
        assert_eq!(hop.generation % 2, 0);
        hop
    }

    pub(super) fn l2_of(&self, record: u32) -> Vec<u8> {
        let hop = self.hop_of(record);
        hop.l2.iter().flat_map(|w| w.to_ne_bytes()).take(hop.l2_len.into()).collect()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Changes)) {
        let mut changes = Changes::default();
        change(&mut changes);
        self.hops.apply(&changes);
    }
}
