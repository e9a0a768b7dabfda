//! What is warned about for the sake of browsers.

use super::*;

#[test]
fn what_is_for_browsers_needs_a_listener_that_they_reach() {
    let warned = |text: &str| {
        let warnings = resolved(text).unwrap().warnings;
        warnings.into_iter().any(|warning| warning.contains("no listener serves HTTP"))
    };
    let tenant =
        "[auth]\nsecrets = ['s']\n[[ice.tenants]]\nname = 'app'\nkey = 'key-of-the-app-0123456789'\n";
    let page = "[auth]\nsecrets = ['s']\n[test-page]\nenabled = true\n";
    for text in [tenant, page] {
        assert!(warned(text));
        // Either has HTTP on the same port.
        for scheme in ["http", "tcp"] {
            assert!(
                !warned(&format!("listen = ['udp://10.0.0.2', '{scheme}://10.0.0.2']\n{text}")),
                "{scheme}"
            );
        }
    }
    assert!(!warned("[auth]\nsecrets = ['s']\n"));
}

#[test]
fn tls_at_an_address_is_told_as_firefox_leaves_it_out() {
    let warned = |url: &str| {
        let text = format!("[auth]\nusers = ['a:b']\n[ice]\nurls = ['{url}']");
        let warnings = resolved(&text).unwrap().warnings;
        warnings.into_iter().any(|warning| warning.contains("Firefox tries TURN over TLS only at a name"))
    };
    for url in ["turns:192.0.2.1", "turns:192.0.2.1:443?transport=tcp", "turns:[2001:db8::1]:443"] {
        assert!(warned(url), "{url}");
    }
    for url in
        ["turns:turn.example.org:443?transport=tcp", "turn:192.0.2.1:3478?transport=tcp", "turns:1.example"]
    {
        assert!(!warned(url), "{url}");
    }
    // Another one has a name.
    assert!(!warned("turns:192.0.2.1', 'turns:turn.example.org"));
    let hosts = |host: &str| host.parse::<PublicHost>().unwrap().is_address();
    assert_eq!(["192.0.2.1", "2001:db8::1", "turn.example.org"].map(hosts), [true, true, false]);
}
