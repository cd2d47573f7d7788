//! Rule sets as `nft list ruleset` prints them (nftables 1.0.6).

use std::fmt::Write as _;

use sim_core::SimTime;

use super::model::{
    Base, Chain, CtKey, Data, DataType, Element, Expr, Fib, Form, Header, Meta, Nat, NatKind, Object, ObjectKind, Part, Reject,
    Rule, Ruleset, Set, SetOp, SetRef, Side, Stmt, Table, TableFamily, Target, Test, Verdict,
};
use super::types::{ICMP_CODES, ICMPV6_CODES, ICMPX_CODES, Ty, name_text, print_duration};
use super::{NftOptions, State};
use crate::addr::Family;
use crate::netfilter::hook::Hook;

/// What stands beside the rules: counters, and elements that packets added.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) state: &'a State,
    /// First values of slots that are new in this transaction.
    pub(crate) initial: &'a [(u32, [u64; 2])],
    pub(crate) now: SimTime,
    pub(crate) options: NftOptions,
}

impl Beside<'_> {
    /// ` # handle N`, where they are asked for.
    fn handle(&self, handle: u64) -> String {
        if self.options.handles { format!(" # handle {handle}") } else { String::new() }
    }

    fn count(&self, slot: u32) -> [u64; 2] {
        let new = self.initial.iter().rev().find(|(at, _)| *at == slot).map(|(_, first)| *first);
        new.unwrap_or_else(|| self.state.counts.get(slot as usize).copied().unwrap_or_default())
    }
}

pub(crate) fn ruleset(rules: &Ruleset, family: Option<TableFamily>, beside: &Beside<'_>) -> String {
    let mut out = String::new();
    for table in rules.tables.iter().filter(|table| family.is_none_or(|family| table.family == family)) {
        self::table(&mut out, table, beside);
    }
    out
}

fn open(out: &mut String, table: &Table, beside: &Beside<'_>) {
    let _ = writeln!(out, "table {} {} {{{}", table.family.as_str(), table.name, beside.handle(table.handle));
}

pub(crate) fn table(out: &mut String, table: &Table, beside: &Beside<'_>) {
    open(out, table, beside);
    if let Some(comment) = &table.comment {
        let _ = writeln!(out, "\tcomment \"{comment}\"");
    }
    if table.dormant {
        out.push_str("\tflags dormant\n");
    }
    let mut first = !table.dormant;
    let mut gap = |out: &mut String| {
        out.push_str(if first { "" } else { "\n" });
        first = false;
    };
    for object in table.objects.iter().flatten() {
        gap(out);
        self::object(out, object, beside);
    }
    for set in table.sets.iter().flatten() {
        gap(out);
        self::set(out, set, beside);
    }
    for chain in table.chains.iter().flatten() {
        gap(out);
        self::chain(out, table, chain, beside);
    }
    out.push_str("}\n");
}

/// `nft list chain`.
pub(crate) fn one_chain(table: &Table, chain: &Chain, beside: &Beside<'_>) -> String {
    let mut out = String::new();
    open(&mut out, table, beside);
    self::chain(&mut out, table, chain, beside);
    out.push_str("}\n");
    out
}

/// `nft list set`.
pub(crate) fn one_set(table: &Table, set: &Set, beside: &Beside<'_>) -> String {
    let mut out = String::new();
    open(&mut out, table, beside);
    self::set(&mut out, set, beside);
    out.push_str("}\n");
    out
}

fn object(out: &mut String, object: &Object, beside: &Beside<'_>) {
    let kind = if object.kind == ObjectKind::Counter { "counter" } else { "quota" };
    let _ = writeln!(out, "\t{kind} {} {{{}", object.name, beside.handle(object.handle));
    if let Some(comment) = &object.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    let [count, bytes] = beside.count(object.slot);
    match object.kind {
        ObjectKind::Counter => {
            let _ = writeln!(out, "\t\tpackets {count} bytes {bytes}");
        }
        ObjectKind::Quota { over, bytes } => {
            out.push_str("\t\t");
            quota(out, over, bytes, count);
            out.push('\n');
        }
    }
    out.push_str("\t}\n");
}

/// A number of bytes in the largest unit that has no rest.
fn bytes_unit(bytes: u64) -> (u64, &'static str) {
    match bytes.trailing_zeros() {
        64 | 0..10 => (bytes, "bytes"),
        10..20 => (bytes >> 10, "kbytes"),
        _ => (bytes >> 20, "mbytes"),
    }
}

fn quota(out: &mut String, over: bool, bytes: u64, used: u64) {
    let (amount, unit) = bytes_unit(bytes);
    let _ = write!(out, "{}{amount} {unit}", if over { "over " } else { "" });
    if used > 0 {
        let (amount, unit) = bytes_unit(used.min(bytes));
        let _ = write!(out, " used {amount} {unit}");
    }
}

fn type_names(types: &[Ty]) -> String {
    types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ")
}

fn set(out: &mut String, set: &Set, beside: &Beside<'_>) {
    let _ = writeln!(out, "\t{} {} {{{}", if set.data.is_some() { "map" } else { "set" }, set.name, beside.handle(set.handle));
    match (&set.of, &set.data) {
        (Some(text), _) => {
            let _ = writeln!(out, "\t\ttypeof {text}");
        }
        (None, None) => {
            let _ = writeln!(out, "\t\ttype {}", type_names(&set.types));
        }
        (None, Some(data)) => {
            let data = match data {
                DataType::Verdict => "verdict".to_owned(),
                DataType::Values(types) => type_names(types),
            };
            let _ = writeln!(out, "\t\ttype {} : {data}", type_names(&set.types));
        }
    }
    if let Some(size) = set.size {
        let _ = writeln!(out, "\t\tsize {size}");
    }
    let flags: Vec<&str> = [
        (set.constant, "constant"),
        (set.interval, "interval"),
        (set.dynamic, "dynamic"),
        (set.timeouts && (set.timeout.is_none() || set.dynamic || set.interval), "timeout"),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .map(|(_, name)| *name)
    .collect();
    if !flags.is_empty() {
        let _ = writeln!(out, "\t\tflags {}", flags.join(","));
    }
    for (name, value) in [("timeout", set.timeout), ("gc-interval", set.gc_interval)] {
        if let Some(value) = value {
            let _ = write!(out, "\t\t{name} ");
            print_duration(out, value);
            out.push('\n');
        }
    }
    if set.auto_merge {
        out.push_str("\t\tauto-merge\n");
    }
    if let Some(comment) = &set.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    let live = set.live.and_then(|live| beside.state.live.get(live as usize));
    let added: Vec<Element> = live
        .into_iter()
        .flatten()
        .filter(|(_, (expires, _))| expires.is_none_or(|at| at > beside.now))
        .map(|(key, (expires, timeout))| Element {
            key: key.iter().map(|&value| Part::one(value)).collect(),
            data: None,
            comment: None,
            timeout: *timeout,
            expires: *expires,
        })
        .collect();
    let lasts = |element: &&Element| element.expires.is_none_or(|at| at > beside.now);
    let all: Vec<&Element> = set.elements.iter().filter(lasts).chain(&added).collect();
    if !all.is_empty() {
        out.push_str("\t\telements = { ");
        let per_line = match set.types[..] {
            [Ty::Ipv4 | Ty::CtState | Ty::CtStatus | Ty::PktType] => 2,
            [
                Ty::NfProto
                | Ty::Integer(_)
                | Ty::Proto
                | Ty::Service
                | Ty::TcpFlag
                | Ty::Mark
                | Ty::Ifindex
                | Ty::Uid
                | Ty::Gid
                | Ty::CtDir,
            ] => 5,
            _ => 1,
        };
        for (at, element) in all.iter().enumerate() {
            if at > 0 {
                out.push_str(if at % per_line == 0 { ",\n\t\t\t     " } else { ", " });
            }
            self::element(out, element, set, Some(beside));
        }
        out.push_str(" }\n");
    }
    out.push_str("\t}\n");
}

fn element(out: &mut String, element: &Element, set: &Set, beside: Option<&Beside<'_>>) {
    for (at, (part, ty)) in element.key.iter().zip(&set.types).enumerate() {
        out.push_str(if at > 0 { " . " } else { "" });
        self::part(out, *part, *ty);
    }
    if let Some(timeout) = element.timeout {
        out.push_str(" timeout ");
        print_duration(out, timeout);
    }
    if let (Some(expires), Some(beside)) = (element.expires, beside) {
        out.push_str(" expires ");
        print_duration(out, expires.since(beside.now).as_nanos() / 1_000_000);
    }
    if let Some(comment) = &element.comment {
        let _ = write!(out, " comment \"{comment}\"");
    }
    match (&element.data, &set.data) {
        (Some(Data::Verdict(verdict)), _) => {
            out.push_str(" : ");
            self::verdict(out, verdict);
        }
        (Some(Data::Values(parts)), Some(DataType::Values(types))) => {
            out.push_str(" : ");
            for (at, (part, ty)) in parts.iter().zip(types).enumerate() {
                out.push_str(if at > 0 { " . " } else { "" });
                self::part(out, *part, *ty);
            }
        }
        _ => {}
    }
}

fn part(out: &mut String, part: Part, ty: Ty) {
    match part.form {
        Form::Prefix(len) if ty.is_name() => {
            let _ = write!(out, "\"{}*\"", name_text(part.lo & !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)));
        }
        Form::One => ty.print(out, part.lo),
        Form::Prefix(0) => out.push('*'),
        Form::Prefix(len) => {
            ty.print(out, part.lo);
            let _ = write!(out, "/{len}");
        }
        Form::Range => {
            ty.print(out, part.lo);
            out.push('-');
            ty.print(out, part.hi);
        }
    }
}

pub(crate) fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::PreRouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::PostRouting => "postrouting",
    }
}

/// `filter`, `dstnat - 10`, `-111`: within ten of a name by that name.
fn priority(base: &Base) -> String {
    let named: [(&str, i32, bool); 6] = [
        ("raw", -300, true),
        ("mangle", -150, true),
        ("dstnat", -100, base.hook == Hook::PreRouting),
        ("filter", 0, true),
        ("security", 50, true),
        ("srcnat", 100, base.hook == Hook::PostRouting),
    ];
    for (name, at, here) in named {
        match base.priority - at {
            _ if !here => {}
            0 => return name.to_owned(),
            by @ 1..=10 => return format!("{name} + {by}"),
            by @ -10..=-1 => return format!("{name} - {}", -by),
            _ => {}
        }
    }
    base.priority.to_string()
}

/// `type filter hook input priority filter; policy accept;`.
pub(crate) fn base(base: &Base) -> String {
    let policy = if base.drop { "drop" } else { "accept" };
    format!("type {} hook {} priority {}; policy {policy};", base.kind.as_str(), hook_name(base.hook), priority(base))
}

fn chain(out: &mut String, table: &Table, chain: &Chain, beside: &Beside<'_>) {
    let _ = writeln!(out, "\tchain {} {{{}", chain.name, beside.handle(chain.handle));
    if let Some(comment) = &chain.comment {
        let _ = writeln!(out, "\t\tcomment \"{comment}\"");
    }
    if let Some(base) = &chain.base {
        let _ = writeln!(out, "\t\t{}", self::base(base));
    }
    for rule in &chain.rules {
        let _ = writeln!(out, "\t\t{}{}", self::rule(table, rule, Some(beside)), beside.handle(rule.handle));
    }
    out.push_str("\t}\n");
}

/// One rule. Without counters they are printed as `counter`.
pub(crate) fn rule(table: &Table, rule: &Rule, beside: Option<&Beside<'_>>) -> String {
    let mut out = String::new();
    for (at, stmt) in rule.stmts.iter().enumerate() {
        if is_implied(table, &rule.stmts, at) {
            continue;
        }
        out.push_str(if out.is_empty() { "" } else { " " });
        statement(&mut out, table, &rule.stmts[..at], stmt, beside);
    }
    if let Some(comment) = &rule.comment {
        let _ = write!(out, "{}comment \"{comment}\"", if out.is_empty() { "" } else { " " });
    }
    out
}

/// A match of a protocol that a field behind it implies is not printed: nft takes it for the one that it adds itself.
fn is_implied(table: &Table, stmts: &[Stmt], at: usize) -> bool {
    let Stmt::Match { left, test: Test::Eq(value) } = &stmts[at] else { return false };
    let behind = &stmts[at + 1..];
    let needs = |fits: &dyn Fn(Header) -> bool| behind.iter().any(|stmt| reads(stmt, fits));
    match left {
        Expr::Meta(Meta::L4Proto) => {
            let reset = table.family != TableFamily::Inet && behind.iter().any(|stmt| matches!(stmt, Stmt::Reject(Reject::Reset)));
            reset || needs(&|header| header.protocol().is_some_and(|number| u128::from(number) == *value))
        }
        Expr::Payload(field) if field.name == "protocol" && table.family == TableFamily::Ip => {
            let reset = behind.iter().any(|stmt| matches!(stmt, Stmt::Reject(Reject::Reset)));
            reset || needs(&|header| header.protocol().is_some_and(|number| u128::from(number) == *value))
        }
        Expr::Meta(Meta::NfProto) => {
            let error =
                |stmt: &Stmt| matches!((stmt, value), (Stmt::Reject(Reject::Icmp(_)), 2) | (Stmt::Reject(Reject::Icmp6(_)), 10));
            needs(&|header| matches!((header, value), (Header::Ip, 2) | (Header::Ip6, 10))) || behind.iter().any(error)
        }
        _ => false,
    }
}

/// Whether a statement reads such a header.
fn reads(stmt: &Stmt, fits: &dyn Fn(Header) -> bool) -> bool {
    match stmt {
        Stmt::Match { left, .. } => expr_reads(left, fits),
        Stmt::Vmap { key, .. } | Stmt::Update { key, .. } => expr_reads(key, fits),
        Stmt::SetMark(value) | Stmt::SetCtMark(value) => expr_reads(value, fits),
        Stmt::SetPayload { field, value } => fits(field.header) || expr_reads(value, fits),
        Stmt::Nat(nat) => [&nat.address, &nat.port].into_iter().flatten().any(|target| match target {
            Target::Of(expr) => expr_reads(expr, fits),
            Target::Range(..) => false,
        }),
        _ => false,
    }
}

fn expr_reads(expr: &Expr, fits: &dyn Fn(Header) -> bool) -> bool {
    match expr {
        Expr::Payload(field) => fits(field.header),
        Expr::Bits { of, .. } => expr_reads(of, fits),
        Expr::Concat(all) | Expr::Jhash { of: all, .. } => all.iter().any(|expr| expr_reads(expr, fits)),
        Expr::Map { key, .. } => expr_reads(key, fits),
        _ => false,
    }
}

fn statement(out: &mut String, table: &Table, before: &[Stmt], stmt: &Stmt, beside: Option<&Beside<'_>>) {
    match stmt {
        Stmt::Match { left, test } => comparison(out, table, left, test),
        Stmt::Vmap { key, set } => {
            expr(out, table, key);
            out.push_str(" vmap ");
            set_ref(out, set);
        }
        Stmt::Verdict(verdict) => self::verdict(out, verdict),
        Stmt::Counter(slot) => {
            out.push_str("counter");
            if let Some(beside) = beside.filter(|beside| !beside.options.stateless) {
                let [packets, bytes] = beside.count(*slot);
                let _ = write!(out, " packets {packets} bytes {bytes}");
            }
        }
        Stmt::CounterOf { name, .. } => {
            let _ = write!(out, "counter name \"{name}\"");
        }
        Stmt::Limit { rate, unit, over, burst, bytes, .. } => {
            let time = match unit {
                1 => "second",
                60 => "minute",
                3600 => "hour",
                86_400 => "day",
                _ => "week",
            };
            let over = if *over { "over " } else { "" };
            if *bytes {
                let (amount, name) = bytes_unit(*rate);
                let _ = write!(out, "limit rate {over}{amount} {name}/{time}");
                if *burst > 0 {
                    let (amount, name) = bytes_unit(*burst);
                    let _ = write!(out, " burst {amount} {name}");
                }
            } else {
                let _ = write!(out, "limit rate {over}{rate}/{time}");
                if *burst > 0 && *burst != 5 {
                    let _ = write!(out, " burst {burst} packets");
                }
            }
        }
        Stmt::Quota { over, bytes, slot } => {
            out.push_str("quota ");
            quota(out, *over, *bytes, beside.map_or(0, |beside| beside.count(*slot)[0]));
        }
        Stmt::QuotaOf { name, .. } => {
            let _ = write!(out, "quota name \"{name}\"");
        }
        Stmt::Log(text) => out.push_str(text),
        Stmt::SetMark(value) => {
            out.push_str("meta mark set ");
            expr(out, table, value);
        }
        Stmt::SetCtMark(value) => {
            out.push_str("ct mark set ");
            expr(out, table, value);
        }
        Stmt::SetPayload { field, value } => {
            let _ = write!(out, "{} {} set ", field.protocol, field.name);
            expr(out, table, value);
        }
        Stmt::Notrack => out.push_str("notrack"),
        Stmt::Reject(kind) => reject(out, table, before, *kind),
        Stmt::Nat(nat) => self::nat(out, table, nat),
        Stmt::Update { op, name, key, timeout, .. } => {
            let op = match op {
                SetOp::Add => "add",
                SetOp::Update => "update",
                SetOp::Delete => "delete",
            };
            let _ = write!(out, "{op} @{name} {{ ");
            expr(out, table, key);
            if let Some(timeout) = timeout {
                out.push_str(" timeout ");
                print_duration(out, *timeout);
            }
            out.push_str(" }");
        }
        Stmt::Idle(text) => out.push_str(text),
    }
}

fn reject(out: &mut String, table: &Table, before: &[Stmt], kind: Reject) {
    out.push_str("reject");
    let (name, symbols, code) = match kind {
        Reject::Reset => return out.push_str(" with tcp reset"),
        Reject::Icmp(3) if table.family == TableFamily::Ip => return,
        Reject::Icmp6(4) if table.family == TableFamily::Ip6 => return,
        Reject::Icmpx(1) => return,
        Reject::Icmp(code) => ("icmp", ICMP_CODES, code),
        Reject::Icmp6(code) => ("icmpv6", ICMPV6_CODES, code),
        Reject::Icmpx(code) => ("icmpx", ICMPX_CODES, code),
    };
    let _ = before;
    let _ = match symbols.iter().find(|&&(_, known)| known == u128::from(code)) {
        Some((symbol, _)) => write!(out, " with {name} {symbol}"),
        None => write!(out, " with {name} {code}"),
    };
}

pub(crate) fn verdict(out: &mut String, verdict: &Verdict) {
    let _ = match verdict {
        Verdict::Accept => out.write_str("accept"),
        Verdict::Drop => out.write_str("drop"),
        Verdict::Continue => out.write_str("continue"),
        Verdict::Return => out.write_str("return"),
        Verdict::Jump { name, .. } => write!(out, "jump {name}"),
        Verdict::Goto { name, .. } => write!(out, "goto {name}"),
    };
}

fn nat(out: &mut String, table: &Table, nat: &Nat) {
    out.push_str(match nat.kind {
        NatKind::Dnat => "dnat",
        NatKind::Snat => "snat",
        NatKind::Masquerade => "masquerade",
        NatKind::Redirect => "redirect",
    });
    if nat.address.is_some() && (table.family == TableFamily::Inet || nat.prefix || is_concatenated(nat)) {
        out.push_str(if nat.family == Some(Family::V6) { " ip6" } else { " ip" });
    }
    if nat.prefix {
        out.push_str(" prefix");
    }
    if nat.address.is_some() || nat.port.is_some() {
        out.push_str(" to");
    }
    match &nat.address {
        None => {}
        Some(Target::Of(of)) => {
            out.push(' ');
            expr(out, table, of);
        }
        Some(Target::Range(lo, hi)) => {
            let (lo, hi) = (*lo, *hi);
            let v6 = nat.family == Some(Family::V6);
            let ty = if v6 { Ty::Ipv6 } else { Ty::Ipv4 };
            let bracket = v6 && nat.port.is_some();
            for (at, value) in [lo, hi].into_iter().enumerate() {
                if at == 1 && lo == hi {
                    break;
                }
                out.push_str(if at == 0 { " " } else { "-" });
                out.push_str(if bracket { "[" } else { "" });
                ty.print(out, value);
                out.push_str(if bracket { "]" } else { "" });
            }
        }
    }
    if let Some(port) = &nat.port {
        out.push_str(if nat.address.is_some() { ":" } else { " :" });
        match port {
            Target::Of(of) => expr(out, table, of),
            &Target::Range(lo, hi) => {
                let _ = if lo == hi { write!(out, "{lo}") } else { write!(out, "{lo}-{hi}") };
            }
        }
    }
    let flags: Vec<&str> = [(nat.random, "random"), (nat.fully_random, "fully-random"), (nat.persistent, "persistent")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    if !flags.is_empty() {
        let _ = write!(out, " {}", flags.join(","));
    }
}

/// Whether a map gives the address and the port.
fn is_concatenated(nat: &Nat) -> bool {
    matches!(&nat.address, Some(Target::Of(expr)) if expr.types().len() == 2)
}

fn set_ref(out: &mut String, set: &SetRef) {
    match set {
        SetRef::Named(_, name) => {
            let _ = write!(out, "@{name}");
        }
        SetRef::Own(set) => {
            out.push_str("{ ");
            for (at, element) in set.elements.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                self::element(out, element, set, None);
            }
            out.push_str(" }");
        }
    }
}

pub(crate) fn expression(table: &Table, of: &Expr) -> String {
    let mut out = String::new();
    expr(&mut out, table, of);
    out
}

fn expr(out: &mut String, table: &Table, of: &Expr) {
    match of {
        Expr::Const(value, ty) => ty.print(out, *value),
        Expr::Payload(field) => {
            let _ = write!(out, "{} {}", field.protocol, field.name);
        }
        Expr::Meta(meta) => out.push_str(meta.text()),
        Expr::Ct(key) => ct(out, table, *key),
        Expr::Fib(fib) => self::fib(out, *fib),
        Expr::Numgen { random, modulus, offset, .. } => {
            let _ = write!(out, "numgen {} mod {modulus}", if *random { "random" } else { "inc" });
            if *offset > 0 {
                let _ = write!(out, " offset {offset}");
            }
        }
        Expr::Jhash { of, modulus, seed, offset } => {
            out.push_str("jhash ");
            list(out, table, of);
            let _ = write!(out, " mod {modulus}");
            if let Some(seed) = seed {
                let _ = write!(out, " seed 0x{seed:x}");
            }
            if *offset > 0 {
                let _ = write!(out, " offset {offset}");
            }
        }
        Expr::Bits { of, and, xor } => {
            let ty = of.types()[0];
            let or = xor & !and;
            let (and, xor) = (and | or, xor & and);
            expr(out, table, of);
            for (sign, value, none) in [("&", and, ty.max()), ("^", xor, 0), ("|", or, 0)] {
                if value != none {
                    let _ = write!(out, " {sign} ");
                    ty.print(out, value);
                }
            }
        }
        Expr::Concat(all) => list(out, table, all),
        Expr::Map { key, set, .. } => {
            expr(out, table, key);
            out.push_str(" map ");
            set_ref(out, set);
        }
    }
}

fn list(out: &mut String, table: &Table, all: &[Expr]) {
    for (at, one) in all.iter().enumerate() {
        out.push_str(if at > 0 { " . " } else { "" });
        expr(out, table, one);
    }
}

fn ct(out: &mut String, table: &Table, key: CtKey) {
    let _ = table;
    let side = |side: Side| if side == Side::Original { "original" } else { "reply" };
    let ip = |family: Family| if family == Family::V4 { "ip" } else { "ip6" };
    let _ = match key {
        CtKey::State => out.write_str("ct state"),
        CtKey::Status => out.write_str("ct status"),
        CtKey::Mark => out.write_str("ct mark"),
        CtKey::Direction => out.write_str("ct direction"),
        CtKey::Expiration => out.write_str("ct expiration"),
        CtKey::Zone => out.write_str("ct zone"),
        CtKey::L3Proto(None) => out.write_str("ct l3proto"),
        CtKey::L3Proto(Some(of)) => write!(out, "ct {} l3proto", side(of)),
        CtKey::Protocol(None) => out.write_str("ct protocol"),
        CtKey::Protocol(Some(of)) => write!(out, "ct {} protocol", side(of)),
        CtKey::Saddr(of, family) => write!(out, "ct {} {} saddr", side(of), ip(family)),
        CtKey::Daddr(of, family) => write!(out, "ct {} {} daddr", side(of), ip(family)),
        CtKey::ProtoSrc(of) => write!(out, "ct {} proto-src", side(of)),
        CtKey::ProtoDst(of) => write!(out, "ct {} proto-dst", side(of)),
    };
}

fn fib(out: &mut String, fib: Fib) {
    let _ = write!(out, "fib {}", if fib.source { "saddr" } else { "daddr" });
    for (on, name) in [(fib.mark, "mark"), (fib.iif, "iif"), (fib.oif, "oif")] {
        if on {
            let _ = write!(out, " . {name}");
        }
    }
    out.push_str(match (fib.kind, fib.name) {
        (true, _) => " type",
        (false, true) => " oifname",
        (false, false) => " oif",
    });
}

fn comparison(out: &mut String, table: &Table, left: &Expr, test: &Test) {
    expr(out, table, left);
    let types = left.types();
    let ty = types[0];
    let simple = |out: &mut String, sign: &str, value: u128| {
        let _ = write!(out, " {sign}{}", if sign.is_empty() { "" } else { " " });
        ty.print(out, value);
    };
    match test {
        Test::Eq(value) | Test::Ne(value) if ty == Ty::TcpFlag && value.count_ones() > 1 => {
            let _ = write!(out, " {} 0x{value:x}", if matches!(test, Test::Eq(_)) { "==" } else { "!=" });
        }
        Test::Eq(value) => simple(out, if ty.is_flags() { "==" } else { "" }, *value),
        Test::Ne(value) => simple(out, "!=", *value),
        Test::Less(value) => simple(out, "<", *value),
        Test::Greater(value) => simple(out, ">", *value),
        Test::AtMost(value) => simple(out, "<=", *value),
        Test::AtLeast(value) => simple(out, ">=", *value),
        Test::In { part, not } => {
            out.push_str(if *not { " != " } else { " " });
            self::part(out, *part, ty);
        }
        Test::Set { set, not } => {
            out.push_str(if *not { " != " } else { " " });
            set_ref(out, set);
        }
        Test::Any(mask) => {
            out.push(' ');
            ty.print_flags(out, *mask, ",");
        }
        Test::NoneOf(mask) => {
            out.push_str(" ! ");
            ty.print_flags(out, *mask, ",");
        }
        // Whether there is a device.
        Test::Masked { value: 0, not, .. } if matches!(left, Expr::Fib(_)) => {
            out.push_str(if *not { " exists" } else { " missing" })
        }
        Test::Masked { mask, value, not } if ty.is_flags() => {
            out.push_str(if *not { " != " } else { " " });
            ty.print_flags(out, *value, ",");
            out.push_str(" / ");
            ty.print_flags(out, *mask, ",");
        }
        Test::Masked { mask, value, not } => {
            out.push_str(" & ");
            ty.print(out, *mask);
            out.push_str(if *not { " != " } else { " == " });
            ty.print(out, *value);
        }
    }
}
