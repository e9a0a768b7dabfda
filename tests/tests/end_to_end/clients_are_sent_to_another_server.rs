//! A server that names another one: clients find it, ours and coturn's, and their media goes through it.

use turnpike_tests::lab::{self, Echo, Load, OneNic, Path, Server, ServerOptions, TurnClient};

#[test]
fn and_allocate_there() {
    if lab::skipped() {
        return;
    }
    let net = OneNic::new();
    let other_host = net.net.host(5);
    let other = Server::on(&other_host, "userspace");
    let options = ServerOptions::new("userspace")
        .flag("--alternate-server", other.address())
        .flag("--alternate-when", "always");
    let first = Server::start(&net.server, &options);

    let mut client = TurnClient::new(&net.client, first.address());
    assert_eq!(client.allocate().ip(), other_host.address());
    assert_eq!(client.server(), other.address());
    client.end();

    let echo = Echo::start(&net.peer);
    let totals = Load::default().run(&net.client, first.address(), &echo);
    assert_eq!((totals.sent, totals.received), (100, 100));
    assert_eq!(other.counters().relayed(Path::Userspace), (100, 100));
    assert_eq!(first.counters().relayed(Path::Userspace), (0, 0));
}
