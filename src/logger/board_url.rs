//! Addresses of TensorBoard's pages.

/// What an address need not escape (RFC 3986, unreserved characters) is left readable.
const UNRESERVED_KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The address of the Time Series page of a server with these scalars pinned.
pub(super) fn board_url(base: &str, tags: &[String]) -> String {
    let base = base.trim_end_matches('/');
    if tags.is_empty() {
        return format!("{base}/#timeseries");
    }
    let cards: Vec<String> = tags
        .iter()
        .map(|tag| serde_json::json!({"plugin": "scalars", "tag": tag}).to_string())
        .collect();
    let cards = format!("[{}]", cards.join(","));
    let cards = percent_encoding::utf8_percent_encode(&cards, UNRESERVED_KEPT);
    format!("{base}/?pinnedCards={cards}&smoothing=0#timeseries")
}
