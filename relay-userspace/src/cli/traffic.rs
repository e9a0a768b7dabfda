//! What `turnpike status` says about traffic: shares, sums and tables.

use relay_common::reason::Reason;

use super::screen::{Screen, bytes, thousands};
use crate::admin::{RELAYED, Status, Traffic, Where};
use crate::auth::printable;
use crate::datapath::{InterfaceStatus, Mode};

/// How much of what came in by each interface never left XDP.
pub(super) fn fast_path_shares(status: &Status) -> Vec<String> {
    let share = |interface: &InterfaceStatus| {
        let name = &interface.name;
        let counted = status.interface_traffic.iter().find(|counted| counted.name == *name);
        match (interface.mode, counted) {
            (Mode::Absent, _) => None,
            (Mode::Userspace, _) | (_, None) => Some(format!("{name:<10} 0 %: the process relays")),
            (_, Some(counted)) => Some(match counted.share() {
                None => format!("{name:<10} nothing to relay came in yet"),
                Some(share) => {
                    let all = thousands(counted.fast + counted.slow);
                    format!("{name:<10} {:.1} % of {all} packets that came in to be relayed", share * 100.0)
                }
            }),
        }
    };
    status.interfaces.iter().filter_map(share).collect()
}

/// In all, and in each direction by whom.
pub(super) fn relayed(status: &Status) -> Vec<String> {
    let (all, fast) = status.relayed();
    if all == 0 {
        return vec!["nothing yet".into()];
    }
    let share = fast as f64 * 100.0 / all as f64;
    let mut rows = vec![format!("{} packets, {share:.1} % of them on the fast path", thousands(all))];
    for way in RELAYED {
        let [xdp, process] = [Where::Xdp, Where::Userspace].map(|path| status.relayed_by(path, way));
        if xdp.packets + process.packets > 0 {
            let what = match way {
                Reason::ToPeer => "to peers",
                Reason::ToClient => "to clients",
                _ => "within this relay",
            };
            rows.push(format!(
                "{what:<18}{:>12} packets  {:>10}: {} by XDP, {} by userspace",
                thousands(xdp.packets + process.packets),
                bytes(xdp.bytes + process.bytes),
                thousands(xdp.packets),
                thousands(process.packets)
            ));
        }
    }
    rows
}

/// A table of reasons, by where the packets were handled.
pub(super) fn packets(screen: &mut Screen, traffic: &[Traffic]) {
    for datapath in [Where::Xdp, Where::Userspace] {
        let rows: Vec<_> = traffic.iter().filter(|t| t.datapath == datapath).collect();
        if rows.is_empty() {
            continue;
        }
        screen.line("");
        let title = match datapath {
            Where::Xdp => "packets in XDP",
            Where::Userspace => "packets in userspace",
        };
        screen.line(format_args!("{title:<24}{:<11}{:>14}{:>14}", "", "packets", "bytes"));
        for t in rows {
            let reason = printable(&t.reason).to_string();
            screen.line(format_args!(
                "  {reason:<22}{:<11}{:>14}{:>14}",
                t.verdict.name(),
                thousands(t.packets),
                bytes(t.bytes)
            ));
        }
    }
}

/// A table of what requests were answered with.
pub(super) fn responses(screen: &mut Screen, status: &Status) {
    if status.responses.is_empty() {
        return;
    }
    screen.line("");
    screen.line("responses");
    for r in &status.responses {
        let outcome = match r.code {
            None => "success".into(),
            Some(0) => "another error".into(),
            Some(code) => format!("error {code}"),
        };
        let method = printable(&r.method).to_string();
        screen.line(format_args!("  {method:<22}{outcome:<15}{:>13}", thousands(r.count)));
    }
}
