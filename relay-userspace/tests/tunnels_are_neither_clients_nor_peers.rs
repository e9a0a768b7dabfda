//! RFC 8656 section 21.4: a relay and a tunnel between IPv6 and IPv4 could be made to send one packet to and fro.

mod common;

use common::{Client, Sim, addr, dual_stack};
use turnpike::stun::{AddressFamily, Method};
use turnpike::turn::{ClientAddr, CoreConfig};

fn client_at(address: &str) -> Client {
    let mut client = Client::new(4000);
    client.five_tuple.client = ClientAddr(addr(address));
    client
}

#[test]
fn a_client_at_a_6to4_or_teredo_address_gets_no_allocation() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    for tunnelled in
        ["[2002::1]:1", "[2002:808:808::1]:1", "[2002:ffff::]:1", "[2001::1]:1", "[2001:0:808:808::1]:1"]
    {
        let mut client = client_at(tunnelled);
        assert_eq!(client.allocate(&mut sim).code(), 403, "{tunnelled}");
        let forbidden = client.request(&mut sim, Method::CHANNEL_BIND, |b| {
            b.channel_number(0x4000).xor_peer_address(addr("203.0.113.1:1"));
        });
        assert_eq!(forbidden.code(), 403, "{tunnelled}");
    }
    for native in ["[2001:1::1]:1", "[2003::1]:1", "[2a00:2002::1]:1", "32.2.0.1:1", "32.1.0.0:1"] {
        assert_eq!(client_at(native).allocate(&mut sim).code(), 0, "{native}");
    }
}

#[test]
fn an_allocation_does_not_move_to_such_an_address() {
    let mut sim = Sim::new(CoreConfig { mobility: true, ..dual_stack() }, [1; 32]);
    let mut client = Client::new(1);
    let (_, ticket) = client.allocated_mobile(&mut sim);
    assert_eq!(client_at("[2002::1]:1").refresh_with(&mut sim, &ticket).code(), 403);
    assert_eq!(client_at("[2003::1]:1").refresh_with(&mut sim, &ticket).code(), 0);
}

#[test]
fn a_6to4_or_teredo_address_is_no_peer_even_if_the_ipv4_address_inside_is() {
    let mut sim = Sim::new(dual_stack(), [1; 32]);
    let mut client = Client::new(1);
    assert_eq!(client.allocate_of(&mut sim, AddressFamily::V6).code(), 0);
    // 8.8.8.8, as it is in 6to4, as a Teredo server and client.
    for tunnelled in ["[2002:808:808::1]:1", "[2001:0:808:808::f7f7:f7f7]:1"] {
        assert_eq!(client.permit(&mut sim, &[addr(tunnelled)]).code(), 403, "{tunnelled}");
        assert_eq!(client.bind(&mut sim, 0x4000, addr(tunnelled)).code(), 403, "{tunnelled}");
    }
    assert_eq!(client.bind(&mut sim, 0x4000, addr("[64:ff9b::8.8.8.8]:1")).code(), 0);
}
