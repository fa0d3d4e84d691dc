//! What a report says where few steps are observed.

/// The note for one observed step of so many, whatever the report is made of; `None` for all of
/// them.
pub(crate) fn thinned_note(stride: u64) -> Option<String> {
    (stride > 1).then(|| {
        format!(
            "by now one step of {stride} is observed, so that logging keeps to its share of the \
             CPU time (LoggerBuilder::overhead): what is said of steps is said of those observed"
        )
    })
}
