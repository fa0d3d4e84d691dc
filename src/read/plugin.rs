//! The plugin of each tag of a run.

use std::collections::HashMap;

pub(crate) use crate::model::plugin::Plugin;

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
