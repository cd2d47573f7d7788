//! What runs on the sockets of a namespace: servers, and clients that ask.

use crate::Cx;
use crate::netns::Netns;

/// A timer of an app has gone off.
pub(crate) fn on_timer(ns: &mut Netns, cx: &mut Cx<'_>, app: u32) {
    let _ = (ns, cx, app);
}
