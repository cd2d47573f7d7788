//! Who made what the network is built of: [`stack::Provenance`], made out of objects.

use stack::Provenance;
use stack::provenance::Place;

use crate::error::Origin;

/// Something that a part of the cluster does by itself.
pub fn by(generator: &str) -> Provenance {
    Provenance { generator: generator.into(), ..Provenance::default() }
}

/// Something that a part of the cluster does for an object, or for one of its fields; `field` may be empty.
pub fn for_object(generator: &str, object: String, field: &str, origin: &Origin) -> Provenance {
    Provenance {
        generator: generator.into(),
        object: Some(object.into()),
        field: Some(field.into()).filter(|_| !field.is_empty()),
        place: place(origin),
    }
}

fn place(origin: &Origin) -> Option<Place> {
    origin.is_read().then(|| Place { file: origin.source.clone(), line: origin.pos.line, column: origin.pos.column })
}
