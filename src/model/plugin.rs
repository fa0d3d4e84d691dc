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

/// The plugin, its name, and why a tag of it takes no values of another one.
struct PluginRow(Plugin, &'static str, &'static str);

macro_rules! row {
    ($plugin:ident, $name:literal, $held:literal) => {
        PluginRow(
            Plugin::$plugin,
            $name,
            concat!(
                "holds ",
                $held,
                " already; give the other values another tag"
            ),
        )
    };
}

/// All but [`Plugin::Other`].
const ROWS: [PluginRow; 11] = [
    row!(Scalars, "scalars", "scalars"),
    row!(Histograms, "histograms", "histograms"),
    row!(Text, "text", "texts"),
    row!(Images, "images", "images"),
    row!(Audio, "audio", "audio"),
    row!(HParams, "hparams", "hyperparameters"),
    row!(CustomScalars, "custom_scalars", "a layout"),
    row!(PrCurves, "pr_curves", "PR curves"),
    row!(Mesh, "mesh", "meshes"),
    row!(Graphs, "graphs", "graphs"),
    row!(Private, "tch_tensorboard", "records of this crate"),
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
    pub(crate) fn clash(self) -> &'static str {
        let unknown =
            "holds values of another dashboard already; give the other values another tag";
        self.row().map_or(unknown, |row| row.2)
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
            assert!(row.0.clash().starts_with("holds "));
        }
        assert_eq!(Plugin::named("mine"), Some(Plugin::Other));
        assert_eq!(Plugin::named(""), None);
    }
}
