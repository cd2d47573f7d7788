//! Names that controllers give: Kubernetes' shape and alphabet, but derived from content, so that they never change.

use sha2::{Digest, Sha256};

/// k8s.io/apimachinery/pkg/util/rand: no vowels and nothing that looks like another character.
const SAFE_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// A generated name keeps at most this much of its base.
const MAX_BASE: usize = 58;

/// `length` characters of the safe alphabet, from the hash of `seed`; at most 32.
pub fn safe_hash(seed: &str, length: usize) -> String {
    let digest = Sha256::digest(seed.as_bytes());
    digest.iter().take(length).map(|byte| char::from(SAFE_ALPHABET[usize::from(*byte) % SAFE_ALPHABET.len()])).collect()
}

/// The five characters at the end of a generated name.
pub fn name_suffix(seed: &str) -> String {
    safe_hash(seed, 5)
}

/// `base-xxxxx`, the base cut as the API server cuts it.
pub fn generated(base: &str, seed: &str) -> String {
    let cut = base.char_indices().nth(MAX_BASE - 1).map_or(base, |(end, _)| &base[..end]);
    format!("{cut}-{}", name_suffix(seed))
}

/// The first eight hex digits of a hash: names of veth devices, as CNI plugins draw them.
pub fn hex8(seed: &str) -> String {
    Sha256::digest(seed.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// A number from a hash, for places where Kubernetes draws one.
pub fn number(seed: &str) -> u64 {
    let digest = Sha256::digest(seed.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
