//! Several realms on one server: which one a client is asked for, which ones it may use, and that the users of one are not
//! those of another.

mod common;

use common::{Client, REALM, Sim, addr, config, credentials};
use turnpike::auth::{Credentials, InvalidRealms, Realm, Realms};
use turnpike::stun::Method;
use turnpike::turn::CoreConfig;

const PEER: &str = "203.0.113.1:1000";
const FIRST: &str = "198.51.100.7:3478";
const SECOND: &str = "198.51.100.7:3479";
const NORTH: &str = "north.example";
const PAGES: &str = "pages.example";
const ORIGIN: &str = "https://pages.example";

fn realm(name: &str, password: &str) -> Realm {
    Realm::new(name, Credentials::new([("alice".into(), password.into())], []).unwrap()).unwrap()
}

/// The default realm on the first listener, `NORTH` on the second, and `PAGES` on both for its web pages.
fn realms() -> Realms {
    let north = realm(NORTH, "of north").on_listeners([addr(SECOND)]);
    let pages = realm(PAGES, "of pages").for_origins([ORIGIN.into()]);
    Realms::new(Realm::new(REALM, credentials()).unwrap(), [north, pages]).unwrap()
}

fn sim(user_quota: Option<u32>) -> Sim {
    Sim::new(CoreConfig { realms: realms(), user_quota, ..config() }, [7; 32])
}

fn client(port: u16, password: &str, listener: &str, origin: Option<&str>) -> Client {
    let mut client = Client::with(port, "alice", password);
    client.five_tuple.listener = addr(listener);
    client.origin = origin.map(Into::into);
    client
}

#[test]
fn a_client_is_asked_for_the_realm_of_its_page_its_listener_or_the_server() {
    let mut sim = sim(None);
    for (port, (password, listener, origin, expected)) in [
        ("wonderland", FIRST, None, REALM),
        ("wonderland", FIRST, Some("https://other.example"), REALM),
        ("wonderland", FIRST, Some("https://pages.example:8443"), REALM),
        ("wonderland", FIRST, Some("http://pages.example"), REALM),
        ("wonderland", FIRST, Some(""), REALM),
        ("of pages", FIRST, Some(ORIGIN), PAGES),
        ("of north", SECOND, None, NORTH),
        ("of north", SECOND, Some("https://other.example"), NORTH),
        ("of pages", SECOND, Some(ORIGIN), PAGES),
    ]
    .into_iter()
    .enumerate()
    {
        for client in [
            client(10 + port as u16, password, listener, origin),
            client(30 + port as u16, password, listener, origin).modern().anonymous(),
        ] {
            let mut client = client;
            assert_eq!(client.allocate(&mut sim).code(), 0, "{listener} {origin:?}");
            assert_eq!(client.realm, expected);
        }
    }
}

#[test]
fn a_client_may_use_every_realm_of_its_listener_and_no_other() {
    let mut sim = sim(None);
    for (port, (listener, realm, password, code)) in [
        (FIRST, PAGES, "of pages", 0),
        (FIRST, PAGES, "wonderland", 401),
        (FIRST, NORTH, "of north", 401),
        (FIRST, "south.example", "of north", 401),
        (SECOND, PAGES, "of pages", 0),
        (SECOND, NORTH, "of north", 0),
        (SECOND, REALM, "wonderland", 401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = client(10 + port as u16, password, listener, None);
        client.learn_nonce(&mut sim);
        client.realm = realm.into();
        let reply = client.allocate(&mut sim);
        assert_eq!(reply.code(), code, "{listener} {realm}");
        if code == 401 {
            // Asked again for a realm that it may use: its own choice, if it is one.
            let asked = reply.message().realm().unwrap().unwrap().to_owned();
            let expected =
                if realm == PAGES { PAGES } else { [REALM, NORTH][usize::from(listener == SECOND)] };
            assert_eq!(asked, expected);
        }
    }
}

/// RFC 8656 section 5: the credentials of an allocation's requests stay the same.
#[test]
fn a_user_of_the_same_name_in_another_realm_is_another_user() {
    let mut sim = sim(None);
    let mut owner = client(1, "wonderland", FIRST, None);
    owner.allocated(&mut sim);
    let mut other = client(1, "of pages", FIRST, Some(ORIGIN));
    assert_eq!(other.refresh(&mut sim, 0).code(), 441);
    assert_eq!(other.permit(&mut sim, &[addr(PEER)]).code(), 441);
    assert_eq!(other.bind(&mut sim, 0x4000, addr(PEER)).code(), 441);
    assert_eq!(owner.refresh(&mut sim, 600).code(), 0);
}

/// Nor is what one was given good for the other: a ticket, or the token of a reserved port.
#[test]
fn tickets_and_reserved_ports_are_of_no_use_in_another_realm() {
    let mut sim = Sim::new(CoreConfig { realms: realms(), mobility: true, ..config() }, [7; 32]);
    let mut owner = client(1, "wonderland", FIRST, None);
    let pair = owner.request(&mut sim, Method::ALLOCATE, |b| {
        b.requested_transport(17).even_port(true).mobility_ticket(&[]);
    });
    let token = pair.message().reservation_token().unwrap().expect("RESERVATION-TOKEN");
    let claim = |sim: &mut Sim, mut client: Client| {
        client.request(sim, Method::ALLOCATE, |b| _ = b.requested_transport(17).reservation_token(token))
    };
    let strangers = [(2, "of pages", FIRST, Some(ORIGIN)), (3, "of north", SECOND, None)];
    for (port, password, listener, origin) in strangers {
        let mut other = client(port, password, listener, origin);
        assert_eq!(other.refresh_with(&mut sim, &pair.ticket()).code(), 441);
        assert_eq!(claim(&mut sim, other).code(), 508);
    }
    // Moving to another listener is no way into the realm that is not served there.
    let mut elsewhere = client(4, "wonderland", SECOND, None);
    elsewhere.learn_nonce(&mut sim);
    elsewhere.realm = REALM.into();
    assert_eq!(elsewhere.refresh_with(&mut sim, &pair.ticket()).code(), 401);

    assert_eq!(
        claim(&mut sim, client(5, "wonderland", FIRST, None)).relayed().port(),
        pair.relayed().port() + 1
    );
    assert_eq!(client(6, "wonderland", FIRST, None).refresh_with(&mut sim, &pair.ticket()).code(), 0);
}

#[test]
fn quotas_are_counted_by_realm() {
    let mut sim = sim(Some(1));
    assert_eq!(client(1, "wonderland", FIRST, None).allocate(&mut sim).code(), 0);
    assert_eq!(client(2, "wonderland", FIRST, None).allocate(&mut sim).code(), 486);
    assert_eq!(client(3, "of pages", FIRST, Some(ORIGIN)).allocate(&mut sim).code(), 0);
    assert_eq!(client(4, "of pages", SECOND, Some(ORIGIN)).allocate(&mut sim).code(), 486);
    assert_eq!(client(5, "of north", SECOND, None).allocate(&mut sim).code(), 0);
    assert_eq!(sim.shared.users(), 3);
    sim.wait(3600.0);
    sim.assert_empty();
}

#[test]
fn a_page_may_have_another_realm_on_each_listener() {
    let first = realm("first", "1").on_listeners([addr(FIRST)]).for_origins([ORIGIN.into()]);
    let second = realm("second", "2").on_listeners([addr(SECOND)]).for_origins([ORIGIN.into()]);
    let realms = Realms::new(realm(REALM, "0"), [first, second]).unwrap();
    assert_eq!(&**realms.of(addr(FIRST), Some(ORIGIN)).name(), "first");
    assert_eq!(&**realms.of(addr(SECOND), Some(ORIGIN)).name(), "second");
    assert_eq!(&**realms.of(addr(SECOND), None).name(), REALM);
    assert!(realms.named("second", addr(FIRST)).is_none() && realms.named("second", addr(SECOND)).is_some());
}

#[test]
fn realms_that_cannot_be_told_apart_are_refused() {
    let refused = |others: Vec<Realm>| Realms::new(realm(REALM, "x"), others).unwrap_err();
    let on =
        |name: &str, listeners: &[&str]| realm(name, "x").on_listeners(listeners.iter().map(|l| addr(l)));
    assert_eq!(refused(vec![realm("a", "x")]), InvalidRealms::Unreachable("a".into()));
    assert_eq!(refused(vec![on(REALM, &[FIRST])]), InvalidRealms::SameName(REALM.into()));
    assert_eq!(refused(vec![on("a", &[FIRST]), on("a", &[SECOND])]), InvalidRealms::SameName("a".into()));
    assert_eq!(
        refused(vec![on("a", &[FIRST, SECOND]), on("b", &[SECOND])]),
        InvalidRealms::SameListener("a".into(), "b".into(), addr(SECOND))
    );
    let page = |realm: Realm| realm.for_origins([ORIGIN.into()]);
    for (a, b) in [
        (page(on("a", &[FIRST])), page(on("b", &[FIRST]))),
        (page(on("a", &[])), page(on("b", &[FIRST]))),
        (page(on("a", &[FIRST])), page(on("b", &[]))),
    ] {
        assert_eq!(refused(vec![a, b]), InvalidRealms::SameOrigin("a".into(), "b".into(), ORIGIN.into()));
    }
}

/// Lesson 43: a name that looks like another realm's account.
#[test]
fn no_two_accounts_have_the_same_name_in_quotas() {
    let realms = realms();
    let [default, north] =
        [(FIRST, REALM), (SECOND, NORTH)].map(|(l, name)| realms.named(name, addr(l)).unwrap());
    assert_eq!(default.account("alice"), "alice");
    assert_eq!(north.account("alice"), r"north.example\alice");
    assert_eq!(default.account(r"north.example\alice"), r"\north.example\alice");
    assert_eq!(default.account(r"\north.example\alice"), r"\\north.example\alice");
    assert_eq!(north.account(r"\alice"), r"north.example\\alice");
}
