//! pcapng files (draft-ietf-opsawg-pcapng): one interface block a device, a comment on each packet.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use crate::time::SimTime;

/// Decimal nanoseconds: the `if_tsresol` of every interface.
const NANOSECONDS: u8 = 9;

/// What the frames of an interface begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    RawIp,
}

/// Which way a frame went through its device: bits 0 and 1 of `epb_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// One captured frame.
#[derive(Debug)]
pub struct Frame<'a> {
    /// When.
    pub time: SimTime,
    /// The bytes that were kept.
    pub bytes: &'a [u8],
    /// Bytes that the frame had.
    pub full_len: u32,
    /// Which way it went.
    pub direction: Direction,
    /// The step that this frame belongs to.
    pub comment: &'a str,
}

/// A capture being written into memory.
pub struct Capture {
    writer: PcapNgWriter<Vec<u8>>,
    interfaces: u32,
}

const INTO_MEMORY: &str = "writing into memory does not fail";

impl Capture {
    /// An empty capture, written by `application`.
    pub fn new(application: &str) -> Capture {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Owned(application.to_owned()))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), section).expect(INTO_MEMORY);
        Capture { writer, interfaces: 0 }
    }

    /// Adds an interface; its id is the number that [`Capture::frame`] takes.
    pub fn interface(&mut self, name: &str, link_type: LinkType) -> u32 {
        let linktype = match link_type {
            LinkType::Ethernet => DataLink::ETHERNET,
            LinkType::RawIp => DataLink::RAW,
        };
        let block = InterfaceDescriptionBlock {
            linktype,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_block(&Block::InterfaceDescription(block)).expect(INTO_MEMORY);
        self.interfaces += 1;
        self.interfaces - 1
    }

    /// Adds a frame to an interface.
    pub fn frame(&mut self, interface: u32, frame: &Frame<'_>) {
        let flags = match frame.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        let mut options = vec![EnhancedPacketOption::Flags(flags)];
        if !frame.comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Borrowed(frame.comment)));
        }
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(frame.time.as_nanos()),
            original_len: frame.full_len,
            data: Cow::Borrowed(frame.bytes),
            options,
        };
        self.writer.write_block(&Block::EnhancedPacket(block)).expect(INTO_MEMORY);
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        self.writer.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::PcapNgReader;

    use super::*;

    #[test]
    fn a_capture_reads_back() {
        let mut capture = Capture::new("pktlab");
        let eth0 = capture.interface("a/eth0", LinkType::Ethernet);
        let frame =
            Frame { time: SimTime(1_000_000_007), bytes: &[1, 2, 3], full_len: 60, direction: Direction::Out, comment: "step 1" };
        capture.frame(eth0, &frame);
        let bytes = capture.finish();
        let mut reader = PcapNgReader::new(&bytes[..]).expect("a section header");
        let mut packets = 0;
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.expect("a block") {
                packets += 1;
                assert_eq!((packet.timestamp, &packet.data[..], packet.original_len), (Duration::new(1, 7), &[1u8, 2, 3][..], 60));
            }
        }
        assert_eq!(packets, 1);
    }
}
