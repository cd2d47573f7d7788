//! `ip link add ... type vxlan` (`ip/iplink_vxlan.c`).

use std::fmt;
use std::net::IpAddr;

use super::lex::{Parsed, Word, Words, matches, quoted};
use crate::addr::Family;
use crate::dev::vxlan::Inherit;

/// What a line says of a new VXLAN device; what it leaves out is none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VxlanArgs {
    /// `id`, `vni`.
    pub id: u32,
    /// `remote`, `group`.
    pub remote: Option<IpAddr>,
    /// `local`.
    pub local: Option<IpAddr>,
    /// `dev`.
    pub dev: Option<String>,
    /// `dstport`.
    pub dstport: Option<u16>,
    /// `srcport`.
    pub srcport: Option<(u16, u16)>,
    /// `ttl`; 0 is `auto`.
    pub ttl: Option<Inherit<u8>>,
    /// `tos`.
    pub tos: Option<Inherit<u8>>,
    /// `df`.
    pub df: Option<Inherit<bool>>,
    /// `ageing`, in seconds.
    pub ageing: Option<u32>,
    /// `maxaddress`.
    pub maxaddress: Option<u32>,
    /// Switches, with and without `no` in front, in the order of [`SWITCHES`].
    pub switches: [Option<bool>; SWITCHES.len()],
}

/// The switches that pktlab knows both ways.
pub const SWITCHES: [&str; 5] = ["learning", "proxy", "udpcsum", "udp6zerocsumtx", "udp6zerocsumrx"];
/// Those that it knows only switched off.
const OFF_ONLY: [&str; 7] = ["rsc", "l2miss", "l3miss", "remcsumtx", "remcsumrx", "external", "vnifilter"];

impl VxlanArgs {
    /// A switch of [`SWITCHES`], where the line has it.
    pub fn switch(&self, name: &str) -> Option<bool> {
        SWITCHES.iter().position(|known| *known == name).and_then(|at| self.switches[at])
    }
}

pub(super) fn parse(args: &mut Words<'_>) -> Parsed<VxlanArgs> {
    let mut new = VxlanArgs::default();
    let mut id = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            text if matches(text, "id") || matches(text, "vni") => {
                let value = args.need()?;
                let vni = super::lex::number(&value.text).and_then(|vni| u32::try_from(vni).ok()).filter(|&vni| vni < 1 << 24);
                once(&mut id, vni.ok_or_else(|| value.wrong("invalid id"))?, value, "id")?;
            }
            "group" | "remote" => {
                let value = args.need()?;
                let address = value.address(new.local.map(Family::of))?;
                match (word.text.as_str(), address.is_multicast()) {
                    ("group", false) => return Err(value.wrong("invalid group address")),
                    ("remote", true) => return Err(value.wrong("invalid remote address")),
                    _ => {}
                }
                if new.remote.replace(address).is_some() {
                    return Err(value.garbage(&word.text));
                }
            }
            "local" => {
                let value = args.need()?;
                let address = value.address(new.remote.map(Family::of))?;
                if address.is_multicast() {
                    return Err(value.wrong("invalid local address"));
                }
                once(&mut new.local, address, value, "local")?;
            }
            "dev" => {
                let value = args.need()?;
                once(&mut new.dev, value.device("dev")?, value, "dev")?;
            }
            "ttl" | "hoplimit" => {
                let value = args.need()?;
                let ttl = match value.text.as_str() {
                    "inherit" => Inherit::Inner,
                    "auto" => Inherit::Value(0),
                    _ => Inherit::Value(byte(value, "TTL must be <= 255")?),
                };
                once(&mut new.ttl, ttl, value, "ttl")?;
            }
            "tos" | "dsfield" => {
                let value = args.need()?;
                // rtnl_dsfield_a2n: hexadecimal, also without 0x.
                let hex = value.text.trim_start_matches("0x");
                let tos = match value.text.as_str() {
                    "inherit" => Inherit::Inner,
                    _ => Inherit::Value(u8::from_str_radix(hex, 16).map_err(|_| value.wrong("bad TOS value"))?),
                };
                // The kernel's 1 means inherit.
                once(&mut new.tos, if tos == Inherit::Value(1) { Inherit::Inner } else { tos }, value, "tos")?;
            }
            "df" => {
                let value = args.need()?;
                let df = match value.text.as_str() {
                    "unset" => Inherit::Value(false),
                    "set" => Inherit::Value(true),
                    "inherit" => Inherit::Inner,
                    _ => return Err(value.wrong("DF must be 'unset', 'set' or 'inherit'")),
                };
                once(&mut new.df, df, value, "df")?;
            }
            "flowlabel" | "label" => {
                let value = args.need()?;
                if super::lex::number(&value.text) != Some(0) {
                    return Err(value.unsupported("flow labels of outer packets"));
                }
            }
            "dstport" => {
                let value = args.need()?;
                once(&mut new.dstport, port(value, "dst port")?, value, "dstport")?;
            }
            "srcport" | "port" => {
                let (low, high) = (args.need()?, args.need()?);
                once(&mut new.srcport, (port(low, "min port")?, port(high, "max port")?), low, "srcport")?;
            }
            "ageing" => {
                let value = args.need()?;
                let seconds = if value.text == "none" { Some(0) } else { super::lex::number(&value.text) };
                let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
                once(&mut new.ageing, seconds.ok_or_else(|| value.wrong("ageing timer"))?, value, "ageing")?;
            }
            "maxaddress" => {
                let value = args.need()?;
                let most = if value.text == "unlimited" { Some(0) } else { super::lex::number(&value.text) };
                let most = most.and_then(|most| u32::try_from(most).ok());
                once(&mut new.maxaddress, most.ok_or_else(|| value.wrong("max addresses"))?, value, "maxaddress")?;
            }
            "gbp" | "gpe" | "localbypass" | "reserved_bits" => return Err(word.unsupported("this option of VXLAN")),
            text => switch(&mut new, word, text)?,
        }
    }
    new.id = id.ok_or_else(|| args.missing("vxlan: missing virtual network identifier", "add `id VNI`"))?;
    Ok(new)
}

/// `learning`, `nolearning` and their like.
fn switch(new: &mut VxlanArgs, word: &Word, text: &str) -> Parsed<()> {
    for (on, name) in [(true, Some(text)), (false, text.strip_prefix("no"))] {
        let Some(name) = name else { continue };
        if let Some(at) = SWITCHES.iter().position(|known| *known == name) {
            new.switches[at] = Some(on);
            return Ok(());
        }
        if OFF_ONLY.contains(&name) {
            return if on { Err(word.unsupported("this option of VXLAN")) } else { Ok(()) };
        }
    }
    Err(word.mistake(format!("vxlan: unknown command \"{text}\"?"), "see ip-link(8)"))
}

fn once<T>(slot: &mut Option<T>, value: T, word: &Word, keyword: &str) -> Parsed<()> {
    if slot.replace(value).is_some() { Err(word.garbage(keyword)) } else { Ok(()) }
}

fn byte(word: &Word, wrong: &str) -> Parsed<u8> {
    super::lex::number(&word.text).and_then(|number| u8::try_from(number).ok()).ok_or_else(|| word.wrong(wrong))
}

fn port(word: &Word, wrong: &str) -> Parsed<u16> {
    super::lex::number(&word.text).and_then(|number| u16::try_from(number).ok()).ok_or_else(|| word.wrong(wrong))
}

impl fmt::Display for VxlanArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vxlan id {}", self.id)?;
        if let Some(remote) = self.remote {
            write!(f, " {} {remote}", if remote.is_multicast() { "group" } else { "remote" })?;
        }
        if let Some(local) = self.local {
            write!(f, " local {local}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {}", quoted(dev))?;
        }
        if let Some((low, high)) = self.srcport {
            write!(f, " srcport {low} {high}")?;
        }
        if let Some(port) = self.dstport {
            write!(f, " dstport {port}")?;
        }
        match self.ttl {
            Some(Inherit::Value(0)) => f.write_str(" ttl auto")?,
            Some(Inherit::Value(ttl)) => write!(f, " ttl {ttl}")?,
            Some(Inherit::Inner) => f.write_str(" ttl inherit")?,
            None => {}
        }
        match self.tos {
            Some(Inherit::Value(tos)) => write!(f, " tos {tos:#x}")?,
            Some(Inherit::Inner) => f.write_str(" tos inherit")?,
            None => {}
        }
        match self.df {
            Some(Inherit::Value(df)) => f.write_str(if df { " df set" } else { " df unset" })?,
            Some(Inherit::Inner) => f.write_str(" df inherit")?,
            None => {}
        }
        if let Some(ageing) = self.ageing {
            write!(f, " ageing {ageing}")?;
        }
        if let Some(most) = self.maxaddress {
            write!(f, " maxaddress {most}")?;
        }
        for (name, on) in SWITCHES.iter().zip(self.switches) {
            if let Some(on) = on {
                write!(f, " {}{name}", if on { "" } else { "no" })?;
            }
        }
        Ok(())
    }
}
