//! What was read, what of it has an effect, and what has none: nothing is skipped in silence.

use std::fmt;
use std::sync::Arc;

use crate::error::Pos;

/// Every file that was read, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The files, in the order in which they were read.
    pub files: Vec<FileReport>,
}

/// One file: its objects and what is to be said about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Its objects, in order; the items of a list count one by one.
    pub objects: Vec<ObjectReport>,
    /// Unknown fields, objects that are defined twice, documents that are not objects.
    pub warnings: Vec<Note>,
}

/// One object of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReport {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// The namespace; absent for kinds that have none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// Where the object starts.
    pub pos: Pos,
    /// Whether it changes the network.
    pub effect: Effect,
    /// Fields that are set but have no effect here.
    pub unused: Vec<Note>,
}

/// Whether an object changes the simulated network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Used,
    /// It does not, and would not on a real cluster's packets either; why.
    None(String),
    /// On a real cluster it may; pktlab does not model it, and says so.
    NotModelled(String),
}

/// A remark about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The place.
    pub pos: Pos,
    /// The field; may be empty.
    pub path: String,
    /// The remark.
    pub text: String,
    /// Whether packets of a real cluster may fare differently because of it.
    pub matters: bool,
}

impl LoadReport {
    /// The report of `file`, made if this is the first word about it.
    pub(crate) fn file(&mut self, file: &Arc<str>) -> &mut FileReport {
        // Files come one after another: the last one is nearly always the right one.
        let index = match self.files.iter().rposition(|report| report.file == *file) {
            Some(index) => index,
            None => {
                self.files.push(FileReport { file: file.clone(), objects: Vec::new(), warnings: Vec::new() });
                self.files.len() - 1
            }
        };
        &mut self.files[index]
    }

    /// How many objects have an effect, have none, and are not modelled.
    pub fn counts(&self) -> (usize, usize, usize) {
        let objects = || self.files.iter().flat_map(|file| &file.objects);
        let count = |test: fn(&Effect) -> bool| objects().filter(|object| test(&object.effect)).count();
        (
            count(|effect| *effect == Effect::Used),
            count(|effect| matches!(effect, Effect::None(_))),
            count(|effect| matches!(effect, Effect::NotModelled(_))),
        )
    }

    /// Objects and fields that a real cluster's packets may depend on and that are not modelled, with their place.
    pub fn not_modelled(&self) -> impl Iterator<Item = String> {
        self.files.iter().flat_map(|file| {
            file.objects.iter().flat_map(move |object| {
                let whole = match &object.effect {
                    Effect::NotModelled(why) => Some(format!("{}:{}: {object}: {why}", file.file, object.pos.line)),
                    _ => None,
                };
                let fields = object
                    .unused
                    .iter()
                    .filter(|note| note.matters)
                    .map(move |note| format!("{}:{}: {object}: {}: {}", file.file, note.pos.line, note.path, note.text));
                whole.into_iter().chain(fields)
            })
        })
    }
}

/// `Deployment default/web`.
impl fmt::Display for ObjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One paragraph a file, for people.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{}", file.file)?;
            for object in &file.objects {
                write!(f, "  line {:<5} {object}", object.pos.line)?;
                match &object.effect {
                    Effect::Used => writeln!(f)?,
                    Effect::None(why) => writeln!(f, "  no effect: {why}")?,
                    Effect::NotModelled(why) => writeln!(f, "  NOT MODELLED: {why}")?,
                }
                for note in &object.unused {
                    writeln!(f, "    line {:<3} {}: {}", note.pos.line, note.path, note.text)?;
                }
            }
            for note in &file.warnings {
                write!(f, "  warning: line {}:{} ", note.pos.line, note.pos.column)?;
                if !note.path.is_empty() {
                    write!(f, "{}: ", note.path)?;
                }
                writeln!(f, "{}", note.text)?;
            }
        }
        Ok(())
    }
}
