//! What the caller wants an answer written in: the header `Accept` (RFC 9110, 12.5.1).

use poem::{FromRequest, Request, RequestBody, Result, http::header};

use crate::http::{failure::Refusal, payload::JSON};

/// Lines of JSON.
pub const NDJSON: &str = "application/x-ndjson";
/// Comma-separated values.
pub const CSV: &str = "text/csv";

/// What a list can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A page of JSON.
    Page,
    /// All of it, as lines of JSON.
    Lines,
    /// All of it, as CSV.
    Table,
}

/// What is offered, the first before the others where the caller doesn't mind.
const OFFERED: [(&str, Written); 3] =
    [(JSON, Written::Page), (NDJSON, Written::Lines), (CSV, Written::Table)];

impl<'a> FromRequest<'a> for Written {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        let given = request.headers().get_all(header::ACCEPT).iter();
        let given: Vec<_> = given.map(|value| value.to_str().unwrap_or_default()).collect();
        let refusal = Refusal::NotAcceptable("application/json, application/x-ndjson or text/csv");
        wanted(&given.join(",")).ok_or_else(|| refusal.into())
    }
}

/// The best of what is offered.
fn wanted(accept: &str) -> Option<Written> {
    let ranges: Vec<_> = accept.split(',').filter_map(range).collect();
    if accept.trim().is_empty() {
        return Some(Written::Page);
    }
    let mut best = None;
    for (name, written) in OFFERED {
        let quality = quality(&ranges, name);
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, written));
        }
    }
    best.map(|(_, written)| written)
}

/// A media range and its quality in thousandths.
fn range(text: &str) -> Option<(String, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let thousandths = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32;
    Some((name, thousandths))
}

/// What the most specific range says about a type.
fn quality(ranges: &[(String, u32)], name: &str) -> u32 {
    let family = name.split_once('/').map_or(name, |(family, _)| family);
    let family = format!("{family}/*");
    let of = |wanted: &str| {
        ranges.iter().filter(|(range, _)| range == wanted).map(|(_, quality)| *quality).max()
    };
    of(name).or_else(|| of(&family)).or_else(|| of("*/*")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_is_offered_is_given() {
        for (accept, expected) in [
            ("", Some(Written::Page)),
            ("*/*", Some(Written::Page)),
            ("application/*", Some(Written::Page)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(Written::Page)),
            ("application/json", Some(Written::Page)),
            ("application/x-ndjson", Some(Written::Lines)),
            ("Text/CSV; charset=utf-8", Some(Written::Table)),
            ("text/*", Some(Written::Table)),
            ("text/csv;q=0.5, application/x-ndjson;q=0.9", Some(Written::Lines)),
            ("application/json;q=0, */*", Some(Written::Lines)),
            ("*/*;q=0.1, text/csv", Some(Written::Table)),
            ("application/xml", None),
            ("application/json;q=0", None),
            ("*/*;q=0", None),
            ("text/csv;q=zero", None),
        ] {
            assert_eq!(wanted(accept), expected, "{accept}");
        }
    }
}
