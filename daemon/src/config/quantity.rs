//! Kubernetes quantities, for comparing and for checking settings.

/// The amount of a Kubernetes quantity, for comparing; none if the text is no quantity.
pub fn quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = |byte: char| byte.is_ascii_digit() || matches!(byte, '.' | '+' | '-');
    let end = text.find(|letter: char| !digits(letter)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let power = |base: f64, exponent: i32| base.powi(exponent);
    let factor = match suffix {
        "" => 1.0,
        "n" => power(10.0, -9),
        "u" => power(10.0, -6),
        "m" => power(10.0, -3),
        "k" => power(10.0, 3),
        "M" => power(10.0, 6),
        "G" => power(10.0, 9),
        "T" => power(10.0, 12),
        "P" => power(10.0, 15),
        "E" => power(10.0, 18),
        "Ki" => power(1024.0, 1),
        "Mi" => power(1024.0, 2),
        "Gi" => power(1024.0, 3),
        "Ti" => power(1024.0, 4),
        "Pi" => power(1024.0, 5),
        "Ei" => power(1024.0, 6),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            power(10.0, exponent.parse().ok().filter(|power: &i32| power.abs() <= 18)?)
        }
    };
    Some(number * factor).filter(|amount| amount.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_by_their_amount() {
        for (text, amount) in [
            ("1", Some(1.0)),
            ("100m", Some(0.1)),
            ("1Gi", Some(1_073_741_824.0)),
            ("1e3", Some(1000.0)),
            ("0.5Mi", Some(524_288.0)),
            ("2E", Some(2e18)),
            ("", None),
            ("abc", None),
            ("1 Gi", None),
            ("1gb", None),
            ("1e999", None),
        ] {
            assert_eq!(quantity(text), amount, "{text}");
        }
    }
}
