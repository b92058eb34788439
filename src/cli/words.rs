//! Texts on the command line that become types of the service.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::domain::time::Timestamp;

/// A word of one of our enums, as it stands in JSON.
pub fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| {
        // serde names the words that there are.
        error.to_string()
    })
}

/// An instant.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_str(text).map_err(str::to_owned)
}

/// A length of time in seconds, such as `90s`, `15m`, `8h` or `7d`.
pub fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("“{text}” must be like 90s, 15m, 8h or 7d");
    seconds_or_none(text).ok().filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

/// The same, or none: `0s`.
pub fn seconds_or_none(text: &str) -> Result<u32, String> {
    let wrong = || format!("“{text}” must be like 90s, 15m, 8h or 7d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::callers::OperatorRole;

    #[test]
    fn words_and_lengths() {
        assert_eq!(word::<OperatorRole>("super_admin"), Ok(OperatorRole::SuperAdmin));
        assert!(word::<OperatorRole>("admin").unwrap_err().contains("tenant_admin"));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds_or_none("0s"), Ok(0));
        for wrong in ["", "m", "15", "15 m", "-1s", "0s", "1w", "99999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
