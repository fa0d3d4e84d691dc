//! Numbers for people.

/// Three significant digits, with an exponent where zeros would have to be counted.
pub(crate) fn significant(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || !number.is_finite() {
        return format!("{number}");
    }
    // What rounds up to the next power of ten has a digit more before the point.
    let digits = size.log10().floor() as i32;
    match digits {
        -3..=4 => format!("{number:.*}", (2 - digits).max(0) as usize),
        _ => format!("{number:.2e}"),
    }
}

/// What is above zero is not shown as none.
pub(crate) fn whole_percent(share: f64) -> String {
    match share {
        share if share > 0.0 && share < 0.005 => "less than 1 %".into(),
        share => format!("{:.0} %", 100.0 * share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_exponents() {
        let cases = [
            (0.0, "0"),
            (12.345_678, "12.3"),
            (0.001_234, "0.00123"),
            (0.000_123_4, "1.23e-4"),
            (-546.23, "-546"),
            (12_345.6, "12346"),
            (1_234_567.0, "1.23e6"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in cases {
            assert_eq!(significant(number), text);
        }
    }
}
