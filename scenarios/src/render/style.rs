//! Colours, where they are wanted.

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) on: bool,
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn plain(&self, text: &str) -> String {
        text.to_owned()
    }

    pub(super) fn title(&self, text: &str) -> String {
        self.paint("1;4", text)
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn place(&self, text: &str) -> String {
        self.paint("1;36", text)
    }

    pub(super) fn stage(&self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(super) fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(&self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}
