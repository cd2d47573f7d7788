//! Statements: what a rule does.

use std::fmt::Write as _;
use std::sync::Arc;

use super::lex::{Kind, Token};
use super::model::{
    ChainKind, DataType, Expr, Field, Form, Header, Meta, Nat, NatKind, ObjectKind, Reject, Set, SetOp, SetRef, Stmt, TableFamily,
    Target, Test,
};
use super::parser::{Parsed, Parser};
use super::types::{ICMP_CODES, ICMPV6_CODES, ICMPX_CODES, Ty, number};
use crate::addr::Family;

/// Statements of nft that are not modelled.
const OTHER: &[&str] = &["tproxy", "queue", "dup", "fwd", "flow", "synproxy", "meter", "xt", "secmark", "set", "last", "reset"];

/// `NFT_LIMIT_PKT_BURST_DEFAULT`.
const DEFAULT_BURST: u64 = 5;

/// What a rule does, and its comment.
pub(crate) type Body = (Vec<Stmt>, Option<Arc<str>>);

impl Parser<'_> {
    /// The statements of a rule, to the end of its line.
    pub(crate) fn body(&mut self) -> Parsed<Body> {
        self.context = super::parser::Context { family: self.family().only(), ..Default::default() };
        let mut stmts: Vec<Stmt> = Vec::new();
        let mut comment = None;
        while !self.at_end() {
            if self.eat("comment") {
                let text = self.quoted()?;
                comment = Some(text.into());
                if !self.at_end() {
                    return Err(self.unexpected("the comment stands at the end of a rule"));
                }
                break;
            }
            let token = self.peek();
            if let Some(last @ (Stmt::Verdict(_) | Stmt::Reject(_) | Stmt::Nat(_))) = stmts.last()
                && !matches!(last, Stmt::Verdict(super::model::Verdict::Continue))
            {
                return Err(
                    token.error("Statement after terminal statement has no effect", "leave it out, or put it before the verdict")
                );
            }
            self.statement(&mut stmts)?;
        }
        if stmts.is_empty() && comment.is_none() {
            return Err(self.unexpected("a rule does something"));
        }
        Ok((stmts, comment))
    }

    fn statement(&mut self, stmts: &mut Vec<Stmt>) -> Parsed<()> {
        let token = self.peek();
        let stmt = match token.text.as_str() {
            _ if token.kind != Kind::Word => return self.comparison(stmts),
            "accept" | "drop" | "continue" | "return" | "jump" | "goto" => Stmt::Verdict(self.verdict()?),
            "counter" => self.counter()?,
            "limit" => self.limit()?,
            "quota" => self.quota()?,
            "log" => self.log()?,
            "notrack" => {
                self.next();
                Stmt::Notrack
            }
            "reject" => return self.reject(stmts),
            "dnat" | "snat" | "masquerade" | "redirect" => self.nat()?,
            "add" | "update" | "delete" if self.ahead(1).is("@") => self.update()?,
            word if OTHER.contains(&word) => return Err(token.unsupported(format!("`{word}` in nftables"))),
            "meta" if self.ahead(1).is("nftrace") && self.ahead(2).is("set") => {
                self.at += 4;
                Stmt::Idle("meta nftrace set 1")
            }
            _ => return self.comparison(stmts),
        };
        stmts.push(stmt);
        Ok(())
    }

    fn counter(&mut self) -> Parsed<Stmt> {
        self.next();
        if self.eat("name") {
            let token = self.name("the name of a counter")?;
            if self.peek().is("map") || super::fields::find(&token.text, &self.peek().text).is_some() {
                return Err(token.unsupported("counters chosen by a map"));
            }
            let object = self.object(token)?;
            return match object.kind {
                ObjectKind::Counter => Ok(Stmt::CounterOf { name: object.name.clone(), slot: object.slot }),
                ObjectKind::Quota { .. } => {
                    Err(token.error("Could not process rule: No such file or directory", "this is a quota"))
                }
            };
        }
        let counts = self.counts()?;
        Ok(Stmt::Counter(self.slot(counts)))
    }

    /// `packets N bytes N`.
    pub(crate) fn counts(&mut self) -> Parsed<[u64; 2]> {
        if !self.eat("packets") {
            return Ok([0, 0]);
        }
        let packets = self.number(u64::MAX)?;
        self.expect("bytes")?;
        Ok([packets, self.number(u64::MAX)?])
    }

    fn object(&self, token: &Token) -> Parsed<Arc<super::model::Object>> {
        let found = self.here().object_named(&token.text).and_then(|slot| self.here().objects[slot as usize].clone());
        found.ok_or_else(|| {
            token.error("Could not process rule: No such file or directory", "this table has no object of this name")
        })
    }

    /// A number of bytes: `100 mbytes`.
    pub(crate) fn bytes(&mut self) -> Parsed<u64> {
        let amount = self.number(u64::MAX)?;
        let token = self.name("bytes, kbytes or mbytes")?;
        let each = match token.text.as_str() {
            "bytes" => 1,
            "kbytes" => 1 << 10,
            "mbytes" => 1 << 20,
            _ => return Err(token.error("Wrong unit format", "the units are bytes, kbytes and mbytes")),
        };
        amount.checked_mul(each).ok_or_else(|| token.error("Value too large", "write fewer bytes"))
    }

    fn limit(&mut self) -> Parsed<Stmt> {
        self.next();
        if self.peek().is("name") {
            return Err(self.peek().unsupported("named limits"));
        }
        self.expect("rate")?;
        let over = self.eat("over");
        if !over {
            self.eat("until");
        }
        let token = self.peek();
        let rate = self.number(u64::from(u32::MAX))?;
        if rate == 0 {
            return Err(token.error("limit rate must be greater than zero", "a rate is at least 1"));
        }
        let mut bytes = false;
        let mut scale = 1;
        if !self.peek().is("/") {
            let unit = self.name("`/`, or bytes, kbytes, mbytes")?;
            (bytes, scale) = match unit.text.as_str() {
                "packets" => (false, 1),
                // The lexer of nft reads `mbytes/second` as one string.
                text if text.starts_with("bytes") => (true, 1),
                text if text.starts_with("kbytes") => (true, 1 << 10),
                text if text.starts_with("mbytes") => (true, 1 << 20),
                _ => return Err(unit.error("Wrong unit format", "the units are bytes, kbytes and mbytes")),
            };
            if let Some((_, time)) = unit.text.split_once('/') {
                let unit_seconds = unit_of(time)
                    .ok_or_else(|| unit.error("Wrong time format", "the times are second, minute, hour, day, week"))?;
                return self.limit_end(rate * scale, unit_seconds, over, bytes);
            }
        }
        self.expect("/")?;
        let time = self.name("second, minute, hour, day or week")?;
        let unit =
            unit_of(&time.text).ok_or_else(|| time.error("Wrong time format", "the times are second, minute, hour, day, week"))?;
        self.limit_end(rate * scale, unit, over, bytes)
    }

    fn limit_end(&mut self, rate: u64, unit: u64, over: bool, bytes: bool) -> Parsed<Stmt> {
        let mut burst = if bytes { 0 } else { DEFAULT_BURST };
        if self.eat("burst") {
            if bytes {
                burst = self.bytes()?;
            } else {
                burst = self.number(u64::from(u32::MAX))?;
                self.expect("packets")?;
            }
        }
        let slot = self.slot([u64::MAX; 2]);
        Ok(Stmt::Limit { rate, unit, over, burst, bytes, slot })
    }

    fn quota(&mut self) -> Parsed<Stmt> {
        self.next();
        if self.eat("name") {
            let token = self.name("the name of a quota")?;
            let object = self.object(token)?;
            let ObjectKind::Quota { over, bytes } = object.kind else {
                return Err(token.error("Could not process rule: No such file or directory", "this is a counter"));
            };
            return Ok(Stmt::QuotaOf { name: object.name.clone(), over, bytes, slot: object.slot });
        }
        let (over, bytes, used) = self.quota_terms()?;
        let slot = self.slot([used, 0]);
        Ok(Stmt::Quota { over, bytes, slot })
    }

    /// `[over|until] N bytes [used N bytes]`.
    pub(crate) fn quota_terms(&mut self) -> Parsed<(bool, u64, u64)> {
        let over = self.eat("over");
        if !over {
            self.eat("until");
        }
        let bytes = self.bytes()?;
        let used = if self.eat("used") { self.bytes()? } else { 0 };
        Ok((over, bytes, used))
    }

    /// `log`: the options in the order in which nft prints them.
    fn log(&mut self) -> Parsed<Stmt> {
        self.next();
        let (mut prefix, mut group, mut snaplen, mut threshold, mut level) = (None, None, None, None, None);
        let mut flags: Vec<&'static str> = Vec::new();
        loop {
            let token = self.peek();
            match token.text.as_str() {
                "prefix" => {
                    self.next();
                    let text = self.quoted()?;
                    if text.len() > 127 {
                        return Err(token.error("log prefix is too long", "a prefix has at most 127 bytes"));
                    }
                    prefix = Some(text);
                }
                "group" | "snaplen" | "queue-threshold" => {
                    self.next();
                    let value = Some(self.number(u64::from(u32::MAX))?);
                    match token.text.as_str() {
                        "group" => group = value,
                        "snaplen" => snaplen = value,
                        _ => threshold = value,
                    }
                }
                "level" => {
                    self.next();
                    let word = self.name("a level")?;
                    let levels = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"];
                    let name = if word.text == "warning" { "warn" } else { word.text.as_str() };
                    let known = levels.iter().find(|level| **level == name);
                    level = Some(*known.ok_or_else(|| word.error("invalid log level", "levels are emerg ... debug"))?);
                }
                "flags" => {
                    self.next();
                    let word = self.name("tcp, ip, skuid, ether or all")?;
                    flags.push(match word.text.as_str() {
                        "all" => "all",
                        "skuid" => "skuid",
                        "ether" => "ether",
                        "ip" => {
                            self.expect("options")?;
                            "ip options"
                        }
                        "tcp" => {
                            let first = self.name("sequence or options")?;
                            let both = self.eat(",");
                            if both {
                                self.next();
                            }
                            match (both, first.text.as_str()) {
                                (true, _) => "tcp sequence,options",
                                (false, "sequence") => "tcp sequence",
                                _ => "tcp options",
                            }
                        }
                        _ => return Err(word.error("syntax error, unexpected string", "the flags are tcp, ip, skuid, ether, all")),
                    });
                }
                _ => break,
            }
        }
        let mut text = String::from("log");
        if let Some(prefix) = prefix {
            let _ = write!(text, " prefix \"{prefix}\"");
        }
        if let Some(group) = group {
            let _ = write!(text, " group {group}");
        }
        for (name, value) in [("snaplen", snaplen), ("queue-threshold", threshold)] {
            if let Some(value) = value {
                let _ = write!(text, " {name} {value}");
            }
        }
        if let Some(level) = level.filter(|level| *level != "warn") {
            let _ = write!(text, " level {level}");
        }
        let order = ["tcp sequence", "tcp options", "tcp sequence,options", "ip options", "skuid", "ether", "all"];
        flags.sort_by_key(|flag| order.iter().position(|known| known == flag));
        for flag in flags {
            let _ = write!(text, " flags {flag}");
        }
        Ok(Stmt::Log(text))
    }

    fn reject(&mut self, stmts: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.next();
        let known = self.family().only().or(self.context.family);
        let reject = if self.eat("with") {
            let token = self.name("icmp, icmpv6, icmpx or tcp reset")?;
            match token.text.as_str() {
                "tcp" => {
                    self.expect("reset")?;
                    match self.context.l4 {
                        Some(6) => {}
                        None => stmts.push(Stmt::Match { left: Expr::Meta(Meta::L4Proto), test: Test::Eq(6) }),
                        Some(_) => {
                            return Err(
                                start.error("conflicting transport protocol specified", "only TCP is answered with a reset")
                            );
                        }
                    }
                    Reject::Reset
                }
                kind @ ("icmp" | "icmpv6" | "icmpx") => {
                    self.eat("type");
                    let word = self.name("a code")?;
                    let symbols = match kind {
                        "icmp" => ICMP_CODES,
                        "icmpv6" => ICMPV6_CODES,
                        _ => ICMPX_CODES,
                    };
                    let code = symbols.iter().find(|(name, _)| *name == word.text).map(|&(_, code)| code).or(number(&word.text));
                    let code = code.and_then(|code| u8::try_from(code).ok());
                    let code =
                        code.ok_or_else(|| word.error(format!("invalid code {}", word.text), "this is no code of that error"))?;
                    match (kind, known) {
                        ("icmpx", _) if self.family() != TableFamily::Inet => {
                            return Err(
                                word.error("abstracted ICMP unreachable not supported", "icmpx is for tables of the inet family")
                            );
                        }
                        ("icmp", Some(Family::V6)) | ("icmpv6", Some(Family::V4)) => {
                            return Err(word
                                .error("conflicting network protocol specified", "the error must be of the packet's IP version"));
                        }
                        ("icmp", _) => Reject::Icmp(code),
                        ("icmpv6", _) => Reject::Icmp6(code),
                        _ => Reject::Icmpx(code),
                    }
                }
                _ => return Err(token.error("syntax error, unexpected string", "reject with icmp, icmpv6, icmpx or tcp reset")),
            }
        } else {
            match known {
                Some(Family::V4) => Reject::Icmp(3),
                Some(Family::V6) => Reject::Icmp6(4),
                None => Reject::Icmpx(1),
            }
        };
        // In a table of both families an error of one of them says which packets are meant.
        let needs = match reject {
            Reject::Icmp(_) => Some(2),
            Reject::Icmp6(_) => Some(10),
            Reject::Reset | Reject::Icmpx(_) => None,
        };
        if let (Some(number), None) = (needs, known) {
            stmts.push(Stmt::Match { left: Expr::Meta(Meta::NfProto), test: Test::Eq(number) });
        }
        stmts.push(Stmt::Reject(reject));
        Ok(())
    }

    fn nat(&mut self) -> Parsed<Stmt> {
        let start = self.next();
        let kind = match start.text.as_str() {
            "dnat" => NatKind::Dnat,
            "snat" => NatKind::Snat,
            "masquerade" => NatKind::Masquerade,
            _ => NatKind::Redirect,
        };
        let mut nat = Nat {
            kind,
            family: self.family().only(),
            address: None,
            port: None,
            prefix: false,
            random: false,
            fully_random: false,
            persistent: false,
        };
        let addressed = matches!(kind, NatKind::Dnat | NatKind::Snat);
        let mut concatenated = false;
        if addressed {
            if let "ip" | "ip6" = self.peek().text.as_str()
                && (self.ahead(1).is("to") || self.ahead(1).is("prefix") || self.ahead(1).is("addr"))
            {
                nat.family = Some(if self.next().text == "ip" { Family::V4 } else { Family::V6 });
            }
            nat.family = nat.family.or(self.context.family);
            nat.prefix = self.eat("prefix");
            if self.eat("addr") {
                self.expect(".")?;
                self.expect("port")?;
                concatenated = true;
            }
        }
        let to = self.eat("to");
        let target = self.at;
        if to || addressed && !self.at_end() {
            self.nat_target(start, &mut nat)?;
        }
        if concatenated && nat.port.is_none() && !matches!(&nat.address, Some(Target::Of(expr)) if expr.types().len() == 2) {
            return Err(start.error("map does not give an address and a port", "the values of the map are `address . port`"));
        }
        let with_port = nat.port.is_some() || matches!(&nat.address, Some(Target::Of(expr)) if expr.types().len() == 2);
        let port_in_key =
            matches!(&nat.address, Some(Target::Of(expr)) if matches!(&**expr, Expr::Map { key, .. } if reads_transport(key)));
        if with_port && !self.context.transport && !port_in_key {
            // The ports, or the map that gives them.
            let colon = self.tokens[target..self.at].iter().rposition(|token| token.is(":")).filter(|_| nat.port.is_some());
            return Err(self.tokens[target + colon.map_or(0, |at| at + 1)].error(
                "transport protocol mapping is only valid after transport protocol match",
                "match the protocol first: `tcp dport 80`, or `meta l4proto tcp`",
            ));
        }
        loop {
            let token = self.peek();
            match token.text.as_str() {
                "random" => nat.random = true,
                "fully-random" => nat.fully_random = true,
                "persistent" => nat.persistent = true,
                _ => break,
            }
            self.next();
            if !self.eat(",") {
                break;
            }
        }
        Ok(Stmt::Nat(Box::new(nat)))
    }

    /// `10.0.0.1`, `10.0.0.1-10.0.0.9:80-90`, `[fd00::1]:80`, `:80`, `ip daddr map { ... }`.
    fn nat_target(&mut self, start: &Token, nat: &mut Nat) -> Parsed<()> {
        let addressed = matches!(nat.kind, NatKind::Dnat | NatKind::Snat);
        if !self.peek().is(":") {
            if !addressed {
                // `redirect to 8080` is taken as `redirect to :8080`.
                nat.port = Some(self.port_target()?);
                return Ok(());
            }
            let bracket = self.eat("[");
            let token = self.peek();
            let literal = token.text.parse::<std::net::IpAddr>().ok();
            let Some(family) = nat.family.or(None) else {
                return Err(start.error(
                    "ip or ip6 must be specified with address for inet tables.",
                    "write `dnat ip to ...` or `dnat ip6 to ...`",
                ));
            };
            let ty = if family == Family::V4 { Ty::Ipv4 } else { Ty::Ipv6 };
            if literal.is_some() || token.kind == Kind::Word && token.text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                let lo = self.value(ty, self.peek())?;
                self.next();
                if bracket {
                    self.expect("]")?;
                }
                let mut hi = lo;
                if self.eat("-") {
                    let bracket = self.eat("[");
                    hi = self.value(ty, self.peek())?;
                    self.next();
                    if bracket {
                        self.expect("]")?;
                    }
                }
                if hi < lo {
                    return Err(token.error("Range has zero or negative size", "the first value of a range is the smaller one"));
                }
                nat.address = Some(Target::Range(lo, hi));
            } else {
                let expr = self.expr()?;
                let fits = matches!(expr.types()[..], [first] | [first, Ty::Service] if first == ty);
                if !fits {
                    return Err(token.error("datatype mismatch, expected an address", "the map must give addresses of that family"));
                }
                nat.address = Some(Target::Of(Box::new(expr)));
            }
        }
        if self.eat(":") {
            nat.port = Some(self.port_target()?);
        }
        Ok(())
    }

    fn port_target(&mut self) -> Parsed<Target> {
        if Ty::Service.read(&self.peek().text).is_some() {
            let part = self.part(Ty::Service)?;
            return Ok(Target::Range(part.lo, part.hi));
        }
        let token = self.peek();
        let expr = match self.expr()? {
            // The numbers of a map that is written here are ports.
            Expr::Map { key, set, data } if data == [Ty::Mark] => Expr::Map { key, set, data: vec![Ty::Service] },
            other => other,
        };
        if expr.types() != [Ty::Service] {
            return Err(token.error("datatype mismatch, expected internet network service", "the map must give ports"));
        }
        let expr = match expr {
            Expr::Map { key, set: SetRef::Own(set), data } => {
                let mut set = (*set).clone();
                set.data = Some(DataType::Values(vec![Ty::Service]));
                Expr::Map { key, set: SetRef::Own(Arc::new(set)), data }
            }
            other => other,
        };
        Ok(Target::Of(Box::new(expr)))
    }

    fn update(&mut self) -> Parsed<Stmt> {
        let op = match self.next().text.as_str() {
            "add" => SetOp::Add,
            "update" => SetOp::Update,
            _ => SetOp::Delete,
        };
        self.expect("@")?;
        let name = self.name("the name of a set")?;
        let Some(slot) = self.here().set_named(&name.text) else {
            return Err(name.error("No such file or directory", "no set of this table has this name"));
        };
        let set = self.here().sets[slot as usize].clone().expect("set_named returns taken slots");
        if set.data.is_some() {
            return Err(name.unsupported("maps that packets change"));
        }
        self.expect("{")?;
        let key = self.expr()?;
        self.check_types(name, &key.types(), &set.types)?;
        let timeout = if self.eat("timeout") { Some(self.duration()?) } else { None };
        if !self.peek().is("}") {
            return Err(self.peek().unsupported("statements of single elements"));
        }
        self.expect("}")?;
        if set.live.is_none() {
            return Err(name.error("Could not process rule: Operation not supported", "the set needs `flags dynamic`"));
        }
        Ok(Stmt::Update { op, set: slot, name: set.name.clone(), key, timeout })
    }

    /// `EXPR set VALUE`, `EXPR vmap ...`, or a comparison.
    fn comparison(&mut self, stmts: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.peek();
        let left = self.expr()?;
        if self.peek().is("set") && self.peek().kind == Kind::Word {
            let stmt = self.assignment(start, left)?;
            stmts.push(stmt);
            return Ok(());
        }
        if self.peek().is("vmap") {
            let token = self.next();
            let (set, data) = self.set_of(&left, token, Some(DataType::Verdict))?;
            if data != DataType::Verdict {
                return Err(token.error("Expression is not a map with verdicts", "vmap needs a map to verdicts"));
            }
            stmts.push(Stmt::Vmap { key: left, set });
            return Ok(());
        }
        let stmt = self.test(start, left)?;
        self.learn(&stmt);
        stmts.push(stmt);
        Ok(())
    }

    fn assignment(&mut self, start: &Token, left: Expr) -> Parsed<Stmt> {
        self.next();
        let ty = left.types()[0];
        let token = self.peek();
        let constant =
            ty.read(&token.text).filter(|_| token.kind == Kind::Word && !matches!(token.text.as_str(), "mark" | "meta" | "ct"));
        let value = if constant.is_some() || token.is("(") { Expr::Const(self.constant(ty)?, ty) } else { self.expr()? };
        match left {
            Expr::Meta(Meta::Mark) => Ok(Stmt::SetMark(value)),
            Expr::Ct(super::model::CtKey::Mark) => Ok(Stmt::SetCtMark(value)),
            Expr::Payload(field) if is_writable(field) => Ok(Stmt::SetPayload { field, value }),
            _ => Err(start.unsupported("setting this")),
        }
    }

    fn test(&mut self, start: &Token, left: Expr) -> Parsed<Stmt> {
        let types = left.types();
        let token = self.peek();
        let operator = match token.text.as_str() {
            "==" | "eq" => "==",
            "!=" | "ne" | "neq" => "!=",
            "<" | "lt" => "<",
            ">" | "gt" => ">",
            "<=" | "le" => "<=",
            ">=" | "ge" => ">=",
            "!" => "!",
            _ => "",
        };
        self.at += usize::from(!operator.is_empty());
        let not = operator == "!=";
        if self.peek().is("{") || self.peek().is("@") {
            if !matches!(operator, "" | "==" | "!=") {
                return Err(token.error("Invalid expression", "a set is compared with == or !="));
            }
            let set = self.compared_set(&types)?;
            if let (SetRef::Own(set), [ty]) = (&set, &types[..])
                && let [element] = &set.elements[..]
            {
                // A set of one is no set.
                self.here_mut().handles -= 1;
                let part = element.key[0];
                let test = match (part.form, not) {
                    (Form::One, false) if ty.is_flags() => Test::Any(part.lo),
                    (Form::One, false) => Test::Eq(part.lo),
                    (Form::One, true) => Test::Ne(part.lo),
                    (_, not) => Test::In { part, not },
                };
                return Ok(Stmt::Match { left, test });
            }
            return Ok(Stmt::Match { left, test: Test::Set { set, not } });
        }
        let [ty] = types[..] else {
            return Err(start.unsupported("a concatenation that is compared with one value: write { ... }"));
        };
        if let Expr::Fib(fib) = &left
            && !fib.kind
            && let Some(value) = Ty::Bool.read(&self.peek().text).filter(|_| number(&self.peek().text).is_none())
        {
            self.next();
            let missing = (value == 0) != not;
            // The kernel's answer is the device; none where nothing leads there.
            let test = if missing {
                Test::Masked { mask: u128::MAX, value: 0, not: false }
            } else {
                Test::Masked { mask: u128::MAX, value: 0, not: true }
            };
            return Ok(Stmt::Match { left, test });
        }
        if let (Expr::Fib(_), "0") = (&left, self.peek().text.as_str()) {
            self.next();
            return Ok(Stmt::Match { left, test: if not { Test::Ne(0) } else { Test::Eq(0) } });
        }
        let masked = match &left {
            Expr::Bits { of, and, xor: 0 } => Some((of.clone(), *and)),
            _ => None,
        };
        if ty.is_flags() || masked.is_some() {
            return self.flags_test(left, masked, ty, operator);
        }
        let part = self.part(ty)?;
        let test = match (operator, part.form) {
            ("" | "==", Form::One) => Test::Eq(part.lo),
            ("!=", Form::One) => Test::Ne(part.lo),
            ("" | "==" | "!=", _) => Test::In { part, not },
            ("<", Form::One) => Test::Less(part.lo),
            (">", Form::One) => Test::Greater(part.lo),
            ("<=", Form::One) => Test::AtMost(part.lo),
            (">=", Form::One) => Test::AtLeast(part.lo),
            _ => return Err(token.error("Invalid expression", "this comparison needs one value")),
        };
        Ok(Stmt::Match { left, test })
    }

    /// `ct state new,established`, `tcp flags syn / syn,ack`, `tcp flags & (syn|ack) == syn`, `meta mark & 0xff == 1`.
    fn flags_test(&mut self, left: Expr, masked: Option<(Box<Expr>, u128)>, ty: Ty, operator: &str) -> Parsed<Stmt> {
        let token = self.peek();
        let value = self.flag_list(ty)?;
        if let Some((of, mask)) = masked {
            let test = match operator {
                "" | "==" if ty.is_flags() && value == 0 => Test::NoneOf(mask),
                "!=" if ty.is_flags() && value == 0 => Test::Any(mask),
                "" | "==" => Test::Masked { mask, value, not: false },
                "!=" => Test::Masked { mask, value, not: true },
                "<" => return Ok(Stmt::Match { left, test: Test::Less(value) }),
                ">" => return Ok(Stmt::Match { left, test: Test::Greater(value) }),
                _ => return Err(token.error("Invalid expression", "masked values are compared with == or !=")),
            };
            return Ok(Stmt::Match { left: *of, test });
        }
        if self.eat("/") {
            let mask = self.flag_list(ty)?;
            let test = match operator {
                "" | "==" => Test::Masked { mask, value, not: false },
                "!=" => Test::Masked { mask, value, not: true },
                _ => return Err(token.error("Invalid expression", "flags under a mask are compared with == or !=")),
            };
            return Ok(Stmt::Match { left, test });
        }
        let test = match operator {
            "" => Test::Any(value),
            "==" => Test::Eq(value),
            "!=" => Test::Ne(value),
            "!" => Test::NoneOf(value),
            _ => return Err(token.error("Invalid expression", "flags are compared with == or !=")),
        };
        Ok(Stmt::Match { left, test })
    }

    /// `new,established`. Behind `!=` it is one value, which no packet has: so does nft read it.
    fn flag_list(&mut self, ty: Ty) -> Parsed<u128> {
        let mut value = self.constant(ty)?;
        while ty.is_flags() && self.eat(",") {
            value |= self.constant(ty)?;
        }
        Ok(value)
    }

    fn compared_set(&mut self, types: &[Ty]) -> Parsed<SetRef> {
        let at = self.peek();
        if self.eat("@") {
            let name = self.name("the name of a set")?;
            let Some(slot) = self.here().set_named(&name.text) else {
                return Err(at.error("No such file or directory", "no set of this table has this name"));
            };
            let set = self.here().sets[slot as usize].clone().expect("set_named returns taken slots");
            if set.data.is_some() {
                return Err(name.unsupported("a map that is used as a set"));
            }
            self.check_types(name, types, &set.types)?;
            return Ok(SetRef::Named(slot, set.name.clone()));
        }
        let set = Set { types: types.to_vec(), constant: true, ..Set::default() };
        Ok(SetRef::Own(Arc::new(self.own_set(set)?)))
    }

    /// What a comparison says of the packets behind it.
    fn learn(&mut self, stmt: &Stmt) {
        let Stmt::Match { left, test } = stmt else { return };
        let value = match test {
            Test::Eq(value) => Some(*value),
            _ => None,
        };
        let transport = matches!(
            left,
            Expr::Meta(Meta::L4Proto)
                | Expr::Payload(
                    Field { header: Header::Ip, name: "protocol", .. } | Field { header: Header::Ip6, name: "nexthdr", .. }
                )
        );
        if transport {
            self.context.transport = true;
            self.context.l4 = self.context.l4.or(value.map(|value| value as u8));
        }
        if let (Expr::Meta(Meta::NfProto | Meta::Protocol), Some(value)) = (left, value) {
            self.context.family = match value {
                2 | 0x800 => Some(Family::V4),
                10 | 0x86dd => Some(Family::V6),
                _ => self.context.family,
            };
        }
    }
}

/// What may be written into a packet.
fn is_writable(field: &Field) -> bool {
    matches!((field.header, field.name), (Header::Ip | Header::Ip6, "dscp" | "ecn" | "ttl" | "hoplimit"))
}

fn reads_transport(expr: &Expr) -> bool {
    match expr {
        Expr::Payload(field) => matches!(field.header, Header::Transport(_) | Header::Th),
        Expr::Meta(Meta::L4Proto) => true,
        Expr::Concat(all) => all.iter().any(reads_transport),
        _ => false,
    }
}

fn unit_of(text: &str) -> Option<u64> {
    Some(match text {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    })
}

/// Whether a chain of this kind takes the statement.
pub(crate) fn fits_chain(stmt: &Stmt, kind: ChainKind, hook: crate::netfilter::hook::Hook) -> bool {
    use crate::netfilter::hook::Hook::{Input, Output, PostRouting, PreRouting};
    match stmt {
        Stmt::Nat(nat) => {
            kind == ChainKind::Nat
                && match nat.kind {
                    NatKind::Dnat | NatKind::Redirect => matches!(hook, PreRouting | Output),
                    NatKind::Snat => matches!(hook, PostRouting | Input),
                    NatKind::Masquerade => hook == PostRouting,
                }
        }
        Stmt::Reject(_) => hook != PostRouting,
        Stmt::Notrack => true,
        _ => true,
    }
}
