use super::*;
use crate::choice::{Purpose, hash};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Said {
    Number(u64),
    Bytes(u8, Snap),
}

impl TraceRecord for Said {
    fn snap_mut(&mut self) -> Option<&mut Snap> {
        match self {
            Said::Number(_) => None,
            Said::Bytes(_, snap) => Some(snap),
        }
    }
}

type Whole = (SimTime, NodeId, PacketId, Said);

fn whole(stamped: Stamped<Said>) -> Whole {
    (stamped.time, stamped.node, stamped.packet, stamped.record)
}

fn write(tracer: &mut Tracer<Said>, time: SimTime, node: NodeId, packet: PacketId, mut record: Said) {
    let snap = record.snap_mut().map(std::mem::take);
    tracer.push(time, node, packet, &record, snap);
}

/// Writes records of which many are alike, some are not, and sequences part and meet again.
fn scribble(tracer: &mut Tracer<Said>, seed: u64, count: u64) -> Vec<Whole> {
    let mut model = Vec::new();
    let mut time = 1 << 40;
    for at in 0..count {
        let draw = |what: u16, below: u64| hash(seed, Purpose(what), at, 0) % below;
        time += draw(0, 3) / 2 + u64::from(at % 500 == 499) * (5 << 32);
        let (node, packet) = (NodeId((draw(1, 40) / 12) as u32), PacketId((at / 9) as u32));
        let record = match draw(2, 12) {
            0..=6 => Said::Number(at % 9),
            7 => Said::Number(at << 20),
            _ => Said::Bytes((at % 4) as u8, tracer.keep(&at.to_be_bytes(), 3)),
        };
        write(tracer, SimTime(time), node, packet, record);
        model.push((SimTime(time), node, packet, record));
    }
    model
}

#[test]
fn records_come_back_as_they_were_written_from_wherever_one_begins_to_read() {
    let mut tracer = Tracer::new(TraceMode::Frames);
    for round in 0..3 {
        let model = scribble(&mut tracer, round, 3_000);
        let records = tracer.records();
        assert_eq!(records.len(), model.len());
        assert_eq!(records.iter().map(whole).collect::<Vec<_>>(), model);
        for from in (0..model.len()).step_by(37) {
            assert_eq!(records.get(from).map(whole), Some(model[from]));
            assert_eq!(records.skip(from).iter().map(whole).collect::<Vec<_>>(), model[from..]);
            assert_eq!(records.skip(from).len(), model.len() - from);
        }
        assert!(records.get(model.len()).is_none() && records.skip(model.len() + 1).is_empty());
        for (at, (.., record)) in model.iter().enumerate() {
            if let Said::Bytes(_, snap) = record {
                assert_eq!((&*tracer.bytes(*snap), snap.full), (&(at as u64).to_be_bytes()[..3], 8));
            }
        }
        tracer.clear();
        assert!(tracer.records().is_empty() && tracer.records().iter().next().is_none());
    }
}

#[test]
fn a_limit_cuts_the_trace_and_says_so() {
    let mut tracer = Tracer::new(TraceMode::Headers);
    tracer.set_limit(100);
    let model = scribble(&mut tracer, 1, 200);
    assert!(tracer.truncated());
    assert_eq!(tracer.records().iter().map(whole).collect::<Vec<_>>(), model[..100]);
}

#[test]
fn records_that_are_alike_take_no_room_of_their_own() {
    let mut tracer = Tracer::new(TraceMode::Headers);
    for packet in 0..10_000 {
        for number in 0..7 {
            write(&mut tracer, SimTime(u64::from(packet)), NodeId(packet % 8), PacketId(packet), Said::Number(number));
        }
    }
    assert_eq!(tracer.records().len(), 70_000);
    assert_eq!(tracer.sequences.len(), (7, 7 + 1));
}

#[test]
fn a_frame_comes_back_whatever_changed_since_it_was_first_sent() {
    for mode in [TraceMode::Headers, TraceMode::Frames] {
        let mut tracer: Tracer<Said> = Tracer::new(mode);
        for length in [1, 7, 8, 60, 106, 127, 128, 129, 200, 1514] {
            let frame: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut packet = Packet::new(PacketId(0), Vec::new(), &frame);
            let mut model = Vec::new();
            for round in 0..60u64 {
                let snap = tracer.keep_sent(&mut packet);
                model.push((snap, packet.bytes().to_vec()));
                assert_eq!(tracer.take_sent(&mut packet), Some(snap));
                assert_eq!(tracer.take_sent(&mut packet), None, "taken once");
                for change in 0..hash(1, Purpose(9), round, 0) % 12 {
                    let at = hash(2, Purpose(9), round, change) as usize % packet.len();
                    packet.bytes_mut()[at] ^= 0x55;
                }
                match round {
                    20 => packet.put(b"longer"),
                    30 => packet.push(8)[0] = 1,
                    40 => packet.pull(10),
                    50 => packet.trim(5),
                    _ => {}
                }
                if packet.is_empty() {
                    break;
                }
            }
            for (snap, bytes) in model {
                let kept = if mode == TraceMode::Headers { bytes.len().min(HEADER_SNAP) } else { bytes.len() };
                assert_eq!((&*tracer.bytes(snap), usize::from(snap.full)), (&bytes[..kept], bytes.len()));
            }
        }
    }
}

#[test]
fn what_a_packet_remembers_of_a_trace_that_was_cleared_is_void() {
    let mut tracer: Tracer<Said> = Tracer::new(TraceMode::Headers);
    let mut packet = Packet::new(PacketId(0), Vec::new(), &[7; 64]);
    tracer.keep_sent(&mut packet);
    tracer.clear();
    assert_eq!(tracer.take_sent(&mut packet), None);
    let snap = tracer.keep_sent(&mut packet);
    assert_eq!(&*tracer.bytes(snap), [7; 64]);
}

#[test]
fn records_are_written_once_more_only_where_they_would_be_the_same() {
    let mut tracer = Tracer::new(TraceMode::Headers);
    let (time, node) = (SimTime(5), NodeId(1));
    let numbers =
        |tracer: &Tracer<Said>| tracer.records().iter().map(|stamped| (stamped.packet.0, stamped.record)).collect::<Vec<_>>();
    write(&mut tracer, time, node, PacketId(1), Said::Number(1));
    let from = tracer.mark(time, node, PacketId(1));
    write(&mut tracer, time, node, PacketId(1), Said::Number(2));
    write(&mut tracer, time, node, PacketId(1), Said::Number(3));
    let memo = tracer.since(from, tracer.mark(time, node, PacketId(1)));
    assert!(!tracer.replay(time, node, PacketId(1), memo), "elsewhere in the sequence");
    write(&mut tracer, time, node, PacketId(2), Said::Number(1));
    assert!(!tracer.replay(SimTime(6), node, PacketId(2), memo), "another time");
    assert!(!tracer.replay(time, node, PacketId(3), memo), "another packet");
    assert!(tracer.replay(time, node, PacketId(2), memo));
    assert_eq!(
        numbers(&tracer),
        [1, 2].into_iter().flat_map(|packet| [1, 2, 3].map(|n| (packet, Said::Number(n)))).collect::<Vec<_>>()
    );
    tracer.set_limit(8);
    write(&mut tracer, time, node, PacketId(4), Said::Number(1));
    assert!(!tracer.replay(time, node, PacketId(4), memo), "no room for all of it");
    tracer.clear();
    write(&mut tracer, time, node, PacketId(5), Said::Number(1));
    assert!(!tracer.replay(time, node, PacketId(5), memo), "forgotten");
    let from = tracer.mark(time, node, PacketId(5));
    let snap = tracer.keep(b"bytes", 5);
    write(&mut tracer, time, node, PacketId(5), Said::Bytes(0, snap));
    let memo = tracer.since(from, tracer.mark(time, node, PacketId(5)));
    write(&mut tracer, time, node, PacketId(6), Said::Number(1));
    assert!(!tracer.replay(time, node, PacketId(6), memo), "what points to bytes is written each time");
}
