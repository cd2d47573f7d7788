//! Cutting and putting together.

use super::{Lab, Udp, replied, strict};
use crate::drop_reason::DropReason;
use crate::view::be16;

fn pair() -> Lab {
    let mut lab = Lab::new(&["a", "b"]);
    lab.link("a/eth0", "b/eth0");
    lab.all("a", &["ip link set lo up", "ip addr add 10.0.0.1/24 dev eth0", "ip addr add fd00::1/64 dev eth0 nodad"]);
    lab.all("b", &["ip link set lo up", "ip addr add 10.0.0.2/24 dev eth0", "ip addr add fd00::2/64 dev eth0 nodad"]);
    lab.settle();
    lab.forget();
    lab
}

#[test]
fn a_large_ping_is_cut_put_together_and_answered_in_pieces() {
    let mut lab = pair();
    for to in ["10.0.0.2", "fd00::2"] {
        lab.forget();
        let answer = lab.ping("a", to, 4000);
        assert!(replied(&answer), "{to}: {answer:?}");
        assert_eq!((lab.sent_ip("a", "eth0").len(), lab.sent_ip("b", "eth0").len()), (3, 3), "{to}");
    }
}

/// A datagram of 3000 bytes, in pieces.
fn pieces(lab: &Lab) -> Vec<Vec<u8>> {
    let macs = (lab.mac("a", "eth0"), lab.mac("b", "eth0"));
    let whole = Udp { macs, src: "10.0.0.1", dst: "10.0.0.2", ttl: 64, df: false, len: 3000 }.frame();
    let mut cutter = Lab::new(&["cutter"]);
    let ns = cutter.ns("cutter");
    cutter.net.sim.with(ns, |ns, cx| {
        let packet = cx.packet(&whole, None, crate::trace::cause::ORIGINAL);
        let mut skb = crate::skb::Skb::new(packet, crate::DevId(0));
        skb.parse_at(14).unwrap();
        let pieces = crate::ip::frag::cut(ns, cx, &skb, 1500).unwrap();
        pieces.into_iter().map(|piece| piece.packet.bytes().to_vec()).collect()
    })
}

#[test]
fn pieces_carry_the_whole_datagram_once_in_any_order() {
    let mut lab = pair();
    let pieces = pieces(&lab);
    assert_eq!(pieces.len(), 3);
    for piece in &pieces {
        assert!(piece.len() <= 1514);
        strict(piece);
    }
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        lab.forget();
        let ns = lab.ns("a");
        for at in order {
            lab.net.inject(ns, "eth0", &pieces[at]).unwrap();
        }
        lab.settle();
        assert_eq!(lab.drops("b"), [DropReason::NoSocket], "{order:?}");
        let back = lab.sent_ip("b", "eth0");
        assert_eq!((back[0][34], back[0][35], be16(&back[0], 44)), (3, 3, 3028), "the quoted header is that of the whole");
    }
}

#[test]
fn pieces_that_never_become_whole_are_given_up_and_told() {
    let mut lab = pair();
    let pieces = pieces(&lab);
    lab.send("a", "eth0", &pieces[0]);
    assert_eq!(lab.drops("b"), [DropReason::FragReasmTimeout]);
    let back = lab.sent_ip("b", "eth0");
    assert_eq!((back[0][34], back[0][35]), (11, 1));
    // Without the first piece nobody is told.
    lab.forget();
    lab.send("a", "eth0", &pieces[1]);
    assert_eq!(lab.drops("b"), [DropReason::FragReasmTimeout]);
    assert!(lab.sent_ip("b", "eth0").is_empty());
}

#[test]
fn pieces_that_overlap_end_all_of_them() {
    let mut lab = pair();
    let pieces = pieces(&lab);
    let mut shifted = pieces[1].clone();
    let offset = be16(&shifted, 20);
    shifted[20..22].copy_from_slice(&(offset - 1).to_be_bytes());
    shifted[24..26].fill(0);
    let checksum = crate::view::ipv4_header_checksum(&shifted[14..34]);
    shifted[24..26].copy_from_slice(&checksum.to_be_bytes());
    let ns = lab.ns("a");
    for frame in [&pieces[0], &pieces[0], &shifted] {
        lab.net.inject(ns, "eth0", frame).unwrap();
    }
    lab.settle();
    // The copy goes alone; the one that overlaps takes the first along.
    assert_eq!(lab.drops("b"), [DropReason::FragInvalid; 3]);
}
