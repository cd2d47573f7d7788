//! TCP: `net/netfilter/nf_conntrack_proto_tcp.c`: the states of a connection as one in the middle guesses them.
//!
//! [`window`] decides whether a segment may belong to the connection; the table here says what it then means.

mod window;

#[cfg(test)]
mod tests;

use sim_core::SimTime;

use super::table::{Conn, Dir, Track, status};
use crate::sysctl::CtSysctls;
use crate::view::{be16, be32};
use window::{InWindow, Sender, in_window};

/// `enum tcp_conntrack`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub(crate) enum TcpState {
    /// Before its first packet.
    #[default]
    None,
    /// A SYN was seen.
    SynSent,
    /// A SYN and ACK was seen.
    SynRecv,
    /// An ACK was seen.
    Established,
    /// A FIN was seen.
    FinWait,
    /// The FIN was acknowledged.
    CloseWait,
    /// The other FIN was seen.
    LastAck,
    /// The last ACK was seen.
    TimeWait,
    /// Reset.
    Close,
    /// SYNs of both were seen.
    SynSent2,
}

impl TcpState {
    /// As `conntrack -L` has it.
    pub(crate) const NAMES: [&'static str; 10] =
        ["NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"];

    /// As `conntrack -L` has it.
    pub(crate) fn name(self) -> &'static str {
        TcpState::NAMES[self as usize]
    }
}

/// `enum tcp_bit_set`: what matters of a segment's flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    #[default]
    None,
}

/// What a segment does to the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Into this state.
    To(TcpState),
    /// Invalid.
    Iv,
    /// Let through: it may be right, and we wrong; the answer will tell.
    Ig,
}

/// `tcp_conntracks`: by direction, kind of segment and state.
#[rustfmt::skip]
const STEPS: [[[Step; 10]; 6]; 2] = {
    use Step::{Ig, Iv, To};
    const SS: Step = To(TcpState::SynSent);
    const SR: Step = To(TcpState::SynRecv);
    const ES: Step = To(TcpState::Established);
    const FW: Step = To(TcpState::FinWait);
    const CW: Step = To(TcpState::CloseWait);
    const LA: Step = To(TcpState::LastAck);
    const TW: Step = To(TcpState::TimeWait);
    const CL: Step = To(TcpState::Close);
    const S2: Step = To(TcpState::SynSent2);
    [
        // Original.  NONE SYN_S SYN_R ESTAB FIN_W CLO_W LAST_A TIME_W CLOSE SYN_S2
        [
            /* syn     */ [SS, SS, Ig, Ig, Ig, Ig, Ig, SS, SS, S2],
            /* syn+ack */ [Iv, Iv, Ig, Ig, Ig, Ig, Ig, Ig, Ig, SR],
            /* fin     */ [Iv, Iv, FW, FW, LA, LA, LA, TW, CL, Iv],
            /* ack     */ [ES, Iv, ES, ES, CW, CW, TW, TW, CL, Iv],
            /* rst     */ [Iv, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            /* none    */ [Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv],
        ],
        // Reply.
        [
            /* syn     */ [Iv, S2, Iv, Iv, Iv, Iv, Iv, SS, Iv, S2],
            /* syn+ack */ [Iv, SR, Ig, Ig, Ig, Ig, Ig, Ig, Ig, SR],
            /* fin     */ [Iv, Iv, FW, FW, LA, LA, LA, TW, CL, Iv],
            /* ack     */ [Iv, Ig, SR, ES, CW, CW, TW, TW, CL, Ig],
            /* rst     */ [Iv, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            /* none    */ [Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv, Iv],
        ],
    ]
};

/// `IP_CT_TCP_FLAG_*`, of one side.
mod flag {
    pub(super) const WINDOW_SCALE: u8 = 1;
    pub(super) const SACK_PERM: u8 = 1 << 1;
    pub(super) const CLOSE_INIT: u8 = 1 << 2;
    pub(super) const BE_LIBERAL: u8 = 1 << 3;
    pub(super) const DATA_UNACKNOWLEDGED: u8 = 1 << 4;
    pub(super) const MAXACK_SET: u8 = 1 << 5;
    /// Of the ignored segment: a challenge ACK may answer it (RFC 5961).
    pub(super) const EXP_CHALLENGE_ACK: u8 = 1 << 6;
    /// Of the connection: both opened.
    pub(super) const SIMULTANEOUS_OPEN: u8 = 1 << 7;
}

/// `struct ip_ct_tcp`.
#[derive(Clone, Debug)]
pub(crate) struct TcpTrack {
    /// State.
    pub(crate) state: TcpState,
    seen: [Sender; 2],
    last: Last,
    retrans: u8,
}

/// The segment before.
#[derive(Clone, Debug)]
struct Last {
    dir: Dir,
    kind: Kind,
    flags: u8,
    scale: u8,
    win: u16,
    seq: u32,
    ack: u32,
    end: u32,
}

impl Default for TcpTrack {
    fn default() -> TcpTrack {
        let last = Last { dir: Dir::Original, kind: Kind::None, flags: 0, scale: 0, win: 0, seq: 0, ack: 0, end: 0 };
        TcpTrack { state: TcpState::None, seen: [Sender::default(); 2], last, retrans: 0 }
    }
}

impl TcpTrack {
    /// Where the data of its first direction ends, as far as it was seen.
    pub(crate) fn original_end(&self) -> u32 {
        self.seen[0].end
    }
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    seq: u32,
    ack: u32,
    /// Sequence number behind it, SYN and FIN counted.
    end: u32,
    window: u16,
    flags: u8,
    options: &'a [u8],
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;

impl<'a> Segment<'a> {
    /// Reads a segment and refuses what `tcp_error` refuses: cut headers and senseless flags.
    pub(crate) fn read(l4: &'a [u8]) -> Option<Segment<'a>> {
        let header = usize::from(l4.get(12)? >> 4) * 4;
        if l4.len() < 20 || header < 20 || l4.len() < header {
            return None;
        }
        let flags = l4[13];
        let sensible = matches!(
            flags & (FIN | SYN | RST | ACK | URG),
            SYN | 34 | 18 | RST | 20 | 17 | 49 | ACK | 48 // syn, syn+urg, syn+ack, rst, rst+ack, fin+ack, fin+ack+urg, ack, ack+urg
        );
        if !sensible {
            return None;
        }
        let seq = be32(l4, 4);
        let counted = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(Segment {
            seq,
            ack: be32(l4, 8),
            end: seq.wrapping_add((l4.len() - header) as u32).wrapping_add(counted),
            window: be16(l4, 14),
            flags,
            options: &l4[20..header],
        })
    }

    fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// `get_conntrack_index`.
    fn kind(&self) -> Kind {
        match () {
            () if self.has(RST) => Kind::Rst,
            () if self.has(SYN) && self.has(ACK) => Kind::SynAck,
            () if self.has(SYN) => Kind::Syn,
            () if self.has(FIN) => Kind::Fin,
            () if self.has(ACK) => Kind::Ack,
            () => Kind::None,
        }
    }
}

/// What becomes of a packet, as the tracker of its protocol says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tracked {
    /// It belongs to the connection.
    Accept,
    /// It belongs to it, and ends it.
    Kill,
    /// It fits no connection.
    Invalid,
    /// It opens a new connection in the place of this one, which is over.
    Reopen,
}

/// `tcp_new`: whether a segment may begin a connection, and what is known then.
fn new(segment: &Segment<'_>, sysctls: &CtSysctls) -> Option<TcpTrack> {
    let mut track = TcpTrack::default();
    match STEPS[0][segment.kind() as usize][TcpState::None as usize] {
        Step::To(TcpState::SynSent) => {
            track.seen[0].end = segment.end;
            track.seen[0].max_win = u32::from(segment.window).max(1);
            track.seen[0].max_end = segment.end;
            track.seen[0].read_options(segment);
        }
        Step::To(_) if sysctls.tcp_loose => {
            // In the middle of a connection: whose windows nobody told us.
            track.seen[0].end = segment.end;
            track.seen[0].max_win = u32::from(segment.window).max(1);
            track.seen[0].max_end = segment.end.wrapping_add(track.seen[0].max_win);
            for side in &mut track.seen {
                side.flags = flag::SACK_PERM | flag::BE_LIBERAL;
            }
        }
        _ => return None,
    }
    Some(track)
}

/// `nf_conntrack_tcp_packet`.
pub(crate) fn packet(conn: &mut Conn, dir: Dir, l4: &[u8], sysctls: &CtSysctls, now: SimTime) -> Tracked {
    let Some(segment) = Segment::read(l4) else { return Tracked::Invalid };
    if !conn.has(status::CONFIRMED) {
        match new(&segment, sysctls) {
            Some(track) => conn.track = Track::Tcp(track),
            None => return Tracked::Invalid,
        }
    }
    let (bits, expires_in) = (conn.status, conn.expires_in(now));
    let Track::Tcp(track) = &mut conn.track else { return Tracked::Invalid };
    let kind = segment.kind();
    let (seen_reply, assured) = (bits & status::SEEN_REPLY != 0, bits & status::ASSURED != 0);
    let (mine, theirs) = (dir as usize, dir.other() as usize);
    let mut old = track.state;
    let mut step = STEPS[mine][kind as usize][old as usize];

    if step == Step::To(TcpState::SynSent) && old >= TcpState::TimeWait {
        let closed = (track.seen[0].flags | track.seen[1].flags) & flag::CLOSE_INIT != 0;
        let aborted = track.last.dir == dir && track.last.kind == Kind::Rst;
        if closed || aborted {
            return Tracked::Reopen;
        }
        step = Step::Ig;
    }
    let mut new = match step {
        Step::To(new) => new,
        Step::Iv => return Tracked::Invalid,
        Step::Ig => {
            let answers_ignored =
                kind == Kind::SynAck && track.last.kind == Kind::Syn && track.last.dir != dir && segment.ack == track.last.end;
            if !answers_ignored {
                track.note_ignored(&segment, dir, old);
                return Tracked::Accept;
            }
            // The answer to a SYN that we had let through: both ends agree, and we were wrong.
            let side = &mut track.seen[track.last.dir as usize];
            side.end = track.last.end;
            side.max_end = track.last.end;
            side.max_win = u32::from(track.last.win).max(1);
            side.scale = track.last.scale;
            track.last.flags &= !flag::EXP_CHALLENGE_ACK;
            side.flags = track.last.flags;
            track.seen[mine] = Sender::default();
            old = TcpState::SynSent;
            TcpState::SynRecv
        }
    };

    let mut sure = false;
    match new {
        TcpState::TimeWait => {
            let challenge = old == TcpState::LastAck
                && kind == Kind::Ack
                && track.last.dir != dir
                && track.last.kind == Kind::Syn
                && track.last.flags & flag::EXP_CHALLENGE_ACK != 0;
            if challenge {
                track.last.flags &= !flag::EXP_CHALLENGE_ACK;
                return Tracked::Accept;
            }
        }
        TcpState::SynSent2 => track.last.flags |= flag::SIMULTANEOUS_OPEN,
        TcpState::SynRecv if dir == Dir::Reply && kind == Kind::Ack && track.last.flags & flag::SIMULTANEOUS_OPEN != 0 => {
            new = TcpState::Established;
        }
        TcpState::Close if kind == Kind::Rst => match track.reset(&segment, dir, (seen_reply, assured), sysctls) {
            Reset::Closes => {}
            Reset::ClosesSurely => sure = true,
            Reset::Keeps => new = old,
            Reset::KeepsSurely => {
                new = old;
                sure = true;
            }
            Reset::Invalid => return Tracked::Invalid,
        },
        _ => {}
    }

    if !sure {
        match in_window(track, dir, kind, &segment, sysctls.tcp_be_liberal) {
            InWindow::Accept => {}
            InWindow::Ignore => return Tracked::Accept,
            InWindow::Invalid => {
                // A connection out of step must not live for five days (nf_tcp_handle_invalid).
                if assured && bits & status::FIXED_TIMEOUT == 0 && matches!(kind, Kind::Rst | Kind::Fin) {
                    let unacked = SimTime::from_secs(u64::from(sysctls.tcp_timeout_unacknowledged));
                    if track.last.dir != dir && matches!(track.last.kind, Kind::Fin | Kind::Rst) {
                        if expires_in >= SimTime::from_secs(120) && expires_in > unacked {
                            conn.timeout = SimTime(now.0.saturating_add(unacked.0));
                        }
                    } else {
                        track.last.kind = kind;
                        track.last.dir = dir;
                    }
                }
                return Tracked::Invalid;
            }
        }
    }

    track.last.kind = kind;
    track.last.dir = dir;
    track.state = new;
    if old != new && new == TcpState::FinWait {
        track.seen[mine].flags |= flag::CLOSE_INIT;
    }
    let mut timeout = timeout_of(new, sysctls);
    let unacked = (track.seen[mine].flags | track.seen[theirs].flags) & flag::DATA_UNACKNOWLEDGED != 0;
    if track.retrans >= sysctls.tcp_max_retrans && timeout > sysctls.tcp_timeout_max_retrans {
        timeout = sysctls.tcp_timeout_max_retrans;
    } else if kind == Kind::Rst {
        timeout = sysctls.tcp_timeout_close;
    } else if unacked && timeout > sysctls.tcp_timeout_unacknowledged {
        timeout = sysctls.tcp_timeout_unacknowledged;
    } else if track.last.win == 0 && timeout > sysctls.tcp_timeout_max_retrans {
        timeout = sysctls.tcp_timeout_max_retrans;
    }

    if !seen_reply {
        // The only answer is a reset: no connection came about.
        if kind == Kind::Rst {
            return Tracked::Kill;
        }
        // A SYN once more does not keep the entry alive.
        if kind == Kind::Syn && old == TcpState::SynSent {
            return Tracked::Accept;
        }
        // Picked up in the middle: not for five days.
        if new == TcpState::Established {
            timeout = timeout.min(sysctls.tcp_timeout_unacknowledged);
        }
    } else if !assured && matches!(old, TcpState::SynRecv | TcpState::Established) && new == TcpState::Established {
        conn.status |= status::ASSURED;
    }
    conn.refresh(now, timeout);
    Tracked::Accept
}

/// What a reset means.
enum Reset {
    /// The end, if it is in the window.
    Closes,
    /// The end; the window is not asked.
    ClosesSurely,
    /// Its number is not the exact one: the state stays, in case of a challenge ACK.
    Keeps,
    /// So, without asking the window.
    KeepsSurely,
    /// A forgery, or a late one.
    Invalid,
}

impl TcpTrack {
    fn reset(&self, segment: &Segment<'_>, dir: Dir, (seen_reply, assured): (bool, bool), sysctls: &CtSysctls) -> Reset {
        let theirs = &self.seen[dir.other() as usize];
        let established = self.state == TcpState::Established && assured;
        let mut keeps = false;
        // Closing: the ports may be in use again by others, and what was remembered of the windows means nothing.
        if matches!(self.state, TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck | TcpState::TimeWait | TcpState::Close)
        {
            return Reset::ClosesSurely;
        }
        // After a SYN that was let through the largest acknowledgement may be that of another connection.
        if theirs.flags & flag::MAXACK_SET != 0 && self.last.kind != Kind::Syn {
            if segment.seq == 0 && !established {
                return Reset::Closes;
            }
            if window::before(segment.seq, theirs.max_ack) && !sysctls.tcp_ignore_invalid_rst {
                return Reset::Invalid;
            }
            if !established || segment.seq == theirs.max_ack {
                return Reset::Closes;
            }
            if self.last.kind == Kind::Ack && self.last.dir == dir && segment.seq == self.last.end {
                return Reset::Closes;
            }
            keeps = true;
        }
        let answers_ignored = ((seen_reply && self.last.kind == Kind::Syn) || (!assured && self.last.kind == Kind::Ack))
            && segment.ack == self.last.end;
        let answers_challenge = self.state == TcpState::SynSent
            && self.last.kind == Kind::Ack
            && self.last.dir == Dir::Reply
            && segment.seq == self.last.ack;
        match (keeps, answers_ignored || answers_challenge) {
            (false, false) => Reset::Closes,
            (false, true) => Reset::ClosesSurely,
            (true, false) => Reset::Keeps,
            (true, true) => Reset::KeepsSurely,
        }
    }

    /// What is remembered of a segment that was let through against the state.
    fn note_ignored(&mut self, segment: &Segment<'_>, dir: Dir, old: TcpState) {
        let kind = segment.kind();
        self.last.kind = kind;
        self.last.dir = dir;
        self.last.seq = segment.seq;
        self.last.end = segment.end;
        self.last.win = segment.window;
        if kind == Kind::Syn && dir == Dir::Original {
            let mut side = Sender::default();
            side.read_options(segment);
            self.last.flags = side.flags & (flag::WINDOW_SCALE | flag::SACK_PERM);
            self.last.scale = if side.flags & flag::WINDOW_SCALE != 0 { side.scale } else { 0 };
            if old == TcpState::LastAck {
                self.last.flags |= flag::EXP_CHALLENGE_ACK;
            }
        }
        if old == TcpState::SynSent && kind == Kind::Ack && dir == Dir::Reply {
            self.last.ack = segment.ack;
        }
    }
}

/// Seconds that a state lives without a packet.
fn timeout_of(state: TcpState, sysctls: &CtSysctls) -> u32 {
    match state {
        TcpState::None | TcpState::SynSent | TcpState::SynSent2 => sysctls.tcp_timeout_syn_sent,
        TcpState::SynRecv => sysctls.tcp_timeout_syn_recv,
        TcpState::Established => sysctls.tcp_timeout_established,
        TcpState::FinWait => sysctls.tcp_timeout_fin_wait,
        TcpState::CloseWait => sysctls.tcp_timeout_close_wait,
        TcpState::LastAck => sysctls.tcp_timeout_last_ack,
        TcpState::TimeWait => sysctls.tcp_timeout_time_wait,
        TcpState::Close => sysctls.tcp_timeout_close,
    }
}
