//! The name of a variable of a log.

use std::fmt;

/// The name of a variable in a log. `Display` gives it as tables show it: behind its scope and a
/// slash where there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct VariableName {
    /// The logger's scope, empty without one.
    pub scope: String,
    /// As the model spells it.
    pub name: String,
}

impl VariableName {
    pub(crate) fn new(scope: &str, name: &str) -> VariableName {
        VariableName {
            scope: scope.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope.as_str() {
            "" => formatter.write_str(&self.name),
            scope => write!(formatter, "{scope}/{}", self.name),
        }
    }
}
