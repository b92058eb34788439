//! Texts on the command line that become types of the service.

use std::str::FromStr;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

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

/// A word of one of our enums, or anything else that always has a form in JSON, as that.
pub fn json(value: impl Serialize) -> Option<Value> {
    serde_json::to_value(value).ok()
}

/// A word of a flag as it is written.
pub fn name(value: &impl clap::ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

/// A word of one of our enums as a text.
pub fn text(value: impl Serialize) -> Option<String> {
    json(value)?.as_str().map(str::to_owned)
}

/// The id of something on a server, which may stand in a path.
pub fn id(text: &str) -> Result<String, String> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 128 || !text.chars().all(is_id) {
        return Err("isn't an id; list shows them".into());
    }
    Ok(text.to_owned())
}

/// What `If-Match` takes: `*`, or a tag, whose quotes a shell may have eaten.
pub fn tag(text: &str) -> Result<String, String> {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    match inside {
        "*" if inside.len() == text.len() => Ok(text.to_owned()),
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(format!("\"{digits}\""))
        }
        _ => Err("must be * or a tag as show --etag prints it, such as \"7\"".into()),
    }
}

/// What `Idempotency-Key` takes.
pub fn once(text: &str) -> Result<String, String> {
    let is_right =
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_right { Ok(text.to_owned()) } else { Err("must be 1 to 128 visible characters".into()) }
}

/// A JSON object.
pub fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("must be a JSON object, such as {\"is_premium\": true}".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// JSON, or a text that doesn't begin as JSON does: `5`, `true`, `unlimited`, `{"a": 1}`.
pub fn value(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) if text.starts_with(['{', '[', '"']) => Err(error.to_string()),
        Err(_) => Ok(text.into()),
    }
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

    #[test]
    fn what_stands_in_paths_and_headers() {
        assert_eq!(id("ovr_0198-a"), Ok("ovr_0198-a".into()));
        for wrong in ["", "a/b", "..", "a b", "a?b", "é"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
        assert_eq!((tag("*"), tag("7")), (Ok("*".into()), Ok("\"7\"".into())));
        assert_eq!(tag("\"7\""), Ok("\"7\"".into()));
        for wrong in ["", "\"", "\"*\"", "W/\"7\"", "7\n", "x"] {
            assert!(tag(wrong).is_err(), "{wrong}");
        }
        assert!(once("a-1").is_ok());
        for wrong in ["", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(once(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_json_or_plain_texts() {
        assert_eq!(value("5"), Ok(5.into()));
        assert_eq!(value("unlimited"), Ok("unlimited".into()));
        assert_eq!(value("\"5\""), Ok("5".into()));
        assert!(value("{a: 1}").is_err() && value("[1").is_err());
        assert!(object("[]").unwrap_err().contains("JSON object"));
    }
}
