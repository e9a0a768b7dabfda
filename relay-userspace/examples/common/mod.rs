//! What measurements have in common: turnpike itself as a child, pinned to a CPU, and a plain TURN client.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turnpike::stun::{Builder, Class, Key, Message, MessageType, Method, TransactionId};

/// Where the server is: an address of the loopback.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(127, 90, 0, 1);
/// Its user.
pub(crate) const USER: (&str, &str) = ("alice", "wonderland");
/// The port of TURN over UDP and TCP.
pub(crate) const PORT: u16 = 3478;
/// The port of TLS and WebSockets.
pub(crate) const TLS_PORT: u16 = 8443;

/// A measurement is turnpike as well: called with one of its commands, it is that command.
pub(crate) fn as_turnpike() -> Option<ExitCode> {
    let command = env::args().nth(1)?;
    ["run", "tunnel"].contains(&command.as_str()).then(turnpike::cli::main)
}

/// A child that ends with this.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// This program, called with these words, on one CPU and at this priority.
    pub(crate) fn start(cpu: usize, priority: Priority, words: &[&str]) -> Self {
        let this = env::current_exe().expect("the name of this program");
        // A measurement that is ended, or panics, takes it along.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &cpu.to_string()]);
        if priority == Priority::Idle {
            command.args(["chrt", "--idle", "0"]);
        }
        command.arg(this).args(words).env("RUST_LOG", "error").stdout(Stdio::null());
        Self(command.spawn().expect("setpriv, taskset and chrt, of util-linux"))
    }

    /// CPU time that it has used, in user and kernel.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("a process");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }
}

/// Who comes first on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Priority {
    Usual,
    /// Only when nobody else wants it.
    Idle,
}

/// A server with a certificate of its own.
pub(crate) struct Server {
    pub(crate) process: Running,
    folder: PathBuf,
}

impl Server {
    /// With one shard, in userspace, on this CPU.
    pub(crate) fn start(cpu: usize) -> Self {
        let folder = env::temp_dir().join(format!("turnpike-measurement-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![SERVER.to_string()]).expect("a certificate");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = |name: &str| folder.join(name).display().to_string();
        fs::write(file("cert.pem"), certificate.pem()).expect("a file");
        fs::write(file("key.pem"), key.serialize_pem()).expect("a file");
        let text = format!(
            "listen = ['udp://{SERVER}:{PORT}', 'tcp://{SERVER}:{PORT}', 'https://{SERVER}:{TLS_PORT}']\n\
             shards = 1\nauth = {{ users = ['{}:{}'] }}\n[tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n\
             [datapath]\nmode = 'userspace'\n[peers]\nallow = ['127.0.0.1']\n[admin]\nlisten = 'off'\n\
             [streams]\nconnections-per-address = 10000\n",
            USER.0, USER.1
        );
        fs::write(file("turnpike.toml"), text).expect("a file");
        let process = Running::start(cpu, Priority::Usual, &["run", "-c", &file("turnpike.toml")]);
        let server = Self { process, folder };
        let begun = Instant::now();
        while TcpStream::connect((SERVER, TLS_PORT)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the server does not start");
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Its certificate, for clients to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What carries a client's messages.
pub(crate) enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn udp(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.connect(to).expect("an address");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        Self::Udp(socket)
    }

    pub(crate) fn tcp() -> Self {
        Self::Tcp(TcpStream::connect((SERVER, PORT)).expect("a connection"))
    }

    pub(crate) fn tls(certificate: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::IpAddress(SERVER.into());
        let tls = ClientConnection::new(Arc::new(config), name).expect("TLS");
        let socket = TcpStream::connect((SERVER, TLS_PORT)).expect("a connection");
        Self::Tls(Box::new(StreamOwned::new(tls, socket)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(socket) => socket.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes),
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 2048];
        let stream: &mut dyn Read = match self {
            Self::Udp(socket) => {
                let length = socket.recv(&mut bytes)?;
                bytes.truncate(length);
                return Ok(bytes);
            }
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => tls,
        };
        stream.read_exact(&mut bytes[..20])?;
        let length = 20 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        stream.read_exact(&mut bytes[20..length])?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A client with an allocation.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    /// Where peers send to.
    pub(crate) relayed: SocketAddr,
    challenge: (String, Vec<u8>),
    transactions: u32,
}

/// The channel that a client binds.
pub(crate) const CHANNEL: u16 = 0x4000;

impl Client {
    pub(crate) fn allocate(wire: Wire) -> Self {
        let mut client =
            Self { wire, relayed: ([0; 4], 0).into(), challenge: Default::default(), transactions: 0 };
        let fill = |b: &mut Builder<'_>| _ = b.requested_transport(17);
        let answer = client.request(Method::ALLOCATE, fill);
        let message = Message::parse(&answer).expect("an answer");
        client.relayed = message.xor_relayed_address().expect("an address").expect("an allocation");
        client
    }

    /// Has [`CHANNEL`] lead to a peer.
    pub(crate) fn bind(&mut self, peer: SocketAddr) {
        self.request(Method::CHANNEL_BIND, |b| _ = b.channel_number(CHANNEL).xor_peer_address(peer));
    }

    /// Ends the allocation.
    pub(crate) fn end(mut self) {
        self.request(Method::REFRESH, |b| _ = b.lifetime(Duration::ZERO));
    }

    fn request(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> Vec<u8> {
        let mut refused = None;
        // Without credentials, and with them.
        for _ in 0..2 {
            self.transactions += 1;
            let mut id = [0; 12];
            id[..4].copy_from_slice(&self.transactions.to_be_bytes());
            let mut bytes = Vec::new();
            let request = MessageType::new(method, Class::Request);
            let mut request = Builder::new(&mut bytes, request, TransactionId(id));
            fill(&mut request);
            let (realm, nonce) = &self.challenge;
            if !nonce.is_empty() {
                let key = Key::long_term(USER.0, realm, USER.1);
                request.username(USER.0).realm(realm).nonce(nonce).integrity(&key);
            }
            request.finish();
            self.wire.send(&bytes).expect("the server is there");
            let answer = self.wire.receive().expect("the server answers");
            let message = Message::parse(&answer).expect("an answer");
            if message.class() == Class::Success {
                return answer;
            }
            refused = message.error_code().expect("an error code").map(|(code, _)| code);
            let (realm, nonce) = (message.realm().expect("text"), message.nonce().expect("bytes"));
            self.challenge = (realm.unwrap_or_default().into(), nonce.unwrap_or_default().into());
        }
        panic!("the server refuses {method:?}: {refused:?}");
    }
}

/// ChannelData with this many bytes.
pub(crate) fn channel_data(length: u16) -> Vec<u8> {
    let mut bytes = [CHANNEL.to_be_bytes(), length.to_be_bytes()].concat();
    bytes.resize(4 + usize::from(length), 7);
    bytes
}

/// Whether nothing else listens where the server is to.
pub(crate) fn assert_free() {
    TcpListener::bind((SERVER, TLS_PORT)).expect("a port for the server: does another measurement run?");
}
