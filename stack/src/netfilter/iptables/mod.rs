//! The iptables dialect: words ([`lex`]), options ([`args`]), a rule ([`parse`], [`print`]), dumps ([`restore`], [`save`]), single
//! commands ([`edit`]), and the transaction that they all work on ([`draft`]).

pub(crate) mod args;
pub(crate) mod draft;
pub(crate) mod edit;
pub(crate) mod lex;
pub(crate) mod names;
pub(crate) mod parse;
pub(crate) mod print;
pub(crate) mod restore;
pub(crate) mod save;

#[cfg(test)]
mod tests;
