//! Quantities of the Kubernetes API: `100m`, `1.5Gi`, `2e3`, `500k`.

/// The value in base units (cores, bytes, counts); none if the text is no quantity.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    // `1e3` and `1E3` are exponents, a bare trailing `E` is exa.
    if let Some(rest) = text.get(split..)
        && rest.len() > 1
        && rest.starts_with(['e', 'E'])
        && rest[1..].chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-'))
    {
        return text.parse().ok();
    }
    let number: f64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_every_suffix_of_the_api() {
        for (text, want) in [
            ("100m", Some(0.1)),
            ("2", Some(2.0)),
            ("1.5Gi", Some(1.5 * 1024.0 * 1024.0 * 1024.0)),
            ("500k", Some(500_000.0)),
            ("1e3", Some(1000.0)),
            ("1E", Some(1e18)),
            ("12E2", Some(1200.0)),
            ("5x", None),
            ("", None),
        ] {
            let got = parse(text);
            assert!(
                match (got, want) {
                    (Some(a), Some(b)) => (a - b).abs() < 1e-6 * b.max(1.0),
                    (a, b) => a == b,
                },
                "{text}: {got:?}"
            );
        }
    }
}
