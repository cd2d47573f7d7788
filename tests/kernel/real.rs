//! What the tests against the real kernel share.

use std::process::Command;

/// Runs a script when it goes out of scope, also when a test panics: takes the namespaces away.
pub(crate) struct Cleaner(pub(crate) String);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let _ = shell(&self.0);
    }
}

/// Runs a script; on failure what it says, and the script.
pub(crate) fn shell(text: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", text]).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{}\n{text}", String::from_utf8_lossy(&output.stderr))) }
}

/// Whether a test has to be passed over, which it says; panics where `PKTLAB_REQUIRE_KERNEL=1` forbids that.
pub(crate) fn passed_over(test: &str, tools: &[&str]) -> bool {
    let Some(lacking) = lacking(test, tools) else { return false };
    assert!(std::env::var("PKTLAB_REQUIRE_KERNEL").as_deref() != Ok("1"), "{test}: {lacking}");
    eprintln!("SKIPPED {test}: {lacking} (PKTLAB_REQUIRE_KERNEL=1 makes this a failure)");
    true
}

/// What this machine lacks.
fn lacking(test: &str, tools: &[&str]) -> Option<String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !root {
        return Some("not root".to_owned());
    }
    for tool in tools {
        if Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().is_ok_and(|output| !output.status.success()) {
            return Some(format!("no {tool}"));
        }
    }
    let probe = format!("plk{}-{test}-probe", std::process::id());
    match shell(&format!("ip netns add {probe} && ip netns del {probe}")) {
        Ok(()) => None,
        Err(_) => Some("namespaces cannot be made".to_owned()),
    }
}
