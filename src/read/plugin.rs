//! The dashboards that this crate knows, by the names of their plugins in a value's metadata.

use std::collections::HashMap;

/// Whose value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    Scalars,
    Histograms,
    Text,
    Images,
    Audio,
    HParams,
    Other,
}

impl Plugin {
    /// `None` when no plugin is named.
    pub(crate) fn named(name: &str) -> Option<Plugin> {
        Some(match name {
            "" => return None,
            "scalars" => Plugin::Scalars,
            "histograms" => Plugin::Histograms,
            "text" => Plugin::Text,
            "images" => Plugin::Images,
            "audio" => Plugin::Audio,
            "hparams" => Plugin::HParams,
            _ => Plugin::Other,
        })
    }
}

/// The plugin of each tag: that of its first value that names one, as in TensorBoard.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plugins(HashMap<Box<str>, Plugin>);

impl Plugins {
    /// The plugin of a tag, one of whose values names this one.
    pub(crate) fn of(&mut self, tag: &str, named: Option<Plugin>) -> Option<Plugin> {
        if let Some(known) = self.0.get(tag) {
            return Some(*known);
        }
        self.0.insert(tag.into(), named?);
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_counts() {
        let mut plugins = Plugins::default();
        assert_eq!(plugins.of("a", None), None);
        assert_eq!(plugins.of("a", Plugin::named("text")), Some(Plugin::Text));
        assert_eq!(plugins.of("a", Plugin::named("audio")), Some(Plugin::Text));
        assert_eq!(plugins.of("a", None), Some(Plugin::Text));
        assert_eq!(plugins.of("b", Plugin::named("")), None);
        assert_eq!(plugins.of("b", Plugin::named("mine")), Some(Plugin::Other));
    }
}
