//! Commands: what `nft -f` and `nft ARGUMENTS` change. All of an input, or nothing.

use std::sync::Arc;

use super::lex::{Kind, Token};
use super::model::{
    Base, Chain, ChainKind, DataType, Element, Expr, Form, Object, ObjectKind, Part, Rule, SLOTS, Set, SetRef, Stmt, TABLES, Table,
    TableFamily, Verdict,
};
use super::parser::{Parsed, Parser};
use super::types::Ty;
use super::{print, stmt};
use crate::netfilter::hook::Hook;

/// `NFT_JUMP_STACK_SIZE`.
const DEEPEST_JUMP: usize = 16;

impl Parser<'_> {
    /// All commands of an input.
    pub(crate) fn commands(&mut self) -> Parsed<()> {
        loop {
            self.skip_ends();
            if self.peek().kind == Kind::Eof {
                break;
            }
            self.command()?;
            if self.peek().kind != Kind::Eof {
                self.end_of_line()?;
            }
        }
        self.validate()
    }

    fn command(&mut self) -> Parsed<()> {
        let token = self.peek();
        self.changed |= !token.is("list");
        match token.text.as_str() {
            "add" | "create" => {
                self.next();
                self.add(token.text == "create")
            }
            "insert" | "replace" => {
                self.next();
                self.expect("rule")?;
                self.rule_command(token)
            }
            "delete" => {
                self.next();
                self.delete()
            }
            "flush" => {
                self.next();
                self.flush()
            }
            "list" => {
                self.next();
                self.list()
            }
            "table" | "chain" | "rule" | "set" | "map" | "element" | "counter" | "quota" => self.add(false),
            "reset" | "rename" | "export" | "monitor" | "describe" | "import" | "include" | "destroy" => {
                Err(token.unsupported(format!("`nft {}`", token.text)))
            }
            _ => Err(token.error(
                format!("syntax error, unexpected {}", token.described()),
                "the commands are add, create, insert, replace, delete, flush, list, and table NAME { ... }",
            )),
        }
    }

    fn family_word(&mut self) -> Parsed<TableFamily> {
        let token = self.peek();
        let family = match token.text.as_str() {
            "ip" => TableFamily::Ip,
            "ip6" => TableFamily::Ip6,
            "inet" => TableFamily::Inet,
            "bridge" | "arp" | "netdev" if !self.ahead(1).is("{") => {
                return Err(token.unsupported(format!("tables of the family {}", token.text)));
            }
            _ => return Ok(TableFamily::Ip),
        };
        self.next();
        Ok(family)
    }

    /// `[family] TABLE`: it becomes the table that is worked on.
    fn enter_table(&mut self) -> Parsed<()> {
        let family = self.family_word()?;
        let name = self.name("the name of a table")?;
        let found = self.draft.tables.iter().position(|table| table.family == family && *table.name == *name.text);
        self.table = found.ok_or_else(|| {
            name.error("Could not process rule: No such file or directory", "no table of this family has this name")
        })?;
        Ok(())
    }

    fn add(&mut self, create: bool) -> Parsed<()> {
        let token = self.name("what is to be added")?;
        match token.text.as_str() {
            "table" => self.table_block(create),
            "chain" => {
                self.enter_table()?;
                let name = self.name("the name of a chain")?;
                let mut rules = Vec::new();
                let slot = self.chain_block(name, create, &mut rules)?;
                self.rules_at(slot, &rules)
            }
            "rule" => self.rule_command(token),
            "set" | "map" => {
                self.enter_table()?;
                let name = self.name("the name of a set")?;
                let elements = self.set_block(name, token.text == "map", create)?;
                self.elements_at(name, elements)
            }
            "element" => {
                self.enter_table()?;
                let name = self.name("the name of a set")?;
                let at = Some(self.at);
                self.elements_at(name, at)
            }
            "counter" | "quota" => {
                self.enter_table()?;
                let name = self.name("the name of an object")?;
                self.object_block(name, token)
            }
            other => Err(token.unsupported(format!("`nft add {other}`"))),
        }
    }

    /// `[family] NAME [{ ... }]`.
    fn table_block(&mut self, create: bool) -> Parsed<()> {
        let family = self.family_word()?;
        let name = self.name("the name of a table")?;
        let found = self.draft.tables.iter().position(|table| table.family == family && *table.name == *name.text);
        self.table = match found {
            Some(_) if create => return Err(name.error("Could not process rule: File exists", "the table is there already")),
            Some(at) => at,
            None => {
                if self.draft.tables.len() >= TABLES {
                    return Err(name.unsupported(format!("more than {TABLES} tables")));
                }
                self.draft.handles += 1;
                let table = Table {
                    family,
                    name: name.text.as_str().into(),
                    handle: self.draft.handles,
                    comment: None,
                    dormant: false,
                    chains: Vec::new(),
                    sets: Vec::new(),
                    objects: Vec::new(),
                    handles: 0,
                };
                self.draft.tables.push(Arc::new(table));
                self.draft.tables.len() - 1
            }
        };
        if self.eat("{") { self.table_items() } else { Ok(()) }
    }

    /// What is in a table: first everything is declared, then come the rules, which may name all of it.
    fn table_items(&mut self) -> Parsed<()> {
        let (mut chains, mut objects, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.skip_ends();
            let token = self.peek();
            if self.eat("}") {
                break;
            }
            if token.kind == Kind::Eof {
                return Err(self.unexpected("the block of the table has no end"));
            }
            self.next();
            match token.text.as_str() {
                "chain" => chains.push(self.at),
                "counter" | "quota" => objects.push((token, self.at)),
                "set" | "map" => sets.push((token, self.at)),
                "comment" => {
                    let text = self.quoted()?;
                    self.here_mut().comment = Some(text.into());
                }
                "flags" => {
                    let word = self.name("dormant")?;
                    if word.text != "dormant" {
                        return Err(word.unsupported(format!("the flag {} of tables", word.text)));
                    }
                    self.here_mut().dormant = true;
                }
                "flowtable" | "ct" | "limit" | "secmark" | "synproxy" => {
                    return Err(token.unsupported(format!("`{}` objects in nftables", token.text)));
                }
                _ => {
                    let message = format!("syntax error, unexpected {}", token.described());
                    return Err(token.error(message, "a table has chains, sets, maps, counters and quotas"));
                }
            }
            self.skip_line();
            self.end_of_item()?;
        }
        let end = self.at;
        let mut rules = Vec::new();
        for at in chains {
            self.at = at;
            let name = self.name("the name of a chain")?;
            if !self.peek().is("{") {
                return Err(self.unexpected("`{` belongs here"));
            }
            let mut of_chain = Vec::new();
            let slot = self.chain_block(name, false, &mut of_chain)?;
            rules.push((slot, of_chain));
        }
        for (kind, at) in objects {
            self.at = at;
            let name = self.name("the name of an object")?;
            self.object_block(name, kind)?;
        }
        let mut elements = Vec::new();
        for (kind, at) in sets {
            self.at = at;
            let name = self.name("the name of a set")?;
            elements.push((name, self.set_block(name, kind.text == "map", false)?));
        }
        for (name, at) in elements {
            self.elements_at(name, at)?;
        }
        for (slot, of_chain) in rules {
            self.rules_at(slot, &of_chain)?;
        }
        self.at = end;
        Ok(())
    }

    fn end_of_item(&mut self) -> Parsed<()> {
        if self.peek().is("}") || self.peek().kind == Kind::End {
            return Ok(());
        }
        Err(self.unexpected("end the line here"))
    }

    /// `NAME [{ ... }]`: the chain's slot; where its rules begin goes into `rules`.
    fn chain_block(&mut self, name: &Token, create: bool, rules: &mut Vec<usize>) -> Parsed<u32> {
        let (mut base, mut policy, mut comment) = (None, None, None);
        if self.eat("{") {
            loop {
                self.skip_ends();
                if self.eat("}") {
                    break;
                }
                let token = self.peek();
                match token.text.as_str() {
                    _ if token.kind == Kind::Eof => return Err(self.unexpected("the block of the chain has no end")),
                    "type" => {
                        base = Some(self.base_chain()?);
                        self.end_of_line()?;
                    }
                    "policy" => {
                        self.next();
                        let word = self.name("accept or drop")?;
                        policy = Some(match word.text.as_str() {
                            "accept" => false,
                            "drop" => true,
                            _ => return Err(word.error("syntax error, unexpected string", "a policy is accept or drop")),
                        });
                        self.end_of_line()?;
                    }
                    "comment" => {
                        self.next();
                        comment = Some(Arc::from(self.quoted()?));
                        self.end_of_line()?;
                    }
                    "flags" | "device" | "devices" => return Err(token.unsupported(format!("`{}` of a chain", token.text))),
                    _ => {
                        rules.push(self.at);
                        self.skip_line();
                        self.end_of_line()?;
                    }
                }
            }
        }
        if let Some(base) = &mut base {
            base.drop = policy.unwrap_or(false);
            if base.kind == ChainKind::Nat && base.hook == Hook::Forward
                || base.kind == ChainKind::Route && base.hook != Hook::Output
            {
                return Err(
                    name.error("Could not process rule: Operation not supported", "chains of this type have no place at this hook")
                );
            }
            if base.kind == ChainKind::Nat && base.priority <= -200 {
                return Err(name.error(
                    "Could not process rule: Operation not supported",
                    "nat chains come behind connection tracking (-200)",
                ));
            }
        }
        if let Some(slot) = self.here().chain_named(&name.text) {
            if create {
                return Err(name.error("Could not process rule: File exists", "the chain is there already"));
            }
            let chain = self.here_mut().chains[slot as usize].as_mut().expect("chain_named returns taken slots");
            match (&mut Arc::make_mut(chain).base, base, policy) {
                (Some(old), Some(new), _) if (old.kind, old.hook, old.priority) == (new.kind, new.hook, new.priority) => {
                    old.drop = policy.unwrap_or(old.drop);
                }
                (Some(old), None, Some(policy)) => old.drop = policy,
                (_, None, None) => {}
                _ => return Err(name.error("Could not process rule: File exists", "the chain is there already, at another place")),
            }
            return Ok(slot);
        }
        if base.is_none() && policy.is_some() {
            return Err(name.error("Could not process rule: Operation not supported", "only a base chain has a policy"));
        }
        if self.here().chains.len() >= SLOTS {
            return Err(name.unsupported(format!("more than {SLOTS} chains in a table")));
        }
        if let Some(base) = &mut base {
            self.draft.registered += 1;
            base.order = self.draft.registered;
        }
        let prov = self.prov(name.line);
        let table = self.here_mut();
        let handle = table.next_handle();
        let chain = Chain { name: name.text.as_str().into(), handle, comment, base, rules: Vec::new(), prov };
        table.chains.push(Some(Arc::new(chain)));
        Ok(table.chains.len() as u32 - 1)
    }

    /// `type filter hook input priority filter`.
    fn base_chain(&mut self) -> Parsed<Base> {
        self.next();
        let token = self.name("filter, nat or route")?;
        let kind = match token.text.as_str() {
            "filter" => ChainKind::Filter,
            "nat" => ChainKind::Nat,
            "route" => ChainKind::Route,
            other => return Err(token.error(format!("unknown chain type {other}"), "the types are filter, nat and route")),
        };
        self.expect("hook")?;
        let token = self.name("a hook")?;
        let hook = match token.text.as_str() {
            "prerouting" => Hook::PreRouting,
            "input" => Hook::Input,
            "forward" => Hook::Forward,
            "output" => Hook::Output,
            "postrouting" => Hook::PostRouting,
            "ingress" | "egress" => return Err(token.unsupported(format!("the hook {}", token.text))),
            other => {
                return Err(token.error(
                    format!("unknown chain hook {other}"),
                    "the hooks are prerouting, input, forward, output, postrouting",
                ));
            }
        };
        if self.peek().is("device") {
            return Err(self.peek().unsupported("chains of a device"));
        }
        let word = self.peek();
        self.expect("priority")?;
        let priority = self.priority(word, hook)?;
        Ok(Base { kind, hook, priority, drop: false, order: 0 })
    }

    /// `0`, `-150`, `dstnat`, `dstnat - 10`.
    fn priority(&mut self, token: &Token, hook: Hook) -> Parsed<i32> {
        let negative = self.eat("-");
        let word = self.name("a priority")?;
        if let Ok(number) = word.text.parse::<i32>() {
            return Ok(if negative { -number } else { number });
        }
        // The lexer reads `dstnat-10` as one name.
        let (name, glued) = word.text.split_once('-').map_or((word.text.as_str(), None), |(name, rest)| (name, Some(rest)));
        let bad = || {
            token.error(
                "invalid priority expression value in this context.",
                "a priority is a number, or raw, mangle, dstnat (prerouting), filter, security, srcnat (postrouting)",
            )
        };
        let base = match name {
            "raw" => -300,
            "mangle" => -150,
            "dstnat" if hook == Hook::PreRouting => -100,
            "filter" => 0,
            "security" => 50,
            "srcnat" if hook == Hook::PostRouting => 100,
            _ => return Err(bad()),
        };
        if let Some(glued) = glued {
            return glued.parse::<i32>().ok().and_then(|by| i32::checked_sub(base, by)).ok_or_else(bad);
        }
        let sign = if self.eat("-") {
            -1
        } else if self.eat("+") {
            1
        } else {
            return Ok(base);
        };
        Ok(base + sign * self.number(1 << 30)? as i32)
    }

    /// Reads the rules that begin at these tokens.
    fn rules_at(&mut self, slot: u32, rules: &[usize]) -> Parsed<()> {
        let back = self.at;
        for &at in rules {
            self.at = at;
            let rule = self.rule()?;
            self.chain_mut(slot).rules.push(rule);
        }
        if !rules.is_empty() {
            self.at = back;
        }
        Ok(())
    }

    fn chain_mut(&mut self, slot: u32) -> &mut Chain {
        Arc::make_mut(self.here_mut().chains[slot as usize].as_mut().expect("the slot of a chain that was found is taken"))
    }

    fn rule(&mut self) -> Parsed<Arc<Rule>> {
        let start = self.peek();
        let (stmts, comment) = self.body()?;
        let settled = stmts.iter().rposition(Stmt::may_break).map_or(0, |last| last + 1);
        let (handle, table) = (self.here_mut().next_handle(), self.here());
        let mut rule =
            Rule { handle, stmts, comment, prov: self.prov(start.line), place: (start.line, start.column), key: 0, settled };
        if rule.stmts.iter().any(draws) {
            let text = format!("{} {} {}", table.family.as_str(), table.name, print::rule(table, &rule, None));
            rule.key = sim_core::choice::key_of(text.as_bytes());
        }
        Ok(Arc::new(rule))
    }

    /// `[family] TABLE CHAIN [handle N | position N | index N] STATEMENTS`.
    fn rule_command(&mut self, verb: &Token) -> Parsed<()> {
        self.enter_table()?;
        let name = self.name("the name of a chain")?;
        let slot = self.chain_slot(name)?;
        let mut at = None;
        if let word @ ("handle" | "position" | "index") = self.peek().text.as_str() {
            let token = self.next();
            let number = self.number(u64::MAX)?;
            let rules = &self.chain_mut(slot).rules;
            let found = match word {
                "index" => (number < rules.len() as u64).then_some(number as usize),
                _ => rules.iter().position(|rule| rule.handle == number),
            };
            at =
                Some(found.ok_or_else(|| {
                    token.error("Could not process rule: No such file or directory", "the chain has no such rule")
                })?);
        }
        let mut rule = self.rule()?;
        let rules = &mut self.chain_mut(slot).rules;
        match (verb.text.as_str(), at) {
            ("replace", Some(at)) => {
                Arc::make_mut(&mut rule).handle = rules[at].handle;
                rules[at] = rule;
                self.here_mut().handles -= 1;
            }
            ("replace", None) => return Err(verb.error("syntax error, expecting handle", "say which rule: `handle N`")),
            ("insert", at) => rules.insert(at.unwrap_or(0), rule),
            (_, Some(at)) => rules.insert(at + 1, rule),
            (_, None) => rules.push(rule),
        }
        Ok(())
    }

    fn chain_slot(&self, name: &Token) -> Parsed<u32> {
        self.here()
            .chain_named(&name.text)
            .ok_or_else(|| name.error("Could not process rule: No such file or directory", "no chain of this table has this name"))
    }

    /// `NAME [{ ... }]` of a counter or quota.
    fn object_block(&mut self, name: &Token, kind: &Token) -> Parsed<()> {
        let (mut counts, mut comment, mut terms) = ([0, 0], None, None);
        let block = self.eat("{");
        loop {
            if block {
                self.skip_ends();
                if self.eat("}") {
                    break;
                }
            } else if self.at_end() {
                break;
            }
            let token = self.peek();
            match token.text.as_str() {
                _ if token.kind == Kind::Eof => return Err(self.unexpected("the block has no end")),
                "comment" => {
                    self.next();
                    comment = Some(Arc::from(self.quoted()?));
                }
                "packets" if kind.text == "counter" => counts = self.counts()?,
                _ if kind.text == "quota" => terms = Some(self.quota_terms()?),
                _ => return Err(self.unexpected("`packets N bytes N` belongs here")),
            }
        }
        let kind = match (kind.text.as_str(), terms) {
            ("counter", _) => ObjectKind::Counter,
            (_, Some((over, bytes, used))) => {
                counts = [used, 0];
                ObjectKind::Quota { over, bytes }
            }
            _ => return Err(name.error("Could not process rule: Invalid argument", "a quota says how many bytes")),
        };
        if self.here().object_named(&name.text).is_some() {
            return Ok(());
        }
        let slot = self.slot(counts);
        let table = self.here_mut();
        let handle = table.next_handle();
        table.objects.push(Some(Arc::new(Object { name: name.text.as_str().into(), handle, comment, kind, slot })));
        Ok(())
    }

    /// `NAME { type ...; flags ...; elements = ... }`: where its elements begin.
    fn set_block(&mut self, name: &Token, map: bool, create: bool) -> Parsed<Option<usize>> {
        let mut set = Set { name: name.text.as_str().into(), ..Set::default() };
        let mut elements = None;
        self.expect("{")?;
        loop {
            self.skip_ends();
            if self.eat("}") {
                break;
            }
            let token = self.peek();
            if token.kind == Kind::Eof {
                return Err(self.unexpected("the block of the set has no end"));
            }
            self.next();
            match token.text.as_str() {
                "type" => self.set_type(&mut set, map)?,
                "typeof" => self.set_typeof(&mut set, map)?,
                "flags" => loop {
                    let word = self.name("a flag")?;
                    match word.text.as_str() {
                        "constant" => set.constant = true,
                        "interval" => set.interval = true,
                        "timeout" => set.timeouts = true,
                        "dynamic" => set.dynamic = true,
                        _ => {
                            return Err(
                                word.error("syntax error, unexpected string", "the flags are constant, interval, timeout, dynamic")
                            );
                        }
                    }
                    if !self.eat(",") {
                        break;
                    }
                },
                "timeout" => (set.timeout, set.timeouts) = (Some(self.duration()?), true),
                "gc-interval" => set.gc_interval = Some(self.duration()?),
                "size" => set.size = Some(self.number(u64::from(u32::MAX))? as u32),
                "comment" => set.comment = Some(self.quoted()?.into()),
                "auto-merge" => set.auto_merge = true,
                "policy" => {
                    let word = self.name("memory or performance")?;
                    if !matches!(word.text.as_str(), "memory" | "performance") {
                        return Err(word.error("syntax error, unexpected string", "a policy is memory or performance"));
                    }
                }
                "elements" => {
                    self.expect("=")?;
                    elements = Some(self.at);
                    self.skip_line();
                }
                "counter" | "limit" | "quota" => return Err(token.unsupported("sets that count each element")),
                _ => {
                    let message = format!("syntax error, unexpected {}", token.described());
                    return Err(token.error(message, "a set has type, flags, timeout, size, elements, ..."));
                }
            }
            if !self.peek().is("}") {
                self.end_of_line()?;
            }
        }
        if set.types.is_empty() {
            let message = if map { "map definition does not specify key" } else { "set definition does not specify key" };
            return Err(name.error(message, "write `type ipv4_addr;`"));
        }
        if map && set.data.is_none() {
            return Err(name.error("map definition does not specify mapping data type", "write `type ipv4_addr : verdict;`"));
        }
        if self.here().set_named(&name.text).is_some() {
            if create {
                return Err(name.error("Could not process rule: File exists", "the set is there already"));
            }
            return Ok(elements);
        }
        if set.dynamic || set.timeouts {
            set.live = Some(self.draft.live);
            self.draft.live += 1;
        }
        let table = self.here_mut();
        set.handle = table.next_handle();
        table.sets.push(Some(Arc::new(set)));
        Ok(elements)
    }

    fn set_type(&mut self, set: &mut Set, map: bool) -> Parsed<()> {
        set.types = self.type_list()?;
        if map {
            self.expect(":")?;
            set.data = Some(if self.eat("verdict") {
                DataType::Verdict
            } else {
                if matches!(self.peek().text.as_str(), "counter" | "quota" | "limit" | "interval") {
                    return Err(self.peek().unsupported("maps to objects"));
                }
                DataType::Values(self.type_list()?)
            });
        }
        Ok(())
    }

    fn type_list(&mut self) -> Parsed<Vec<Ty>> {
        let mut types = Vec::new();
        loop {
            let token = self.name("a type")?;
            types.push(Ty::named(&token.text).ok_or_else(|| {
                token.error(
                    format!("unknown datatype {}", token.text),
                    "types are ipv4_addr, ipv6_addr, inet_proto, inet_service, mark, ...",
                )
            })?);
            if !self.eat(".") {
                return Ok(types);
            }
        }
    }

    fn set_typeof(&mut self, set: &mut Set, map: bool) -> Parsed<()> {
        self.context = super::parser::Context { family: self.family().only(), transport: true, ..Default::default() };
        let key = self.expr()?;
        set.types = key.types();
        let mut text = print::expression(self.here(), &key);
        if map {
            self.expect(":")?;
            text.push_str(" : ");
            if self.eat("verdict") {
                set.data = Some(DataType::Verdict);
                text.push_str("verdict");
            } else {
                let data = self.expr()?;
                set.data = Some(DataType::Values(data.types()));
                text.push_str(&print::expression(self.here(), &data));
            }
        }
        set.of = Some(text);
        Ok(())
    }

    /// Adds the elements that begin at a token.
    fn elements_at(&mut self, name: &Token, at: Option<usize>) -> Parsed<()> {
        let Some(at) = at else { return Ok(()) };
        let back = self.at;
        let slot = self.set_slot(name)?;
        self.at = at;
        let mut set = (**self.here().sets[slot as usize].as_ref().expect("set_named returns taken slots")).clone();
        let start = self.peek();
        for element in self.elements(&set)? {
            if !set.interval && element.key.iter().any(|part| part.form != Form::One) {
                return Err(start.error(
                    "You must add 'flags interval' to your set declaration if you want to add range elements",
                    "write `flags interval;` into the set",
                ));
            }
            match set.elements.iter_mut().find(|old| old.key == element.key) {
                Some(old) if old.data != element.data => {
                    return Err(start.error("Could not process rule: File exists", "the map gives another value for this key"));
                }
                Some(_) => {}
                None => set.elements.push(element),
            }
        }
        if let Some(size) = set.size.filter(|&size| set.elements.len() > size as usize) {
            return Err(start.error(
                format!("Could not process rule: Too many open files in system ({size})"),
                "the set is larger than its size",
            ));
        }
        settle(&mut set, start)?;
        self.here_mut().sets[slot as usize] = Some(Arc::new(set));
        if back > self.at {
            self.at = back;
        }
        Ok(())
    }

    fn set_slot(&self, name: &Token) -> Parsed<u32> {
        self.here().set_named(&name.text).ok_or_else(|| {
            name.error("Could not process rule: No such file or directory", "no set or map of this table has this name")
        })
    }

    fn delete(&mut self) -> Parsed<()> {
        let token = self.name("what is to be deleted")?;
        if token.text == "table" {
            self.enter_table()?;
            let at = self.table;
            // Tables behind it move up: jumps name slots of their own table only.
            self.draft.tables.remove(at);
            return Ok(());
        }
        self.enter_table()?;
        let name = self.name("a name")?;
        let busy = |name: &Token| name.error("Could not process rule: Device or resource busy", "a rule or map still uses it");
        match token.text.as_str() {
            "chain" => {
                let slot = self.chain_slot(name)?;
                let chain = self.here().chains[slot as usize].clone().expect("chain_named returns taken slots");
                if self.here().uses_chain(slot, Some(slot)) {
                    return Err(busy(name));
                }
                if chain.base.is_none() && self.here().uses_chain(slot, None) {
                    return Err(busy(name));
                }
                self.here_mut().chains[slot as usize] = None;
            }
            "rule" => {
                let slot = self.chain_slot(name)?;
                self.expect("handle")?;
                let token = self.peek();
                let handle = self.number(u64::MAX)?;
                let rules = &mut self.chain_mut(slot).rules;
                let Some(at) = rules.iter().position(|rule| rule.handle == handle) else {
                    return Err(
                        token.error("Could not process rule: No such file or directory", "the chain has no rule with this handle")
                    );
                };
                rules.remove(at);
            }
            "set" | "map" => {
                let slot = self.set_slot(name)?;
                if self.here().uses_set(slot) {
                    return Err(busy(name));
                }
                self.here_mut().sets[slot as usize] = None;
            }
            "element" => {
                let slot = self.set_slot(name)?;
                let mut set = (**self.here().sets[slot as usize].as_ref().expect("set_named returns taken slots")).clone();
                // The values of a map may be left out.
                let keys = Set { data: None, ..set.clone() };
                let start = self.peek();
                let gone = if set.data.is_some() && self.names_values() { self.elements(&set)? } else { self.elements(&keys)? };
                for element in gone {
                    let Some(at) = set.elements.iter().position(|old| old.key == element.key) else {
                        return Err(start.error("Could not process rule: No such file or directory", "the set has no such element"));
                    };
                    set.elements.remove(at);
                }
                set.reindex();
                self.here_mut().sets[slot as usize] = Some(Arc::new(set));
            }
            "counter" | "quota" => {
                let Some(slot) = self.here().object_named(&name.text) else {
                    return Err(
                        name.error("Could not process rule: No such file or directory", "this table has no object of this name")
                    );
                };
                if self.here().uses_object(&name.text) {
                    return Err(busy(name));
                }
                self.here_mut().objects[slot as usize] = None;
            }
            other => return Err(token.unsupported(format!("`nft delete {other}`"))),
        }
        Ok(())
    }

    /// Whether elements behind this are written with their values.
    fn names_values(&self) -> bool {
        self.tokens[self.at..].iter().take_while(|token| !token.is("}")).any(|token| token.kind == Kind::Sign && token.text == ":")
    }

    fn flush(&mut self) -> Parsed<()> {
        let token = self.name("what is to be flushed")?;
        if token.text == "ruleset" {
            match self.peek().text.as_str() {
                "ip" | "ip6" | "inet" => {
                    let family = self.family_word()?;
                    self.draft.tables.retain(|table| table.family != family);
                }
                _ => self.draft.tables.clear(),
            }
            return Ok(());
        }
        self.enter_table()?;
        match token.text.as_str() {
            "table" => {
                let slots = self.here().chains.len() as u32;
                for slot in 0..slots {
                    if self.here().chains[slot as usize].is_some() {
                        self.chain_mut(slot).rules.clear();
                    }
                }
            }
            "chain" => {
                let name = self.name("the name of a chain")?;
                let slot = self.chain_slot(name)?;
                self.chain_mut(slot).rules.clear();
            }
            "set" | "map" => {
                let name = self.name("the name of a set")?;
                let slot = self.set_slot(name)?;
                let live = self.draft.live;
                let set = self.here_mut().sets[slot as usize].as_mut().expect("set_named returns taken slots");
                let set = Arc::make_mut(set);
                set.elements.clear();
                set.reindex();
                // What packets put there goes with its place.
                if set.live.is_some() {
                    set.live = Some(live);
                    self.draft.live += 1;
                }
            }
            other => return Err(token.unsupported(format!("`nft flush {other}`"))),
        }
        Ok(())
    }

    fn list(&mut self) -> Parsed<()> {
        let token = self.name("what is to be listed")?;
        let text = match token.text.as_str() {
            "ruleset" => {
                let family = match self.peek().text.as_str() {
                    "ip" | "ip6" | "inet" => Some(self.family_word()?),
                    _ => None,
                };
                print::ruleset(&self.draft, family, &self.beside())
            }
            "table" => {
                self.enter_table()?;
                let mut text = String::new();
                print::table(&mut text, self.here(), &self.beside());
                text
            }
            "tables" => self.draft.tables.iter().map(|table| format!("table {} {}\n", table.family.as_str(), table.name)).collect(),
            "chain" => {
                self.enter_table()?;
                let name = self.name("the name of a chain")?;
                let slot = self.chain_slot(name)?;
                let chain = self.here().chains[slot as usize].as_ref().expect("chain_named returns taken slots");
                print::one_chain(self.here(), chain, &self.beside())
            }
            "set" | "map" => {
                self.enter_table()?;
                let name = self.name("the name of a set")?;
                let slot = self.set_slot(name)?;
                let set = self.here().sets[slot as usize].as_ref().expect("set_named returns taken slots");
                print::one_set(self.here(), set, &self.beside())
            }
            other => return Err(token.unsupported(format!("`nft list {other}`"))),
        };
        self.output.push_str(&text);
        Ok(())
    }

    fn beside(&self) -> print::Beside<'_> {
        print::Beside { state: self.state, initial: &self.initial, now: self.now, options: self.options }
    }

    /// `nf_tables_commit`'s checks: each chain from each base chain that leads there, without loops.
    fn validate(&self) -> Parsed<()> {
        let refused = |rule: Option<&Rule>, message: &str, help: &str| {
            let (line, column) = rule.map_or((1, 1), |rule| rule.place);
            crate::netfilter::RestoreError {
                message: format!("Could not process rule: {message}"),
                line,
                column,
                len: 1,
                help: help.into(),
                unsupported: false,
            }
        };
        for table in &self.draft.tables {
            for (slot, chain) in table.chains.iter().enumerate() {
                let Some(base) = chain.as_ref().and_then(|chain| chain.base) else { continue };
                // Chains that were found good from here, at the depth that they were reached at.
                let mut seen: Vec<usize> = vec![usize::MAX; table.chains.len()];
                let mut open = vec![(slot as u32, 0_usize, None)];
                while let Some((slot, depth, from)) = open.pop() {
                    if depth > DEEPEST_JUMP {
                        return Err(refused(from, "Too many links", "chains lead to each other in a circle, or too deep"));
                    }
                    if seen[slot as usize] != usize::MAX && seen[slot as usize] >= depth {
                        continue;
                    }
                    seen[slot as usize] = depth;
                    let Some(chain) = table.chains[slot as usize].as_ref() else { continue };
                    for rule in &chain.rules {
                        for stmt in &rule.stmts {
                            if !stmt::fits_chain(stmt, base.kind, base.hook) {
                                let help = "chains of this type, or at this hook, do not take this statement";
                                return Err(refused(Some(rule), "Operation not supported", help));
                            }
                            let from = from.or(Some(&**rule));
                            table.each_target(stmt, |target| open.push((target, depth + 1, from)));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Table {
    /// The chains that a statement may lead to.
    fn each_target(&self, stmt: &Stmt, mut take: impl FnMut(u32)) {
        let mut of = |verdict: &Verdict| {
            if let Verdict::Jump { slot, .. } | Verdict::Goto { slot, .. } = verdict {
                take(*slot);
            }
        };
        match stmt {
            Stmt::Verdict(verdict) => of(verdict),
            Stmt::Vmap { set, .. } => self.verdicts(set, &mut of),
            _ => {}
        }
    }

    fn verdicts(&self, set: &SetRef, of: &mut dyn FnMut(&Verdict)) {
        let set = match set {
            SetRef::Own(set) => Some(set),
            SetRef::Named(slot, _) => self.sets.get(*slot as usize).and_then(Option::as_ref),
        };
        for element in set.into_iter().flat_map(|set| &set.elements) {
            if let Some(super::model::Data::Verdict(verdict)) = &element.data {
                of(verdict);
            }
        }
    }

    /// Whether a rule or map leads to the chain; rules of `except` do not count.
    fn uses_chain(&self, slot: u32, only: Option<u32>) -> bool {
        let mut found = false;
        let mut hit = |target: u32| found |= target == slot;
        for (at, chain) in self.chains.iter().enumerate() {
            // Rules of a chain that jump to itself are refused anyway.
            if only.is_some() && only != Some(at as u32) {
                continue;
            }
            for rule in chain.iter().flat_map(|chain| &chain.rules) {
                for stmt in &rule.stmts {
                    self.each_target(stmt, &mut hit);
                }
            }
        }
        if only.is_none() {
            for set in self.sets.iter().flatten() {
                self.verdicts(&SetRef::Own(set.clone()), &mut |verdict| {
                    if let Verdict::Jump { slot: target, .. } | Verdict::Goto { slot: target, .. } = verdict {
                        found |= *target == slot;
                    }
                });
            }
        }
        found
    }

    fn stmts(&self) -> impl Iterator<Item = &Stmt> {
        self.chains.iter().flatten().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.stmts)
    }

    fn uses_set(&self, slot: u32) -> bool {
        fn in_expr(expr: &Expr, slot: u32) -> bool {
            match expr {
                Expr::Map { key, set, .. } => matches!(set, SetRef::Named(at, _) if *at == slot) || in_expr(key, slot),
                Expr::Bits { of, .. } => in_expr(of, slot),
                Expr::Concat(all) => all.iter().any(|expr| in_expr(expr, slot)),
                _ => false,
            }
        }
        let named = |set: &SetRef| matches!(set, SetRef::Named(at, _) if *at == slot);
        self.stmts().any(|stmt| match stmt {
            Stmt::Match { left, test } => in_expr(left, slot) || matches!(test, super::model::Test::Set { set, .. } if named(set)),
            Stmt::Vmap { key, set } => in_expr(key, slot) || named(set),
            Stmt::SetMark(value) | Stmt::SetCtMark(value) | Stmt::SetPayload { value, .. } => in_expr(value, slot),
            Stmt::Update { set, .. } => *set == slot,
            Stmt::Nat(nat) => [&nat.address, &nat.port].into_iter().flatten().any(|target| match target {
                super::model::Target::Of(expr) => in_expr(expr, slot),
                super::model::Target::Range(..) => false,
            }),
            _ => false,
        })
    }

    fn uses_object(&self, name: &str) -> bool {
        self.stmts().any(|stmt| matches!(stmt, Stmt::CounterOf { name: of, .. } | Stmt::QuotaOf { name: of, .. } if **of == *name))
    }
}

fn draws(stmt: &Stmt) -> bool {
    fn random(expr: &Expr) -> bool {
        match expr {
            Expr::Numgen { random, .. } => *random,
            Expr::Meta(super::model::Meta::Random) => true,
            Expr::Bits { of, .. } => random(of),
            Expr::Concat(all) => all.iter().any(random),
            Expr::Map { key, .. } => random(key),
            _ => false,
        }
    }
    match stmt {
        Stmt::Match { left, .. } => random(left),
        Stmt::Vmap { key, .. } => random(key),
        Stmt::SetMark(value) | Stmt::SetCtMark(value) => random(value),
        Stmt::Nat(nat) => [&nat.address, &nat.port].into_iter().flatten().any(|target| match target {
            super::model::Target::Of(expr) => random(expr),
            super::model::Target::Range(..) => false,
        }),
        _ => false,
    }
}

/// Orders the elements as nft lists them, merges what touches, refuses what overlaps, and builds the index.
pub(crate) fn settle(set: &mut Set, token: &Token) -> Parsed<()> {
    if set.interval {
        for element in &mut set.elements {
            for (part, ty) in element.key.iter_mut().zip(&set.types) {
                *part = as_prefix(*part, *ty);
            }
        }
    }
    let single = set.types.len() == 1;
    if single || !set.interval {
        let types = set.types.clone();
        let interval = set.interval;
        set.elements.sort_by_cached_key(|element| if interval { vec![element.key[0].lo] } else { order_of(element, &types) });
    }
    if set.interval && single {
        let merges = set.data.is_none() && (set.auto_merge || set.name.is_empty());
        let mut merged: Vec<Element> = Vec::with_capacity(set.elements.len());
        for element in set.elements.drain(..) {
            if let Some(last) = merged.last_mut() {
                let (old, new) = (last.key[0], element.key[0]);
                if merges && new.lo <= old.hi.saturating_add(1) {
                    let hi = old.hi.max(new.hi);
                    let form = if old.lo == hi { Form::One } else { Form::Range };
                    last.key[0] = as_prefix(Part { lo: old.lo, hi, form }, set.types[0]);
                    continue;
                }
                if new.lo <= old.hi {
                    let conflict = "conflicting intervals specified";
                    return Err(token.error(conflict, "the elements of an interval set do not overlap; `auto-merge` joins them"));
                }
            }
            merged.push(element);
        }
        set.elements = merged;
    }
    set.reindex();
    Ok(())
}

/// What nft sorts elements by: the bytes of the fields, the last one on top; within one field, the number.
fn order_of(element: &Element, types: &[Ty]) -> Vec<u128> {
    if let ([part], [ty]) = (&element.key[..], types) {
        return vec![if ty.is_name() { part.lo.swap_bytes() } else { part.lo }];
    }
    let mut bytes: Vec<u8> = Vec::new();
    for (part, ty) in element.key.iter().zip(types) {
        let len = usize::from(ty.bits()).div_ceil(8);
        let all = part.lo.to_be_bytes();
        let mut field = all[16 - len..].to_vec();
        let host = matches!(ty, Ty::Mark | Ty::CtState | Ty::CtStatus | Ty::Uid | Ty::Gid | Ty::FibType | Ty::Time);
        if host {
            field.reverse();
        }
        bytes.extend(field);
    }
    bytes.reverse();
    bytes
        .chunks(16)
        .map(|chunk| chunk.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte)) << (8 * (16 - chunk.len())))
        .collect()
}

/// A range of addresses that is a prefix is listed as one.
fn as_prefix(part: Part, ty: Ty) -> Part {
    if part.form != Form::Range || !matches!(ty, Ty::Ipv4 | Ty::Ipv6) {
        return part;
    }
    let span = part.lo ^ part.hi;
    let is_prefix = span & span.wrapping_add(1) == 0 && part.lo & span == 0;
    if is_prefix { Part { form: Form::Prefix(ty.bits() - span.count_ones() as u8), ..part } } else { part }
}
