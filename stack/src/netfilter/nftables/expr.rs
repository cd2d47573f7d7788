//! Expressions: what a rule reads, and the values that it compares with.

use std::net::IpAddr;
use std::sync::Arc;

use sim_core::SimTime;

use super::fields;
use super::lex::{Kind, Token};
use super::model::{
    CtKey, Data, DataType, Element, Expr, FIELDS, Fib, Form, Header, Meta, Part, Set, SetRef, Side, TableFamily, Verdict,
};
use super::parser::{Parsed, Parser};
use super::types::{Ty, duration, name_bits, number};
use crate::addr::Family;

/// A timeout at most: a century.
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

/// Headers of nft that are not modelled.
const OTHER_HEADERS: &[&str] = &[
    "vlan",
    "arp",
    "esp",
    "ah",
    "comp",
    "frag",
    "exthdr",
    "hbh",
    "dst",
    "mh",
    "igmp",
    "gre",
    "gretap",
    "geneve",
    "vxlan",
    "rt",
    "rt0",
    "rt2",
    "srh",
    "socket",
    "osf",
    "ipsec",
    "symhash",
    "tunnel",
    "secmark",
    "xt",
    "dccp-option",
];

/// Keys of `meta` that are real and not modelled.
const OTHER_META: &[&str] = &[
    "nftrace",
    "rtclassid",
    "ibrname",
    "obrname",
    "ibriport",
    "obriport",
    "ibrpvid",
    "ibrvproto",
    "iiftype",
    "oiftype",
    "iifgroup",
    "oifgroup",
    "iifkind",
    "oifkind",
    "cgroup",
    "cpu",
    "secpath",
    "ipsec",
    "time",
    "day",
    "hour",
    "sdif",
    "sdifname",
    "broute",
];

fn meta_key(word: &str) -> Option<Meta> {
    Some(match word {
        "l4proto" => Meta::L4Proto,
        "nfproto" => Meta::NfProto,
        "protocol" => Meta::Protocol,
        "mark" => Meta::Mark,
        "iifname" => Meta::Iifname,
        "oifname" => Meta::Oifname,
        "iif" => Meta::Iif,
        "oif" => Meta::Oif,
        "skuid" => Meta::Skuid,
        "skgid" => Meta::Skgid,
        "pkttype" => Meta::Pkttype,
        "length" => Meta::Length,
        "random" => Meta::Random,
        "priority" => Meta::Priority,
        _ => return None,
    })
}

/// Those that may stand without `meta`.
const BARE_META: &[&str] = &["mark", "iifname", "oifname", "iif", "oif", "skuid", "skgid"];

impl Parser<'_> {
    /// An expression that reads a packet, with its arithmetic, its fields and its map.
    pub(crate) fn expr(&mut self) -> Parsed<Expr> {
        let first = self.term()?;
        let expr = if self.peek().is(".") {
            let mut all = vec![first];
            while self.eat(".") {
                all.push(self.term()?);
            }
            if all.len() > FIELDS {
                return Err(self.ahead(0).unsupported(format!("a concatenation of more than {FIELDS} fields")));
            }
            Expr::Concat(all)
        } else {
            first
        };
        if self.peek().is("map") {
            let token = self.next();
            let (set, data) = self.set_of(&expr, token, None)?;
            let DataType::Values(data) = data else {
                return Err(token.error("Expression is not a map with values", "a map to verdicts is used with vmap"));
            };
            return Ok(Expr::Map { key: Box::new(expr), set, data });
        }
        Ok(expr)
    }

    /// One field, with `& | ^` behind it.
    fn term(&mut self) -> Parsed<Expr> {
        let mut expr = if self.open()? {
            let inner = self.expr()?;
            self.close()?;
            inner
        } else {
            self.primary()?
        };
        let (mut and, mut xor, mut found) = (u128::MAX, 0, false);
        let types = expr.types();
        loop {
            let token = self.peek();
            let operator = match token.text.as_str() {
                "&" | "and" => '&',
                "|" | "or" => '|',
                "^" | "xor" => '^',
                "<<" | ">>" | "lshift" | "rshift" => return Err(token.unsupported("shifts")),
                _ => break,
            };
            if token.kind == Kind::Quoted || types.len() != 1 {
                break;
            }
            self.next();
            let value = self.constant(types[0])?;
            match operator {
                '&' => (and, xor) = (and & value, xor & value),
                '|' => (and, xor) = (and & !value, (xor & !value) | value),
                _ => xor ^= value,
            }
            found = true;
        }
        if found {
            let all = types[0].max();
            expr = Expr::Bits { of: Box::new(expr), and: and & all, xor: xor & all };
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        if token.is("@") {
            return Err(token.unsupported("raw payload expressions"));
        }
        if token.kind != Kind::Word {
            return Err(self.unexpected("an expression such as `ip saddr` belongs here"));
        }
        let word = token.text.as_str();
        let following = &self.ahead(1).text;
        match word {
            "ct" => return self.ct(),
            "fib" => return self.fib(),
            "numgen" => return self.numgen(),
            "jhash" => return self.jhash(),
            "meta" => {
                self.next();
                let key = self.name("a key of meta")?;
                return match meta_key(&key.text) {
                    Some(Meta::NfProto) if self.family() != TableFamily::Inet => {
                        Err(token.error("meta nfproto is only useful in the inet family", "leave it out"))
                    }
                    Some(meta) => Ok(Expr::Meta(meta)),
                    None if OTHER_META.contains(&key.text.as_str()) => Err(key.unsupported(format!("`meta {}`", key.text))),
                    None => Err(key.error("syntax error, unexpected string", "this is no key of meta")),
                };
            }
            _ if BARE_META.contains(&word) => {
                self.next();
                return meta_key(word).map(Expr::Meta).ok_or_else(|| token.unsupported(word));
            }
            _ if OTHER_META.contains(&word) || OTHER_HEADERS.contains(&word) => {
                return Err(token.unsupported(format!("`{word}` in nftables")));
            }
            _ => {}
        }
        if matches!(word, "tcp" | "ip") && following == "option" {
            return Err(token.unsupported(format!("`{word} option`")));
        }
        if let Some(field) = fields::find(word, following) {
            self.next();
            self.next();
            return self.payload(token, field);
        }
        let known = ["ip", "ip6", "tcp", "udp", "icmp", "icmpv6", "th", "ether", "sctp", "dccp", "udplite"];
        if known.contains(&word) {
            return Err(self
                .ahead(1)
                .error(format!("syntax error, unexpected {}", self.ahead(1).described()), "this is no field of that header"));
        }
        Err(token.error(
            format!("syntax error, unexpected {}", if token.text.is_empty() { "end" } else { "string" }),
            "this begins no statement that nft has",
        ))
    }

    /// A field, once its header goes with what is known.
    fn payload(&mut self, token: &Token, mut field: &'static super::model::Field) -> Parsed<Expr> {
        let conflict = |known: &str| {
            let message = format!("conflicting protocols specified: {known} vs. {}", field.protocol);
            token.error(message, "a packet cannot have both headers")
        };
        let wanted = match field.header {
            Header::Ip => Some(Family::V4),
            Header::Ip6 => Some(Family::V6),
            _ => None,
        };
        let known = self.family().only().or(self.context.family);
        if let (Some(wanted), Some(known)) = (wanted, known)
            && wanted != known
        {
            return Err(conflict(if known == Family::V4 { "ip" } else { "ip6" }));
        }
        self.context.family = wanted.or(self.context.family);
        if field.header == Header::Th {
            if let Some(exact) = self.context.l4.and_then(|number| fields::of_transport(number, field.name)) {
                field = exact;
            }
            self.context.transport = true;
        }
        if let Some(number) = field.header.protocol() {
            if let Some(known) = self.context.l4.filter(|&known| known != number) {
                let mut name = String::new();
                Ty::Proto.print(&mut name, u128::from(known));
                return Err(conflict(&name));
            }
            (self.context.l4, self.context.transport) = (Some(number), true);
        }
        Ok(Expr::Payload(field))
    }

    fn ct(&mut self) -> Parsed<Expr> {
        let first = self.next();
        let side = match self.peek().text.as_str() {
            "original" => Some(Side::Original),
            "reply" => Some(Side::Reply),
            _ => None,
        };
        // `ct direction original` is a key and a value.
        let side = side.filter(|_| self.peek().kind == Kind::Word);
        self.at += usize::from(side.is_some());
        let token = self.name("a key of ct")?;
        let family = match token.text.as_str() {
            "ip" => Some(Family::V4),
            "ip6" => Some(Family::V6),
            _ => None,
        };
        let token = if family.is_some() { self.name("saddr or daddr")? } else { token };
        let family = family.or(self.family().only()).or(self.context.family);
        let addressed = |make: fn(Side, Family) -> CtKey| match (side, family) {
            (Some(side), Some(family)) => Ok(Expr::Ct(make(side, family))),
            (None, _) => Err(token.error("ct saddr requires direction", "write `ct original ip saddr`")),
            (_, None) => Err(first.error(
                "cannot determine ip protocol version, use \"ip saddr\" or \"ip6 saddr\" instead",
                "write `ct original ip saddr` or `ct original ip6 saddr`",
            )),
        };
        Ok(Expr::Ct(match token.text.as_str() {
            "state" => CtKey::State,
            "status" => CtKey::Status,
            "mark" => CtKey::Mark,
            "direction" => CtKey::Direction,
            "expiration" => CtKey::Expiration,
            "zone" if side.is_none() => CtKey::Zone,
            "l3proto" => CtKey::L3Proto(side),
            "protocol" => CtKey::Protocol(None),
            "saddr" => return addressed(CtKey::Saddr),
            "daddr" => return addressed(CtKey::Daddr),
            "proto-src" | "proto-dst" if !self.context.transport => {
                return Err(self
                    .peek()
                    .error("Can't parse symbolic invalid expressions", "say first which protocol: `meta l4proto tcp`"));
            }
            "proto-src" => CtKey::ProtoSrc(side.unwrap_or(Side::Original)),
            "proto-dst" => CtKey::ProtoDst(side.unwrap_or(Side::Original)),
            other => return Err(token.unsupported(format!("`ct {other}`"))),
        }))
    }

    fn fib(&mut self) -> Parsed<Expr> {
        self.next();
        let mut fib = Fib::default();
        let mut addressed = false;
        loop {
            let token = self.name("saddr, daddr, mark, iif or oif")?;
            match token.text.as_str() {
                "saddr" => (fib.source, addressed) = (true, true),
                "daddr" => addressed = true,
                "mark" => fib.mark = true,
                "iif" => fib.iif = true,
                "oif" => fib.oif = true,
                _ => return Err(token.error("syntax error, unexpected string", "fib takes saddr, daddr, mark, iif, oif")),
            }
            if !self.eat(".") {
                break;
            }
        }
        let token = self.name("type, oif or oifname")?;
        match token.text.as_str() {
            "type" => fib.kind = true,
            "oif" => {}
            "oifname" => fib.name = true,
            _ => return Err(token.error("syntax error, unexpected string", "fib asks for type, oif or oifname")),
        }
        if !addressed {
            return Err(token.error("fib: need either saddr or daddr", "write `fib daddr type`"));
        }
        Ok(Expr::Fib(fib))
    }

    fn modulus(&mut self) -> Parsed<u32> {
        self.expect("mod")?;
        let token = self.peek();
        match self.number(u64::from(u32::MAX))? {
            0 => Err(token.error("modulus must be greater than zero", "write `mod 2`")),
            modulus => Ok(modulus as u32),
        }
    }

    fn offset(&mut self) -> Parsed<u32> {
        if self.eat("offset") { self.number(u64::from(u32::MAX)).map(|offset| offset as u32) } else { Ok(0) }
    }

    fn numgen(&mut self) -> Parsed<Expr> {
        self.next();
        let token = self.name("inc or random")?;
        let random = match token.text.as_str() {
            "inc" => false,
            "random" => true,
            _ => return Err(token.error("syntax error, unexpected string", "numgen is inc or random")),
        };
        let modulus = self.modulus()?;
        let offset = self.offset()?;
        // The kernel counts up before it gives a number, from the last one on.
        let slot = self.slot([u64::from(modulus - 1), 0]);
        Ok(Expr::Numgen { random, modulus, offset, slot })
    }

    fn jhash(&mut self) -> Parsed<Expr> {
        self.next();
        let mut of = vec![self.term()?];
        while self.eat(".") {
            of.push(self.term()?);
        }
        let modulus = self.modulus()?;
        let seed = if self.eat("seed") { Some(self.number(u64::from(u32::MAX))? as u32) } else { None };
        let offset = self.offset()?;
        Ok(Expr::Jhash { of, modulus, seed, offset })
    }

    /// A value, with flags and arithmetic among constants.
    pub(crate) fn constant(&mut self, ty: Ty) -> Parsed<u128> {
        let mut value = self.one(ty)?;
        while ty.is_flags() && (self.peek().is("|") || self.peek().is("or")) {
            self.next();
            value |= self.one(ty)?;
        }
        Ok(value)
    }

    fn one(&mut self, ty: Ty) -> Parsed<u128> {
        if self.open()? {
            let value = self.constant(ty)?;
            self.close()?;
            return Ok(value);
        }
        let token = self.name("a value")?;
        self.value(ty, token)
    }

    pub(crate) fn value(&self, ty: Ty, token: &Token) -> Parsed<u128> {
        ty.read(&token.text).ok_or_else(|| {
            let message = match ty {
                Ty::Ipv4 | Ty::Ipv6 => "Could not resolve hostname: Name or service not known".to_owned(),
                _ if number(&token.text).is_some() => {
                    format!("Value {} exceeds valid range 0-{}", token.text, ty.max())
                }
                Ty::Proto => "Could not resolve protocol name".to_owned(),
                Ty::Service => "Could not resolve service: Servname not supported for ai_socktype".to_owned(),
                Ty::Ifname => "String exceeds maximum length of 16".to_owned(),
                _ => format!("Could not parse {}", ty.name()),
            };
            token.error(message, &format!("a value of type {} belongs here", ty.name()))
        })
    }

    /// A value, a prefix, a range, or a name that ends in `*`.
    pub(crate) fn part(&mut self, ty: Ty) -> Parsed<Part> {
        let token = self.peek();
        if token.is("*") {
            self.next();
            return Ok(Part { lo: 0, hi: ty.max(), form: Form::Prefix(0) });
        }
        if ty == Ty::Ifname
            && let Some(stem) = token.text.strip_suffix('*')
        {
            self.next();
            let lo = if stem.is_empty() { Some(0) } else { name_bits(stem) };
            let lo =
                lo.ok_or_else(|| token.error("String exceeds maximum length of 16", "a name of a device has at most 15 bytes"))?;
            let len = stem.len() as u8 * 8;
            return Ok(Part { lo, hi: lo | u128::MAX.checked_shr(u32::from(len)).unwrap_or(0), form: Form::Prefix(len) });
        }
        let lo = self.constant(ty)?;
        if self.eat("/") {
            let bits = ty.bits();
            let token = self.peek();
            let len = self.number(u64::from(bits)).map_err(|_| {
                token.error(
                    format!("Prefix length {} is invalid for type of {bits} bits width", token.text),
                    "a shorter prefix belongs here",
                )
            })? as u8;
            let host = ty.max().checked_shr(u32::from(len)).unwrap_or(0);
            return Ok(Part { lo: lo & !host, hi: lo | host, form: if len == bits { Form::One } else { Form::Prefix(len) } });
        }
        if self.eat("-") {
            let hi_token = self.peek();
            let hi = self.constant(ty)?;
            if hi < lo {
                return Err(hi_token.error("Range has zero or negative size", "the first value of a range is the smaller one"));
            }
            return Ok(Part { lo, hi, form: if lo == hi { Form::One } else { Form::Range } });
        }
        Ok(Part::one(lo))
    }

    /// The set behind `map`, `vmap` or a comparison: `@name` or `{ ... }`. `data`: what it must give, for a set of its own.
    pub(crate) fn set_of(&mut self, key: &Expr, token: &Token, data: Option<DataType>) -> Parsed<(SetRef, DataType)> {
        let types = key.types();
        if self.eat("@") {
            let name = self.name("the name of a map")?;
            let found = self.here().set_named(&name.text);
            let Some(slot) = found else {
                return Err(name.error("No such file or directory", "no set or map of this table has this name"));
            };
            let set = self.here().sets[slot as usize].as_ref().expect("set_named returns taken slots");
            self.check_types(name, &types, &set.types)?;
            let Some(data) = set.data.clone() else {
                return Err(name.error("Expression is not a map", "this is a set: it gives no values"));
            };
            return Ok((SetRef::Named(slot, set.name.clone()), data));
        }
        let Some(data) = data.or_else(|| self.guess_data()) else {
            return Err(token.error("syntax error", "the values of this map could not be read: write `{ key : value, ... }`"));
        };
        let set = Set { types, data: Some(data.clone()), constant: true, ..Set::default() };
        Ok((SetRef::Own(Arc::new(self.own_set(set)?)), data))
    }

    pub(crate) fn check_types(&self, token: &Token, left: &[Ty], right: &[Ty]) -> Parsed<()> {
        let fit = left.len() == right.len()
            && left.iter().zip(right).all(|(a, b)| a == b || matches!((a, b), (Ty::Integer(_), Ty::Integer(_))));
        if fit {
            return Ok(());
        }
        let names = |types: &[Ty]| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ");
        let message = format!("datatype mismatch, map expects {}, mapping expression has type {}", names(right), names(left));
        Err(token.error(message, "the fields of the expression must be those of the set"))
    }

    /// The type of the values of a map of a rule, from its first one.
    fn guess_data(&self) -> Option<DataType> {
        let mut at = self.at;
        let mut depth = 0;
        loop {
            let token = self.tokens.get(at)?;
            match token.text.as_str() {
                "{" if token.kind == Kind::Sign => depth += 1,
                "}" if token.kind == Kind::Sign => return None,
                ":" if token.kind == Kind::Sign && depth == 1 => break,
                _ => {}
            }
            at += 1;
        }
        let mut types = Vec::new();
        loop {
            at += 1;
            while self.tokens.get(at)?.kind == Kind::End {
                at += 1;
            }
            let word = &self.tokens.get(at)?.text;
            types.push(match word.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => Ty::Ipv4,
                Ok(IpAddr::V6(_)) => Ty::Ipv6,
                Err(_) if types.is_empty() => Ty::Mark,
                Err(_) => Ty::Service,
            });
            at += 1;
            while !matches!(self.tokens.get(at)?.text.as_str(), "." | "," | "}") {
                at += 1;
            }
            if !self.tokens.get(at)?.is(".") {
                return Some(DataType::Values(types));
            }
        }
    }

    /// `{ ... }` of a rule.
    pub(crate) fn own_set(&mut self, mut set: Set) -> Parsed<Set> {
        set.handle = self.here_mut().next_handle();
        let open = self.peek();
        let elements = self.elements(&set)?;
        if elements.is_empty() {
            return Err(open.error("syntax error, unexpected '}'", "a set of a rule has at least one element"));
        }
        set.interval = elements.iter().flat_map(|element| &element.key).any(|part| part.form != Form::One);
        set.elements = elements;
        super::edit::settle(&mut set, open)?;
        Ok(set)
    }

    /// `{ key [options] [: data], ... }`.
    pub(crate) fn elements(&mut self, set: &Set) -> Parsed<Vec<Element>> {
        self.expect("{")?;
        let mut all = Vec::new();
        loop {
            self.skip_newlines();
            if self.eat("}") {
                return Ok(all);
            }
            all.push(self.element(set)?);
            self.skip_newlines();
            if !self.eat(",") {
                self.expect("}")?;
                return Ok(all);
            }
        }
    }

    fn element(&mut self, set: &Set) -> Parsed<Element> {
        let mut key = Vec::with_capacity(set.types.len());
        for (at, &ty) in set.types.iter().enumerate() {
            if at > 0 {
                self.expect(".")?;
            }
            key.push(self.part(ty)?);
        }
        let mut element = Element { key, data: None, comment: None, timeout: None, expires: None };
        loop {
            let token = self.peek();
            match token.text.as_str() {
                "timeout" | "expires" if token.kind == Kind::Word => {
                    self.next();
                    let value = self.duration()?;
                    if !set.timeouts {
                        return Err(token.error("set does not support timeouts", "the set needs `flags timeout`"));
                    }
                    if token.text == "timeout" {
                        element.timeout = Some(value);
                    } else {
                        element.expires = Some(self.now + SimTime::from_millis(value));
                    }
                }
                "comment" if token.kind == Kind::Word => {
                    self.next();
                    element.comment = Some(self.quoted()?.into());
                }
                "counter" | "limit" | "quota" if token.kind == Kind::Word => {
                    return Err(token.unsupported("counters and limits of single elements"));
                }
                _ => break,
            }
        }
        if let Some(lasts) = element.timeout.or(set.timeout)
            && element.expires.is_none()
        {
            element.expires = Some(self.now + SimTime::from_millis(lasts));
        }
        element.data = match &set.data {
            None => None,
            Some(data) => {
                self.expect(":")?;
                Some(self.data(data)?)
            }
        };
        Ok(element)
    }

    fn data(&mut self, data: &DataType) -> Parsed<Data> {
        match data {
            DataType::Verdict => self.verdict().map(Data::Verdict),
            DataType::Values(types) => {
                let mut parts = Vec::with_capacity(types.len());
                for (at, &ty) in types.iter().enumerate() {
                    if at > 0 {
                        self.expect(".")?;
                    }
                    parts.push(self.part(ty)?);
                }
                Ok(Data::Values(parts))
            }
        }
    }

    pub(crate) fn verdict(&mut self) -> Parsed<Verdict> {
        let token = self.name("a verdict")?;
        Ok(match token.text.as_str() {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "continue" => Verdict::Continue,
            "return" => Verdict::Return,
            "jump" | "goto" => {
                let target = self.name("the name of a chain")?;
                let Some(slot) = self.here().chain_named(&target.text) else {
                    return Err(
                        target.error("Could not process rule: No such file or directory", "no chain of this table has this name")
                    );
                };
                let chain = self.here().chains[slot as usize].as_ref().expect("chain_named returns taken slots");
                if chain.base.is_some() {
                    return Err(target.error("Could not process rule: Operation not supported", "a base chain cannot be jumped to"));
                }
                let name = chain.name.clone();
                if token.text == "jump" { Verdict::Jump { slot, name } } else { Verdict::Goto { slot, name } }
            }
            "queue" => return Err(token.unsupported("queues to user space")),
            _ => {
                return Err(
                    token.error("syntax error, unexpected string", "a verdict is accept, drop, continue, return, jump or goto")
                );
            }
        })
    }

    pub(crate) fn duration(&mut self) -> Parsed<u64> {
        let token = self.name("a time")?;
        duration(&token.text)
            .filter(|&ms| ms <= LONGEST_MS)
            .ok_or_else(|| token.error("syntax error, unexpected string", "a time such as 5m or 1h30m belongs here"))
    }
}
