//! The lines of `ip neigh` (iproute2 6.1).

use std::fmt::Write as _;

use super::NeighState;
use crate::addr::Family;
use crate::dev::device::DevId;
use crate::netns::Netns;

/// `ip neigh show [dev DEV]`; entries in state NOARP and proxies are left out, as there.
pub fn show(ns: &Netns, family: Option<Family>, dev: Option<DevId>) -> String {
    let mut text = String::new();
    let mut all = ns.neighbours.list();
    // One table after the other.
    all.sort_by_key(|info| Family::of(info.address));
    for info in all {
        let other_family = family.is_some_and(|family| family != Family::of(info.address));
        if info.proxy || info.state == NeighState::Noarp || other_family || dev.is_some_and(|dev| dev != info.dev) {
            continue;
        }
        let _ = write!(text, "{} ", info.address);
        if dev.is_none() {
            let _ = write!(text, "dev {} ", ns.devices.get(info.dev).name);
        }
        if let Some(mac) = info.mac {
            let _ = write!(text, "lladdr {mac} ");
        }
        if info.router {
            text.push_str("router ");
        }
        let _ = writeln!(text, "{} ", word(info.state));
    }
    text
}

/// `ip neigh show proxy [dev DEV]`.
pub fn show_proxies(ns: &Netns, family: Option<Family>, dev: Option<DevId>) -> String {
    let mut text = String::new();
    for info in ns.neighbours.list().into_iter().filter(|info| info.proxy) {
        if family.is_some_and(|family| family != Family::of(info.address)) || dev.is_some_and(|dev| dev != info.dev) {
            continue;
        }
        let _ = write!(text, "{} ", info.address);
        if dev.is_none() && info.dev != DevId::NONE {
            let _ = write!(text, "dev {} ", ns.devices.get(info.dev).name);
        }
        text.push_str("proxy \n");
    }
    text
}

fn word(state: NeighState) -> &'static str {
    match state {
        NeighState::None => "NONE",
        NeighState::Incomplete => "INCOMPLETE",
        NeighState::Reachable => "REACHABLE",
        NeighState::Stale => "STALE",
        NeighState::Delay => "DELAY",
        NeighState::Probe => "PROBE",
        NeighState::Failed => "FAILED",
        NeighState::Noarp => "NOARP",
        NeighState::Permanent => "PERMANENT",
    }
}
