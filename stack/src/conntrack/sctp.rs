//! SCTP: `net/netfilter/nf_conntrack_proto_sctp.c`: the states of an association, and its verification tags.

#[cfg(test)]
mod tests;

use sim_core::SimTime;

use super::table::{Conn, Dir, Track, status};
use super::tcp::Tracked;
use crate::sysctl::CtSysctls;
use crate::view::{be16, be32};

/// `enum sctp_conntrack`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub(crate) enum SctpState {
    #[default]
    None,
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownRecd,
    ShutdownAckSent,
    HeartbeatSent,
}

impl SctpState {
    /// As `conntrack -L` has it.
    pub(crate) const NAMES: [&'static str; 9] = [
        "NONE",
        "CLOSED",
        "COOKIE_WAIT",
        "COOKIE_ECHOED",
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "SHUTDOWN_RECD",
        "SHUTDOWN_ACK_SENT",
        "HEARTBEAT_SENT",
    ];

    /// As `conntrack -L` has it.
    pub(crate) fn name(self) -> &'static str {
        SctpState::NAMES[self as usize]
    }
}

/// `struct ip_ct_sctp`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SctpTrack {
    /// State.
    pub(crate) state: SctpState,
    vtag: [u32; 2],
    init: [bool; 2],
    heartbeat_failed: Option<usize>,
}

mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// `sctp_conntracks`: by direction, chunk and state; none: invalid.
#[rustfmt::skip]
const STEPS: [[[Option<SctpState>; 9]; 11]; 2] = {
    const CL: Option<SctpState> = Some(SctpState::Closed);
    const CW: Option<SctpState> = Some(SctpState::CookieWait);
    const CE: Option<SctpState> = Some(SctpState::CookieEchoed);
    const ES: Option<SctpState> = Some(SctpState::Established);
    const SS: Option<SctpState> = Some(SctpState::ShutdownSent);
    const SR: Option<SctpState> = Some(SctpState::ShutdownRecd);
    const SA: Option<SctpState> = Some(SctpState::ShutdownAckSent);
    const HS: Option<SctpState> = Some(SctpState::HeartbeatSent);
    const IV: Option<SctpState> = None;
    [
        // Original.           NO  CL  CW  CE  ES  SS  SR  SA  HS
        [
            /* init          */ [CL, CL, CW, CE, ES, CL, CL, SA, CW],
            /* init ack      */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            /* abort         */ [CL, CL, CL, CL, CL, CL, CL, CL, CL],
            /* shutdown      */ [CL, CL, CW, CE, SS, SS, SR, SA, CL],
            /* shutdown ack  */ [SA, CL, CW, CE, ES, SA, SA, SA, SA],
            /* error         */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            /* cookie echo   */ [CL, CL, CE, CE, ES, SS, SR, SA, CL],
            /* cookie ack    */ [CL, CL, CW, ES, ES, SS, SR, SA, CL],
            /* shutdown comp */ [CL, CL, CW, CE, ES, SS, SR, CL, CL],
            /* heartbeat     */ [HS, CL, CW, CE, ES, SS, SR, SA, HS],
            /* heartbeat ack */ [CL, CL, CW, CE, ES, SS, SR, SA, HS],
        ],
        // Reply.
        [
            /* init          */ [IV, CL, CW, CE, ES, SS, SR, SA, IV],
            /* init ack      */ [IV, CW, CW, CE, ES, SS, SR, SA, IV],
            /* abort         */ [IV, CL, CL, CL, CL, CL, CL, CL, IV],
            /* shutdown      */ [IV, CL, CW, CE, SR, SS, SR, SA, IV],
            /* shutdown ack  */ [IV, CL, CW, CE, ES, SA, SA, SA, IV],
            /* error         */ [IV, CL, CW, CL, ES, SS, SR, SA, IV],
            /* cookie echo   */ [IV, CL, CE, CE, ES, SS, SR, SA, IV],
            /* cookie ack    */ [IV, CL, CW, ES, ES, SS, SR, SA, IV],
            /* shutdown comp */ [IV, CL, CW, CE, ES, SS, SR, CL, IV],
            /* heartbeat     */ [IV, CL, CW, CE, ES, SS, SR, SA, HS],
            /* heartbeat ack */ [IV, CL, CW, CE, ES, SS, SR, SA, ES],
        ],
    ]
};

fn step(dir: Dir, state: SctpState, kind: u8) -> Option<SctpState> {
    let row = match kind {
        chunk::INIT => 0,
        chunk::INIT_ACK => 1,
        chunk::ABORT => 2,
        chunk::SHUTDOWN => 3,
        chunk::SHUTDOWN_ACK => 4,
        chunk::ERROR => 5,
        chunk::COOKIE_ECHO => 6,
        chunk::COOKIE_ACK => 7,
        chunk::SHUTDOWN_COMPLETE => 8,
        chunk::HEARTBEAT => 9,
        chunk::HEARTBEAT_ACK => 10,
        // DATA, SACK and others change nothing.
        _ => return Some(state),
    };
    STEPS[dir as usize][row][state as usize]
}

/// A chunk: its type, its flags, and what follows its header.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    kind: u8,
    flags: u8,
    length: u16,
    rest: &'a [u8],
}

/// `for_each_sctp_chunk`.
fn chunks(l4: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut at = 12;
    // Bounded: every step is at least 4 bytes, or the last.
    std::iter::from_fn(move || {
        let header = l4.get(at..at + 4)?;
        let length = be16(header, 2);
        let rest = &l4[at + 4..];
        at = if length == 0 { l4.len() } else { at + usize::from(length).next_multiple_of(4) };
        Some(Chunk { kind: header[0], flags: header[1], length, rest })
    })
}

/// `do_basic_checks`: the kinds of chunks as bits; none where they do not go together.
fn kinds(l4: &[u8]) -> Option<u64> {
    let (mut map, mut alone) = (0, false);
    for (count, chunk) in chunks(l4).enumerate() {
        alone |= matches!(chunk.kind, chunk::INIT | chunk::INIT_ACK | chunk::SHUTDOWN_COMPLETE);
        let first = alone || matches!(chunk.kind, chunk::COOKIE_ACK | chunk::COOKIE_ECHO);
        if chunk.length == 0 || (first && count != 0) {
            return None;
        }
        if chunk.kind < 64 {
            map |= 1 << chunk.kind;
        }
    }
    (chunks(l4).next().is_some()).then_some(map)
}

/// `sctp_new`.
fn new(l4: &[u8], vtag: u32) -> Option<SctpTrack> {
    let mut track = SctpTrack::default();
    for chunk in chunks(l4) {
        step(Dir::Original, SctpState::None, chunk.kind).filter(|&state| state != SctpState::None)?;
        match chunk.kind {
            chunk::INIT if vtag != 0 => return None,
            chunk::INIT => track.vtag[1] = init_tag(&chunk)?,
            chunk::HEARTBEAT => track.vtag[0] = vtag,
            _ => track.vtag[1] = vtag,
        }
    }
    Some(track)
}

/// The initiate tag of an INIT or INIT ACK.
fn init_tag(chunk: &Chunk<'_>) -> Option<u32> {
    (chunk.rest.len() >= 16).then(|| be32(chunk.rest, 0))
}

/// `nf_conntrack_sctp_packet`.
pub(crate) fn packet(conn: &mut Conn, dir: Dir, l4: &[u8], sysctls: &CtSysctls, now: SimTime) -> Tracked {
    match association(conn, dir, l4) {
        None => Tracked::Invalid,
        Some(None) => Tracked::Accept,
        Some(Some(state)) => {
            conn.refresh(now, timeout_of(state, sysctls));
            Tracked::Accept
        }
    }
}

/// The state afterwards; inner none: accepted, but its life is not prolonged; outer none: invalid.
fn association(conn: &mut Conn, dir: Dir, l4: &[u8]) -> Option<Option<SctpState>> {
    if l4.len() < 12 {
        return None;
    }
    let map = kinds(l4)?;
    let has = |kind: u8| map & 1 << kind != 0;
    let vtag = be32(l4, 4);
    let confirmed = conn.has(status::CONFIRMED);
    if !confirmed {
        if has(chunk::ABORT) || has(chunk::SHUTDOWN_COMPLETE) || has(chunk::COOKIE_ACK) {
            return None;
        }
        conn.track = Track::Sctp(new(l4, vtag)?);
    }
    let Track::Sctp(track) = &mut conn.track else { return None };
    let (mine, theirs) = (dir as usize, dir.other() as usize);
    let exempt = [
        chunk::INIT,
        chunk::SHUTDOWN_COMPLETE,
        chunk::COOKIE_ECHO,
        chunk::ABORT,
        chunk::SHUTDOWN_ACK,
        chunk::HEARTBEAT,
        chunk::HEARTBEAT_ACK,
    ];
    if !exempt.iter().any(|&kind| has(kind)) && vtag != track.vtag[mine] {
        return None;
    }
    let (mut state, mut ignore, mut assured) = (SctpState::None, false, false);
    for chunk in chunks(l4) {
        match chunk.kind {
            chunk::INIT if vtag != 0 => return None,
            chunk::ABORT | chunk::SHUTDOWN_COMPLETE => {
                // With T set it carries the peer's tag.
                let expected = if chunk.flags & 1 != 0 { track.vtag[theirs] } else { track.vtag[mine] };
                if vtag != expected {
                    return None;
                }
            }
            chunk::COOKIE_ECHO if vtag != track.vtag[mine] => return None,
            chunk::COOKIE_ACK => track.init = [false; 2],
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if track.vtag[mine] == 0 => track.vtag[mine] = vtag,
            chunk::HEARTBEAT if vtag != track.vtag[mine] => {
                if has(chunk::DATA) || ignore {
                    return None;
                }
                track.heartbeat_failed = Some(mine);
                ignore = true;
                continue;
            }
            chunk::HEARTBEAT_ACK if vtag != track.vtag[mine] => {
                if has(chunk::DATA) || ignore || track.heartbeat_failed.is_none_or(|last| last == mine) {
                    return None;
                }
                track.heartbeat_failed = None;
                track.vtag[mine] = vtag;
                track.vtag[theirs] = 0;
            }
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK => track.heartbeat_failed = None,
            _ => {}
        }
        let old = track.state;
        let new = step(dir, old, chunk.kind)?;
        match chunk.kind {
            chunk::INIT => {
                let tag = init_tag(&chunk)?;
                if track.init[mine] && track.init[theirs] {
                    track.init[theirs] = false;
                }
                track.init[mine] = true;
                track.vtag[theirs] = tag;
                ignore |= new == SctpState::Closed && old == SctpState::Closed && confirmed;
            }
            chunk::INIT_ACK => {
                let tag = init_tag(&chunk)?;
                let known = track.vtag[theirs];
                let collision = track.init[mine] && track.init[theirs] && known != tag;
                if (!track.init[theirs] && known != 0 && known != tag) || collision {
                    return None;
                }
                track.vtag[theirs] = tag;
            }
            _ => {}
        }
        track.state = new;
        state = new;
        assured |= old != new && new == SctpState::Established;
    }
    if assured {
        conn.status |= status::ASSURED;
    }
    Some((!ignore).then_some(state))
}

fn timeout_of(state: SctpState, sysctls: &CtSysctls) -> u32 {
    match state {
        SctpState::None | SctpState::Closed => sysctls.sctp_timeout_closed,
        SctpState::CookieWait => sysctls.sctp_timeout_cookie_wait,
        SctpState::CookieEchoed => sysctls.sctp_timeout_cookie_echoed,
        SctpState::Established => sysctls.sctp_timeout_established,
        SctpState::ShutdownSent => sysctls.sctp_timeout_shutdown_sent,
        SctpState::ShutdownRecd => sysctls.sctp_timeout_shutdown_recd,
        SctpState::ShutdownAckSent => sysctls.sctp_timeout_shutdown_ack_sent,
        SctpState::HeartbeatSent => sysctls.sctp_timeout_heartbeat_sent,
    }
}
