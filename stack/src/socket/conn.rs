//! What belongs to one TCP connection: its smoltcp socket and interface, the clock between the two times, and our own notes.
//!
//! smoltcp's clock runs five times as fast as ours once a connection is established, because its smallest RTO is 1 s and
//! Linux' is 200 ms; until then it stands still, and only the measured round trip of the handshake is let through to it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;

use sim_core::{PacketId, SimTime};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket as SmolSocket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;

use crate::socket::TcpState;
use crate::socket::output::{self, PollDevice};

/// Receive buffer: the window of a fresh Linux socket.
const RX_BUFFER: usize = 64_240;
/// Send buffer, and so the most that is in flight: about Linux' first flight of ten segments.
const TX_BUFFER: usize = 16_384;
/// smoltcp's seconds in one of ours.
pub(super) const CLOCK_FACTOR: u64 = 5;
/// The longest round trip of a handshake that smoltcp is told, in its time: less than its RTO.
pub(super) const MAX_HANDSHAKE_US: i64 = 999_000;
/// Segments whose packets are remembered, for the parents of retransmissions.
pub(super) const SENT_LIMIT: usize = 64;
/// `TCP_MAX_QUICKACKS`: pure acknowledgements at once before they are delayed.
const QUICK_ACKS: u8 = 16;
/// `TCP_ATO_MIN`, `TCP_DELACK_MIN`: what is sent this soon after data came is an answer, and how long an acknowledgement waits for one.
pub(super) const DELAYED_ACK: SimTime = SimTime::from_millis(40);

thread_local! {
    /// What smoltcp's next segment has as its timestamp. smoltcp asks a function without arguments; this is set before each poll.
    pub(super) static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
}

/// A connection.
pub(crate) struct Conn {
    pub(super) set: SocketSet<'static>,
    pub(super) handle: SocketHandle,
    pub(super) iface: Interface,
    pub(super) mtu: usize,
    pub(super) seed: u64,
    pub(super) clock: Clock,
    /// The state as of the last poll.
    pub(crate) shown: TcpState,
    /// Whether we called `connect()`.
    pub(super) active: bool,
    /// Whose SYN queue it is in.
    pub(super) listener: Option<u32>,
    /// Whether its process has closed it.
    pub(super) orphan: bool,
    /// The SYN or SYN-ACK, its packet, when it was last sent, and how often again.
    pub(super) syn: Vec<u8>,
    pub(super) syn_packet: Option<PacketId>,
    pub(super) syn_at: SimTime,
    pub(super) syn_retries: u32,
    /// `snd_nxt` at its highest, `rcv_nxt` and window as last sent.
    pub(crate) snd_max: Option<u32>,
    pub(crate) rcv_nxt: u32,
    pub(crate) window: u16,
    /// First sequence number and packet of the segments last sent.
    pub(super) sent: VecDeque<(u32, PacketId)>,
    /// Timestamps of the segment that was sent last: ours, and the one that it echoed.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// The highest acknowledgement that came, and whether it was news (`sk_dst_pending_confirm`): the next hop is there.
    pub(super) acked: Option<u32>,
    pub(super) confirm: bool,
    /// When data last came.
    pub(super) data_at: Option<SimTime>,
    /// Acknowledgements still to be sent at once (`icsk_ack.quick`), and whether the app answers what comes (`pingpong`): then an
    /// acknowledgement waits for the answer.
    pub(super) quick: u8,
    /// Since when nothing more was acknowledged, and what was outstanding then.
    pub(super) stuck: Option<(SimTime, usize, TcpState)>,
    /// Bytes in the send buffer as of the last poll.
    pub(super) queued: usize,
    /// Since when it is in FIN-WAIT-2.
    pub(super) fin_wait2: Option<SimTime>,
}

/// smoltcp's time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// When it began to run; until then it stands at `base`.
    pub(super) started: Option<SimTime>,
    /// Microseconds that it showed then.
    pub(super) base: i64,
}

impl Clock {
    pub(super) fn at(&self, now: SimTime) -> Instant {
        let ran = self.started.map_or(0, |start| now.since(start).as_nanos() / (1_000 / CLOCK_FACTOR));
        Instant::from_micros(self.base + ran as i64)
    }

    /// Our time of a time of smoltcp's: exact, since a microsecond of its is a whole number of our nanoseconds.
    pub(super) fn ours(&self, at: Instant) -> SimTime {
        let ahead = (at.total_micros() - self.base).max(0) as u64;
        self.started.map_or(SimTime::MAX, |start| start + SimTime(ahead * (1_000 / CLOCK_FACTOR)))
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("state", &self.shown)
            .field("mtu", &self.mtu)
            .field("orphan", &self.orphan)
            .finish_non_exhaustive()
    }
}

impl Conn {
    pub(super) fn new(seed: u64, mtu: usize, state: TcpState) -> Conn {
        let mut socket = SmolSocket::new(SocketBuffer::new(vec![0; RX_BUFFER]), SocketBuffer::new(vec![0; TX_BUFFER]));
        socket.set_ack_delay(None);
        socket.set_tsval_generator(Some(|| TIMESTAMP.get()));
        socket.set_congestion_control(CongestionControl::None);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Conn {
            set,
            handle,
            iface: interface(seed, mtu, Instant::ZERO),
            mtu,
            seed,
            clock: Clock::default(),
            shown: state,
            active: false,
            listener: None,
            orphan: false,
            syn: Vec::new(),
            syn_packet: None,
            syn_at: SimTime::ZERO,
            syn_retries: 0,
            snd_max: None,
            rcv_nxt: 0,
            window: 0,
            sent: VecDeque::new(),
            timestamps: None,
            acked: None,
            confirm: false,
            data_at: None,
            quick: QUICK_ACKS,
            stuck: None,
            queued: 0,
            fin_wait2: None,
        }
    }

    pub(super) fn smol(&self) -> &SmolSocket<'static> {
        self.set.get(self.handle)
    }

    pub(super) fn smol_mut(&mut self) -> &mut SmolSocket<'static> {
        self.set.get_mut(self.handle)
    }

    /// `tcp_time_stamp_ms`: milliseconds, from where the seed puts their start.
    pub(super) fn timestamp(&self, now: SimTime) -> u32 {
        (self.seed as u32).wrapping_add((now.as_nanos() / 1_000_000) as u32)
    }

    /// Leaves quickack mode.
    pub(super) fn delay_acks(&mut self) {
        self.quick = 0;
        let delay = DELAYED_ACK.as_micros() * CLOCK_FACTOR;
        self.smol_mut().set_ack_delay(Some(smoltcp::time::Duration::from_micros(delay)));
    }

    /// Sent or to be sent, and not acknowledged.
    pub(super) fn outstanding(&self) -> usize {
        let fin = matches!(self.shown, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck);
        self.smol().send_queue() + usize::from(fin)
    }
}

pub(super) fn interface(seed: u64, mtu: usize, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut none = output::TxQueue::default();
    let mut iface = Interface::new(config, &mut PollDevice { rx: None, tx: &mut none, mtu }, now);
    iface.set_any_ip(true);
    iface
}
