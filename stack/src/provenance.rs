//! Where a rule, route or device came from: kernel object -> who generated it -> API object and field -> file and line.
//!
//! One interned table a network; everything else carries a [`ProvId`].

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// An entry of [`Provenances`]. The default means: nobody said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProvId(pub u32);

/// A place in a file. Lines and columns count from 1; column 0 means the whole line.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The file's name, as the user gave it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 for the whole line.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, "{}:{}", self.file, self.line),
            column => write!(f, "{}:{}:{column}", self.file, self.line),
        }
    }
}

/// Where something came from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Provenance {
    /// Who generated it: `kube-proxy`, `kindnet`, `the scenario`. Empty: nobody said.
    pub generator: Arc<str>,
    /// For which object: `Service default/web`.
    pub object: Option<Arc<str>>,
    /// From which of its fields: `spec.ports[0]`.
    pub field: Option<Arc<str>>,
    /// Where that stands.
    pub place: Option<Place>,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.generator)?;
        if let Some(object) = &self.object {
            write!(f, " for {object}")?;
        }
        if let Some(field) = &self.field {
            write!(f, " {field}")?;
        }
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        Ok(())
    }
}

/// The interned table. Entry 0 is the empty provenance.
#[derive(Clone, Debug)]
pub struct Provenances {
    entries: Vec<Provenance>,
    ids: FxHashMap<Provenance, ProvId>,
}

impl Default for Provenances {
    fn default() -> Provenances {
        let empty = Provenance::default();
        Provenances { entries: vec![empty.clone()], ids: [(empty, ProvId(0))].into_iter().collect() }
    }
}

impl Provenances {
    /// The id of an entry, made if need be.
    pub fn intern(&mut self, provenance: Provenance) -> ProvId {
        if let Some(&id) = self.ids.get(&provenance) {
            return id;
        }
        let id = ProvId(self.entries.len() as u32);
        self.entries.push(provenance.clone());
        self.ids.insert(provenance, id);
        id
    }

    /// The entry; none where nobody said.
    pub fn get(&self, id: ProvId) -> Option<&Provenance> {
        self.entries.get(id.0 as usize).filter(|_| id.0 != 0)
    }
}
