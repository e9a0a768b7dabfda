//! Any datagrams from several clients to a shard that serves DTLS. Their cookies are good where the fuzzer wants it, so that what
//! it makes comes before dimpl; and there are real clients, whose datagrams it loses, repeats and changes. Bounds hold, the books
//! balance, nobody is sent more than came in its name before it has an association, and in the end everybody is forgotten and
//! the next client is served.
#![no_main]

#[path = "../../../relay-userspace/tests/common/mod.rs"]
mod common;

use std::mem::size_of;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use common::heap::{Counting, held};
use libfuzzer_sys::fuzz_target;
use turnpike::datapath::NoFastPath;
use turnpike::dtls::{Call, Identity, ToDo};
use turnpike::net::{DtlsEvent, DtlsRig, RelaySockets, ServerConfig};
use turnpike::turn::{CoreConfig, Shared};

/// Clients that have a place at the same time.
const PLACES: usize = 6;

/// Most bytes that the server may keep of a client without an allocation, all told: dimpl keeps up to eight datagrams that came
/// before their time, of four records each, with five kilobytes for a record; and its keys, flights and buffers besides.
const OF_CLIENT: isize = 192 << 10;

/// And besides: buffers that are used again and tables that grew.
const BESIDES: isize = 512 << 10;

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A datagram of the fuzzer's own.
    Raw {
        client: u8,
        datagram: Vec<u8>,
    },
    /// A record with a message of a handshake, well-formed as far as the fuzzer wants.
    Message {
        client: u8,
        epoch: u8,
        kind: u8,
        number: u8,
        sequence: u8,
        offset: u8,
        body: Vec<u8>,
    },
    /// A hello of the fuzzer's own, with the cookie that it would be given or with this one.
    Hello {
        client: u8,
        hello: Hello,
        cookie: Option<Vec<u8>>,
    },
    /// What a real client has to say next, spoilt.
    Next {
        client: u8,
        spoilt: Vec<Spoil>,
    },
    /// A datagram that was sent before, by anybody, once more.
    Again {
        client: u8,
        which: u8,
        spoilt: Vec<Spoil>,
    },
    /// A message by a real client's association.
    Say {
        client: u8,
        message: Vec<u8>,
    },
    /// A real client ends its association.
    Close {
        client: u8,
    },
    /// A real client begins anew.
    Anew {
        client: u8,
    },
    Wait {
        millis: u16,
    },
}

#[derive(Arbitrary, Debug)]
struct Hello {
    random: [u8; 4],
    session: Vec<u8>,
    /// With what a client needs to be served, besides its own.
    is_usual: bool,
    suites: Vec<u16>,
    compressions: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
    sequence: u8,
    message: u8,
}

#[derive(Arbitrary, Debug)]
enum Spoil {
    Truncate(u16),
    Flip(u16),
    Set(u8, u8),
    Insert(u16, Vec<u8>),
    Lengths,
    Kind(u8),
    Epoch(u8),
}

impl Hello {
    fn record(&self, cookie: &[u8], message: u8) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend(self.random.repeat(8));
        vector(&mut body, 1, &self.session[..self.session.len().min(32)]);
        vector(&mut body, 1, &cookie[..cookie.len().min(255)]);
        let usual: &[u16] = if self.is_usual { &[0xcca9, 0xc02b, 0x00ff] } else { &[] };
        let suites = usual.iter().chain(self.suites.iter().take(100));
        vector(&mut body, 2, &suites.flat_map(|suite| suite.to_be_bytes()).collect::<Vec<_>>());
        let compressions = [&[0][..usize::from(self.is_usual)], &self.compressions].concat();
        vector(&mut body, 1, &compressions[..compressions.len().min(255)]);
        let mut extensions = Vec::new();
        // Groups, formats of points, signatures, extended master secret.
        let usual: [(u16, &[u8]); 4] =
            [(10, &[0, 4, 0, 29, 0, 23]), (11, &[1, 0]), (13, &[0, 4, 4, 3, 5, 3]), (23, &[])];
        let usual = usual.into_iter().take(if self.is_usual { 4 } else { 0 });
        let own = self.extensions.iter().take(20).map(|(kind, value)| (*kind, &value[..]));
        for (kind, value) in usual.chain(own) {
            extensions.extend(kind.to_be_bytes());
            vector(&mut extensions, 2, value);
        }
        vector(&mut body, 2, &extensions);
        handshake(0, self.sequence, 1, message, 0, &body)
    }
}

fn vector(out: &mut Vec<u8>, prefix: usize, value: &[u8]) {
    out.extend(&(value.len() as u64).to_be_bytes()[8 - prefix..]);
    out.extend(value);
}

fn handshake(epoch: u8, sequence: u8, kind: u8, number: u8, offset: u8, body: &[u8]) -> Vec<u8> {
    let length = &(body.len() as u32).to_be_bytes()[1..];
    let message = [&[kind], length, &[0, number, 0, 0, offset], length, body].concat();
    let mut record = vec![22, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, sequence];
    vector(&mut record, 2, &message);
    record
}

impl Spoil {
    fn apply(&self, datagram: &mut Vec<u8>) {
        let length = datagram.len();
        let within = |at: usize| if length == 0 { None } else { Some(at % length) };
        match self {
            Self::Truncate(to) => datagram.truncate((*to).into()),
            Self::Flip(bit) => {
                if let Some(at) = within(usize::from(bit / 8)) {
                    datagram[at] ^= 1 << (bit % 8);
                }
            }
            Self::Set(at, byte) => {
                if let Some(at) = within((*at).into()) {
                    datagram[at] = *byte;
                }
            }
            Self::Insert(at, bytes) => {
                let at = usize::from(*at).min(length);
                datagram.splice(at..at, bytes.iter().copied());
            }
            // The record, and the message in it, have the length that is left.
            Self::Lengths if length > 25 => {
                datagram[11..13].copy_from_slice(&(length as u16 - 13).to_be_bytes());
                let message = &(length as u32 - 25).to_be_bytes()[1..];
                datagram[14..17].copy_from_slice(message);
                datagram[22..25].copy_from_slice(message);
            }
            Self::Kind(kind) if length > 13 => datagram[13] = *kind,
            Self::Epoch(epoch) if length > 4 => datagram[4] = *epoch,
            Self::Lengths | Self::Kind(_) | Self::Epoch(_) => {}
        }
    }
}

struct Client {
    address: SocketAddr,
    /// Made when it is needed: its keys take longer than most else.
    call: Option<Call>,
    /// What it has to say.
    waiting: Vec<Vec<u8>>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self { address, call: None, waiting: Vec::new() }
    }

    fn call(&mut self) -> &mut Call {
        thread_local! {
            static FIRST: Call = Call::new(Duration::from_secs(3600)).expect("random numbers");
        }
        self.call.get_or_insert_with(|| FIRST.with(Call::again).expect("random numbers"))
    }

    fn poll(&mut self) {
        loop {
            match self.call().poll() {
                ToDo::Send(datagram) => self.waiting.push(datagram),
                ToDo::Wait(_) => return,
                _ => {}
            }
        }
    }
}

struct World {
    rig: DtlsRig,
    clients: Vec<Client>,
    past: Vec<Vec<u8>>,
    /// What the server has allocated since it began.
    held: isize,
}

impl World {
    fn new(clients: usize) -> Self {
        let clients = (0..clients).map(|index| Client::new(client_address(index))).collect();
        let rig = rig();
        Self { rig, clients, past: Vec::new(), held: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Raw { client, datagram } => self.send(client, datagram),
            Step::Message { client, epoch, kind, number, sequence, offset, body } => {
                self.send(client, handshake(epoch, sequence, kind, number, offset, &body));
            }
            Step::Hello { client, hello, cookie } => {
                let at = self.client(client).address;
                let cookie = cookie.or_else(|| Some(self.rig.cookie(at, &hello.record(&[], 0))?.to_vec()));
                self.send(client, hello.record(&cookie.unwrap_or_default(), hello.message));
            }
            Step::Next { client, spoilt } => {
                let speaker = self.client(client);
                speaker.poll();
                if speaker.waiting.is_empty() {
                    return;
                }
                let mut datagram = speaker.waiting.remove(0);
                self.past.push(datagram.clone());
                spoilt.iter().for_each(|spoil| spoil.apply(&mut datagram));
                self.send(client, datagram);
            }
            Step::Again { client, which, spoilt } => {
                if self.past.is_empty() {
                    return;
                }
                let mut datagram = self.past[usize::from(which) % self.past.len()].clone();
                spoilt.iter().for_each(|spoil| spoil.apply(&mut datagram));
                self.send(client, datagram);
            }
            Step::Say { client, message } => {
                let message = &message[..message.len().min(1200)];
                let _ = self.client(client).call().say(message);
            }
            Step::Close { client } => self.client(client).call().close(),
            Step::Anew { client } => {
                let client = self.client(client);
                *client = Client::new(client.address);
            }
            Step::Wait { millis } => self.wait(Duration::from_millis(millis.into())),
        }
    }

    fn client(&mut self, index: u8) -> &mut Client {
        let index = usize::from(index) % self.clients.len();
        &mut self.clients[index]
    }

    /// A datagram comes in a client's name. The answers go to whom they are for.
    fn send(&mut self, client: u8, mut datagram: Vec<u8>) {
        // As much as UDP carries.
        datagram.truncate(65_507);
        let from = self.client(client).address;
        let knew = self.rig.knows(from);
        let before = held();
        let sent = self.rig.receive(from, &datagram);
        let out = sent.iter().map(|(_, bytes)| bytes.capacity()).sum::<usize>()
            + sent.capacity() * size_of::<(SocketAddr, Vec<u8>)>();
        self.held += held() - before - out as isize;
        if !knew && !self.rig.knows(from) {
            let answered: usize =
                sent.iter().filter(|(to, _)| *to == from).map(|(_, bytes)| bytes.len()).sum();
            assert!(answered <= datagram.len(), "{answered} bytes for {}", datagram.len());
        }
        for (to, bytes) in sent {
            let client = self.clients.iter_mut().find(|client| client.address == to);
            let client = client.expect("nobody else is sent anything");
            // What becomes of the client is its own affair.
            let _ = client.call.as_mut().map(|call| call.receive(&bytes));
        }
        self.check();
    }

    fn wait(&mut self, time: Duration) {
        let before = held();
        self.rig.wait(time);
        self.held += held() - before;
        self.check();
    }

    fn check(&self) {
        self.rig.check();
        let most = BESIDES + OF_CLIENT * self.rig.associations() as isize;
        assert!(self.held <= most, "{} bytes of {} clients", self.held, self.rig.associations());
    }

    /// Everybody is forgotten in time, and the next client is served.
    fn end(mut self) {
        for _ in 0..20 {
            self.wait(Duration::from_secs(10));
        }
        assert_eq!(self.rig.associations(), 0);
        if self.rig.stats().dtls(DtlsEvent::Begun) == 0 {
            // Nothing has come to dimpl that it could stumble over.
            return;
        }
        self.clients.push(Client::new(client_address(100)));
        let last = (self.clients.len() - 1) as u8;
        for _ in 0..20 {
            self.step(Step::Next { client: last, spoilt: Vec::new() });
        }
        assert!(self.client(last).call().is_connected(), "the next client is served");
    }
}

fn client_address(index: usize) -> SocketAddr {
    let ip = if index % 3 == 2 { format!("[2001:db8::{index:x}]") } else { format!("203.0.113.{index}") };
    format!("{ip}:{}", 1000 + index).parse().expect("an address")
}

fn rig() -> DtlsRig {
    static CORE: OnceLock<(Arc<CoreConfig>, Identity)> = OnceLock::new();
    let (core, identity) = CORE.get_or_init(|| {
        let own = rcgen::generate_simple_self_signed(["turn.test".to_owned()]).expect("a certificate");
        let (certificate, key) = (own.cert.der().to_vec(), own.signing_key.serialize_der());
        (Arc::new(common::config()), Identity { certificate, key })
    });
    let config = ServerConfig {
        listeners: Vec::new(),
        shards: 1,
        shared: Arc::new(Shared::new(core, [7; 32])),
        core: Arc::clone(core),
        relay_sockets: RelaySockets::Each,
        fast_path: Box::new(|_| Box::new(NoFastPath)),
    };
    DtlsRig::new(config, common::addr("198.51.100.7:5349"), identity.clone(), PLACES)
}

/// Clients whose handshake is half over when it begins, and such as have an association, by their bits; and what happens then.
type Story = (u8, u8, Vec<Step>);

fuzz_target!(|story: Story| {
    let (half, connected, steps) = story;
    // More than have places.
    let mut world = World::new(PLACES + 2);
    let clients = world.clients.len() as u8;
    for client in (0..clients).filter(|client| (half | connected) >> client & 1 == 1) {
        // Two hellos and the first datagram of the client's flight; as many as there are.
        let datagrams = if connected >> client & 1 == 1 { 8 } else { 3 };
        (0..datagrams).for_each(|_| world.step(Step::Next { client, spoilt: Vec::new() }));
    }
    steps.into_iter().for_each(|step| world.step(step));
    world.end();
});
