//! `tcp_in_window`: after Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".
//!
//! What one side may send is known from what the other has acknowledged and offered:
//!
//! ```text
//!   I    seq            <= sender.max_end                      no further than the receiver's window
//!   II   seq + len      >= sender.end - receiver.max_win       not older than one window
//!   III  ack (or sack)  <= receiver.end                        only what was sent is acknowledged
//!   IV   ack            >= receiver.end - max(66000, max_win)  and not too late
//! ```

use super::{ACK, Kind, RST, SYN, Segment, TcpState, TcpTrack, flag};
use crate::conntrack::table::Dir;
use crate::view::be32;

/// Bytes that an acknowledgement may lag behind, at least.
const MAX_ACK_WINDOW: u32 = 66_000;

/// `struct ip_ct_tcp_state`: what one side has shown of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sender {
    /// Behind the last byte that it sent.
    pub(super) end: u32,
    /// Behind the last byte that it may send.
    pub(super) max_end: u32,
    /// The largest window that it offered; 0: nothing was seen of it.
    pub(super) max_win: u32,
    /// The largest acknowledgement that it sent.
    pub(super) max_ack: u32,
    pub(super) scale: u8,
    pub(super) flags: u8,
}

/// What `tcp_in_window` said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InWindow {
    Accept,
    /// Let through without a change of state.
    Ignore,
    Invalid,
}

/// Whether `a` comes before `b` in sequence space.
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

impl Sender {
    /// `tcp_options`: window scale and SACK permitted.
    pub(super) fn read_options(&mut self, segment: &Segment<'_>) {
        if segment.options.is_empty() {
            return;
        }
        self.scale = 0;
        self.flags = 0;
        options(segment.options, |kind, data| {
            match (kind, data) {
                (4, []) => self.flags |= flag::SACK_PERM,
                (3, [scale]) => {
                    self.scale = (*scale).min(14);
                    self.flags |= flag::WINDOW_SCALE;
                }
                _ => {}
            }
            true
        });
    }
}

/// Walks TCP options until `each` says false, the end, or a malformed one.
fn options(mut rest: &[u8], mut each: impl FnMut(u8, &[u8]) -> bool) {
    loop {
        match rest {
            [] | [0, ..] => return,
            [1, tail @ ..] => rest = tail,
            [kind, length, ..] => {
                let length = usize::from(*length);
                if length < 2 || length > rest.len() || !each(*kind, &rest[2..length]) {
                    return;
                }
                rest = &rest[length..];
            }
            [_] => return,
        }
    }
}

/// `tcp_sack`: the highest right edge of the SACK blocks, or the acknowledgement.
fn highest_sack(segment: &Segment<'_>) -> u32 {
    let mut sack = segment.ack;
    options(segment.options, |kind, data| {
        if kind != 5 || data.is_empty() || data.len() % 8 != 0 {
            return true;
        }
        for block in data.chunks_exact(8) {
            let right = be32(block, 4);
            if after(right, sack) {
                sack = right;
            }
        }
        false
    });
    sack
}

/// `tcp_init_sender`: what a SYN says of its sender.
fn init_sender(track: &mut TcpTrack, dir: Dir, segment: &Segment<'_>) {
    let (mine, theirs) = (dir as usize, dir.other() as usize);
    let side = &mut track.seen[mine];
    side.end = segment.end;
    side.max_end = segment.end;
    side.max_win = u32::from(segment.window).max(1);
    side.read_options(segment);
    // RFC 7323: only where both offer it.
    if dir == Dir::Reply && track.seen[0].flags & track.seen[1].flags & flag::WINDOW_SCALE == 0 {
        track.seen[mine].scale = 0;
        track.seen[theirs].scale = 0;
    }
}

/// Whether a segment may belong to the connection; learns from those that may.
pub(super) fn in_window(track: &mut TcpTrack, dir: Dir, kind: Kind, segment: &Segment<'_>, liberal: bool) -> InWindow {
    let (mine, theirs) = (dir as usize, dir.other() as usize);
    let mut win = u32::from(segment.window);
    let mut seq = segment.seq;
    let mut end = segment.end;
    let mut ack = segment.ack;
    let mut sack = if track.seen[theirs].flags & flag::SACK_PERM != 0 { highest_sack(segment) } else { ack };

    if track.seen[mine].max_win == 0 {
        if segment.has(SYN) {
            init_sender(track, dir, segment);
            if !segment.has(ACK) {
                return InWindow::Accept; // both open
            }
        } else {
            // In the middle of a connection whose beginning nobody saw.
            let window = (win << track.seen[mine].scale).max(1);
            let side = &mut track.seen[mine];
            side.end = end;
            side.max_win = window;
            side.max_end = end.wrapping_add(window);
            let other = &mut track.seen[theirs];
            if other.max_win == 0 {
                other.end = sack;
                other.max_end = sack;
            } else if sack == other.end.wrapping_add(1) {
                other.end = sack; // the answer to a keepalive
            }
        }
    } else if segment.has(SYN) && after(end, track.seen[mine].end) && matches!(track.state, TcpState::SynSent | TcpState::SynRecv) {
        // Once more, with other numbers.
        init_sender(track, dir, segment);
        if dir == Dir::Reply && !segment.has(ACK) {
            return InWindow::Accept;
        }
    }

    let receiver_end = track.seen[theirs].end;
    if !segment.has(ACK) || (segment.has(RST) && ack == 0) {
        ack = receiver_end;
        sack = receiver_end;
    }
    if segment.has(RST) && seq == 0 && track.state == TcpState::SynSent {
        // The answer to a SYN.
        seq = track.seen[mine].end;
        end = seq;
    }

    let (sender, receiver) = (track.seen[mine], track.seen[theirs]);
    let unless_liberal =
        |verdict: InWindow| if liberal || sender.flags & flag::BE_LIBERAL != 0 { InWindow::Accept } else { verdict };
    let ack_not_too_late = after(sack, receiver.end.wrapping_sub(sender.max_win.max(MAX_ACK_WINDOW)).wrapping_sub(1));
    let end_in_window = after(end, sender.end.wrapping_sub(receiver.max_win).wrapping_sub(1));
    if !before(seq, sender.max_end.wrapping_add(1)) {
        let overshot = end.wrapping_sub(sender.max_end).wrapping_add(1);
        if receiver.max_win != 0
            && end_in_window
            && ack_not_too_late
            && overshot <= receiver.max_win
            && before(sack, receiver.end.wrapping_add(1))
        {
            // A little more than the window: remember it, for its acknowledgement.
            track.seen[mine].end = end;
            track.seen[mine].flags |= flag::DATA_UNACKNOWLEDGED;
            return unless_liberal(InWindow::Ignore);
        }
        return unless_liberal(InWindow::Invalid);
    }
    if !before(sack, receiver.end.wrapping_add(1)) {
        return unless_liberal(InWindow::Invalid);
    }
    if receiver.max_win != 0 && !end_in_window {
        return unless_liberal(InWindow::Ignore);
    }
    if !ack_not_too_late {
        return unless_liberal(InWindow::Ignore);
    }

    if !segment.has(SYN) {
        win <<= sender.scale;
    }
    let side = &mut track.seen[mine];
    side.max_win = side.max_win.max(win.wrapping_add(sack.wrapping_sub(ack)));
    if after(end, side.end) {
        side.end = end;
        side.flags |= flag::DATA_UNACKNOWLEDGED;
    }
    if segment.has(ACK) && (side.flags & flag::MAXACK_SET == 0 || after(ack, side.max_ack)) {
        side.max_ack = ack;
        side.flags |= flag::MAXACK_SET;
    }
    let max_end = side.max_end;
    let other = &mut track.seen[theirs];
    if other.max_win != 0 && after(end, max_end) {
        other.max_win = other.max_win.wrapping_add(end.wrapping_sub(max_end));
    }
    if after(sack.wrapping_add(win), other.max_end.wrapping_sub(1)) {
        other.max_end = sack.wrapping_add(win).wrapping_add(u32::from(win == 0));
    }
    if ack == other.end {
        other.flags &= !flag::DATA_UNACKNOWLEDGED;
    }

    if kind == Kind::Ack {
        let last = &mut track.last;
        if last.dir == dir && last.seq == seq && last.ack == ack && last.end == end && last.win == segment.window {
            track.retrans = track.retrans.saturating_add(1);
        } else {
            last.dir = dir;
            last.seq = seq;
            last.ack = ack;
            last.end = end;
            last.win = segment.window;
            track.retrans = 0;
        }
    }
    InWindow::Accept
}
