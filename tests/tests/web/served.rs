//! The pages of `turnpike::web` on a machine of the lab, and TURN over WebSockets there.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket, accept_hdr};
use turnpike::config::{self, Host as Machine};
use turnpike::web::{Site, Web, router};
use turnpike_tests::lab::Host;

/// Serves the pages of these settings at this port of a machine, as long as the tests run.
pub(crate) fn pages(machine: &Host, port: u16, settings: &str) -> Arc<Web> {
    let layer = config::parse("settings".as_ref(), settings).expect("settings");
    let settings = layer.resolve(&Machine::default()).expect("settings").settings;
    let web = Web::new(Site::new(&settings));
    let (router, at) = (router(web.clone(), false), machine.at(port));
    let listener = machine.enter(|| TcpListener::bind(at)).expect("the port is free");
    listener.set_nonblocking(true).expect("a setting of the socket");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        })
    });
    web
}

/// Takes WebSockets at this port of a machine and carries each message to the server's UDP listener and back.
pub(crate) fn web_sockets(machine: &Host, port: u16, server: SocketAddr) {
    let at = machine.at(port);
    let listener = machine.enter(|| TcpListener::bind(at)).expect("the port is free");
    let machine = machine.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let socket = machine.udp(0);
            socket.connect(server).expect("the server's address");
            thread::spawn(move || carry(stream, &socket));
        }
    });
}

fn carry(stream: TcpStream, server: &UdpSocket) {
    #[expect(clippy::result_large_err, reason = "the type is that of the library's callback")]
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/turn");
        let asked = request.headers().get("Sec-WebSocket-Protocol").expect("a subprotocol");
        assert_eq!(asked, "turn");
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("turn"));
        Ok(response)
    };
    let Ok(mut socket): Result<WebSocket<TcpStream>, _> = accept_hdr(stream, choose) else { return };
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("a setting of the socket");
    // Each request has one answer.
    while let Ok(message) = socket.read() {
        let Message::Binary(request) = message else { continue };
        server.send(&request).expect("the server is there");
        let mut answer = vec![0; 2000];
        let Ok(length) = server.recv(&mut answer) else { return };
        answer.truncate(length);
        if socket.send(Message::binary(answer)).is_err() {
            return;
        }
    }
}
