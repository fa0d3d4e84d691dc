//! The dashboards of TensorBoard, by the names of their plugins in a value's metadata.

/// The plugin that shows a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Plugin {
    Scalars,
    Histograms,
    Text,
    Images,
    Audio,
    HParams,
    CustomScalars,
    PrCurves,
    Mesh,
    Graphs,
    /// No dashboard of TensorBoard's: records of this crate for its own reader.
    Private,
    /// Any that this crate does not know.
    Other,
}

/// The plugin, its name, and what its tags hold.
struct PluginRow(Plugin, &'static str, &'static str);

/// All but [`Plugin::Other`].
const ROWS: [PluginRow; 11] = [
    PluginRow(Plugin::Scalars, "scalars", "scalars"),
    PluginRow(Plugin::Histograms, "histograms", "histograms"),
    PluginRow(Plugin::Text, "text", "texts"),
    PluginRow(Plugin::Images, "images", "images"),
    PluginRow(Plugin::Audio, "audio", "audio"),
    PluginRow(Plugin::HParams, "hparams", "hyperparameters"),
    PluginRow(Plugin::CustomScalars, "custom_scalars", "a layout"),
    PluginRow(Plugin::PrCurves, "pr_curves", "PR curves"),
    PluginRow(Plugin::Mesh, "mesh", "meshes"),
    PluginRow(Plugin::Graphs, "graphs", "graphs"),
    PluginRow(Plugin::Private, "tch_tensorboard", "records of this crate"),
];

impl Plugin {
    /// `None` when no plugin is named.
    pub(crate) fn named(name: &str) -> Option<Plugin> {
        if name.is_empty() {
            return None;
        }
        let row = ROWS.iter().find(|row| row.1 == name);
        Some(row.map_or(Plugin::Other, |row| row.0))
    }

    /// The name in a value's metadata; empty for [`Plugin::Other`].
    pub(crate) fn name(self) -> &'static str {
        self.row().map_or("", |row| row.1)
    }

    /// Why a tag of this plugin takes no values of another one: one loader would drop them and one
    /// answer with an error.
    pub(crate) fn clash(self, other: Plugin) -> String {
        let (held, refused) = (self.holds(), other.holds());
        format!("holds {held} already and takes no {refused}; give these another tag")
    }

    /// What a tag of it holds, in words.
    fn holds(self) -> &'static str {
        self.row()
            .map_or("values of another dashboard", |row| row.2)
    }

    fn row(self) -> Option<&'static PluginRow> {
        ROWS.iter().find(|row| row.0 == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_read() {
        for row in &ROWS {
            assert_eq!(Plugin::named(row.0.name()), Some(row.0));
            let clash = row.0.clash(Plugin::Scalars);
            assert!(clash.starts_with(&format!("holds {} already", row.2)));
            assert!(clash.contains("takes no scalars"));
        }
        assert_eq!(Plugin::named("mine"), Some(Plugin::Other));
        assert_eq!(Plugin::named(""), None);
    }
}
