//! An open connection to a server, whatever carries it: TURN messages out, TURN messages in.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::UdpSocket;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::dtls::Associated;
use super::splitter::Splitter;
use crate::auth::printable;
use crate::dtls::CallFailed;
use crate::framing::{NotTurn, messages, padding};

/// TCP, or TLS over it.
pub(super) type Stream = Box<dyn Duplex>;

/// What bytes can be written to and read from.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, in the two halves that are used at once.
pub struct Connection {
    /// To the server.
    pub sender: Sender,
    /// From the server.
    pub receiver: Receiver,
    /// The server, or the proxy on the way to it.
    pub remote: SocketAddr,
}

/// Sends messages. A send that is not waited for to its end leaves a stream broken.
pub struct Sender(Out);

enum Out {
    /// One a datagram.
    Udp(Arc<UdpSocket>),
    /// One a datagram, encrypted.
    Dtls(Associated),
    /// One after the other.
    Stream(WriteHalf<Stream>),
    /// One a frame.
    WebSocket(SplitSink<WebSocketStream<Stream>, Message>),
}

/// Receives messages.
pub struct Receiver(In);

enum In {
    /// One a datagram.
    Udp(Arc<UdpSocket>, Vec<u8>),
    /// One a datagram, encrypted.
    Dtls(Associated),
    /// One after the other.
    Stream(ReadHalf<Stream>, Splitter),
    /// One a frame, or several.
    WebSocket(SplitStream<WebSocketStream<Stream>>, VecDeque<Vec<u8>>),
}

/// What came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A message; over UDP whatever datagram, else a TURN message without padding.
    Message(Vec<u8>),
    /// No message, but a sign that the other side is there: a WebSocket's ping or pong.
    Alive,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The other side closed it.
    #[error("the server closed the connection{0}")]
    Closed(String),
    /// The bytes are no TURN messages.
    #[error(transparent)]
    NotTurn(#[from] NotTurn),
    /// It ended without being closed in order.
    #[error("the connection was cut: the server ended at once, or something on the way broke it")]
    Cut,
    /// The socket failed.
    #[error("{0}")]
    Io(io::Error),
    /// The association cannot go on.
    #[error("DTLS broke: {0}")]
    Dtls(#[from] CallFailed),
    /// The WebSocket's rules were broken.
    #[error("the WebSocket broke: {0}")]
    WebSocket(String),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed(String::new()),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Cut,
            Error::Io(error) => error.into(),
            other => Self::WebSocket(other.to_string()),
        }
    }
}

impl Connection {
    pub(super) fn udp(socket: UdpSocket, remote: SocketAddr) -> Self {
        let socket = Arc::new(socket);
        let receiver = Receiver(In::Udp(socket.clone(), vec![0; 1 << 16]));
        Self { sender: Sender(Out::Udp(socket)), receiver, remote }
    }

    pub(super) fn dtls(associated: Associated, remote: SocketAddr) -> Self {
        let receiver = Receiver(In::Dtls(associated.clone()));
        Self { sender: Sender(Out::Dtls(associated)), receiver, remote }
    }

    pub(super) fn stream(stream: Stream, remote: SocketAddr) -> Self {
        let (read, write) = tokio::io::split(stream);
        let receiver = Receiver(In::Stream(read, Splitter::default()));
        Self { sender: Sender(Out::Stream(write)), receiver, remote }
    }

    pub(super) fn web_socket(socket: WebSocketStream<Stream>, remote: SocketAddr) -> Self {
        let (write, read) = socket.split();
        let receiver = Receiver(In::WebSocket(read, VecDeque::new()));
        Self { sender: Sender(Out::WebSocket(write)), receiver, remote }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Sender {
    /// Sends a message, which must be one of TURN and without padding.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Lost> {
        self.feed(message).await?;
        self.flush().await
    }

    /// The same, but it may wait for [`flush`](Self::flush): so that several messages leave together.
    pub async fn feed(&mut self, message: &[u8]) -> Result<(), Lost> {
        match &mut self.0 {
            Out::Udp(socket) => {
                socket.send(message).await?;
            }
            Out::Dtls(associated) => associated.send(message).await?,
            Out::Stream(stream) => {
                // In one piece, so that it is one TLS record.
                let mut padded = Vec::with_capacity(message.len() + 3);
                padded.extend_from_slice(message);
                padded.resize(message.len() + padding(message.len()), 0);
                stream.write_all(&padded).await?;
            }
            Out::WebSocket(socket) => socket.feed(Message::Binary(Bytes::copy_from_slice(message))).await?,
        }
        Ok(())
    }

    /// Waits until all is on its way.
    pub async fn flush(&mut self) -> Result<(), Lost> {
        match &mut self.0 {
            Out::Udp(_) | Out::Dtls(_) => {}
            Out::Stream(stream) => stream.flush().await?,
            Out::WebSocket(socket) => socket.flush().await?,
        }
        Ok(())
    }

    /// Asks for a sign of life, where the carrier has one.
    pub async fn ping(&mut self) -> Result<(), Lost> {
        if let Out::WebSocket(socket) = &mut self.0 {
            socket.send(Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    /// Ends the connection in order, as far as it has one.
    pub async fn close(&mut self) {
        // The other side learns it from the connection's end in any case.
        match &mut self.0 {
            Out::Udp(_) => {}
            Out::Dtls(associated) => associated.close().await,
            Out::Stream(stream) => drop(stream.shutdown().await),
            Out::WebSocket(socket) => drop(socket.close().await),
        }
    }
}

impl Receiver {
    /// The next thing that arrives. May be given up and called again: nothing is lost.
    pub async fn receive(&mut self) -> Result<Incoming, Lost> {
        match &mut self.0 {
            In::Udp(socket, buffer) => {
                let len = socket.recv(buffer).await?;
                Ok(Incoming::Message(buffer[..len].to_vec()))
            }
            In::Dtls(associated) => Ok(Incoming::Message(associated.receive().await?)),
            In::Stream(stream, splitter) => loop {
                if let Some(message) = splitter.take()? {
                    return Ok(Incoming::Message(message));
                }
                if stream.read_buf(splitter.buffer()).await? == 0 {
                    return Err(Lost::Closed(String::new()));
                }
            },
            In::WebSocket(socket, waiting) => {
                if let Some(message) = waiting.pop_front() {
                    return Ok(Incoming::Message(message));
                }
                match socket.next().await {
                    Some(Ok(Message::Binary(frame))) => {
                        waiting.extend(messages(&frame).map(<[u8]>::to_vec));
                        Ok(waiting.pop_front().map_or(Incoming::Alive, Incoming::Message))
                    }
                    Some(Ok(Message::Close(frame))) => Err(Lost::Closed(match frame {
                        Some(frame) if frame.code != CloseCode::Normal || !frame.reason.is_empty() => {
                            format!(" with code {} {}", frame.code, printable(frame.reason.as_str()))
                                .trim_end()
                                .to_owned()
                        }
                        _ => String::new(),
                    })),
                    Some(Ok(_)) => Ok(Incoming::Alive),
                    Some(Err(error)) => Err(error.into()),
                    None => Err(Lost::Closed(String::new())),
                }
            }
        }
    }
}
