//! Interfaces that come and go without a program, and the flags of those with one.

use super::super::interfaces::testing::{link, network};
use super::*;

const ETH0: &str = "10.0.0.2";

/// By name, or else those that carry [`ETH0`]'s address.
fn without_program(request: Request, names: Option<&[&str]>) -> Attachments {
    let wanted = Wanted {
        names: names.map(|names| names.iter().map(|&name| name.into()).collect()),
        listeners: vec![format!("{ETH0}:3478").parse().unwrap()],
        relay: Vec::new(),
    };
    Attachments::new(request, wanted, Err("there is no program".into()))
}

fn shown(attachments: &Attachments) -> Vec<(String, u32, Mode, Vec<String>)> {
    attachments.board().read().into_iter().map(|i| (i.name, i.index, i.mode, i.reasons)).collect()
}

fn is(name: &str, index: u32, mode: Mode, reason: &str) -> (String, u32, Mode, Vec<String>) {
    (name.into(), index, mode, vec![reason.into()])
}

#[test]
fn an_interface_that_carries_our_address_is_told_to_be_absent_until_another_carries_it() {
    let mut attachments = without_program(Request::Auto, None);
    let mut network = network();
    attachments.follow(&network);
    let in_userspace = is("eth0", 2, Mode::Userspace, "there is no program");
    assert_eq!(shown(&attachments), [in_userspace]);

    network.links.retain(|l| l.index != 2);
    network.addresses.retain(|(index, _)| *index != 2);
    attachments.follow(&network);
    assert_eq!(shown(&attachments), [is("eth0", 0, Mode::Absent, "no interface carries 10.0.0.2 now")]);

    network.links.push(link(9, "eth9"));
    network.addresses.push((9, ETH0.parse().unwrap()));
    attachments.follow(&network);
    assert_eq!(shown(&attachments), [is("eth9", 9, Mode::Userspace, "there is no program")]);
}

#[test]
fn a_named_interface_is_told_to_be_absent_until_one_has_its_name() {
    let mut attachments = without_program(Request::Auto, Some(&["eth0", "eth8"]));
    let mut network = network();
    attachments.follow(&network);
    let eth8 = is("eth8", 0, Mode::Absent, "there is no interface of this name");
    assert_eq!(shown(&attachments), [is("eth0", 2, Mode::Userspace, "there is no program"), eth8.clone()]);

    network.links[1].name = "wan0".into();
    attachments.follow(&network);
    let eth0 = is("eth0", 0, Mode::Absent, "there is no interface of this name");
    assert_eq!(shown(&attachments), [eth0.clone(), eth8]);

    network.links.push(link(10, "eth8"));
    attachments.follow(&network);
    assert_eq!(shown(&attachments), [is("eth8", 10, Mode::Userspace, "there is no program"), eth0]);
}

#[test]
fn a_new_name_and_a_lost_carrier_are_shown() {
    let mut attachments = without_program(Request::Userspace, None);
    let mut network = network();
    attachments.follow(&network);
    network.links[1] = Link { connected: false, ..link(2, "wan0") };
    attachments.follow(&network);
    let [(name, 2, Mode::Userspace, reasons)] = &shown(&attachments)[..] else { panic!("one interface") };
    assert_eq!(name, "wan0");
    assert_eq!(reasons[..], ["asked for with --datapath userspace", "it is down, or its other end is"]);
}

#[test]
fn containers_that_come_and_go_leave_nothing_behind() {
    let mut attachments = without_program(Request::Auto, None);
    attachments.wanted.listeners = vec!["0.0.0.0:3478".parse().unwrap()];
    let before = network();
    attachments.follow(&before);
    let lasting = shown(&attachments);
    for index in 100..200 {
        let mut network = before.clone();
        network.links.push(link(index, &format!("veth{index}")));
        network.addresses.push((index, format!("192.0.2.{index}").parse().unwrap()));
        attachments.follow(&network);
        assert_eq!(shown(&attachments).len(), lasting.len() + 1);
    }
    attachments.follow(&before);
    assert_eq!(shown(&attachments), lasting);
}

#[test]
fn redirects_go_between_equals_and_from_generic_to_driver_mode_only() {
    let redirect = |modes: &[Mode]| -> Vec<bool> {
        let modes = (1..).zip(modes.iter().copied());
        attached(modes).into_values().map(|a| a.redirect).collect()
    };
    assert_eq!(redirect(&[Mode::Xdp, Mode::Xdp]), [true, true]);
    assert_eq!(redirect(&[Mode::XdpGeneric, Mode::XdpGeneric]), [true, true]);
    assert_eq!(redirect(&[Mode::Xdp, Mode::XdpGeneric, Mode::Userspace]), [true, false]);
}
