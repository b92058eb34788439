//! Paths of requests to the application: in normal form, or refused. Never repaired.
//!
//! Invariants: a [`RequestPath`] has one reading. Whatever two servers could read differently (dot
//! segments, doubled or encoded slashes, backslashes, several encodings of one letter, look-alikes)
//! is a [`BadPath`] that says why.

use unicode_normalization::is_nfkc;

/// Longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// Why a request target is not in normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// More than [`MAX_TARGET`] bytes.
    #[error("it is longer than 8192 bytes")]
    TooLong,
    /// Another form than that of a path: empty, absolute, an asterisk.
    #[error("it does not start with “/”")]
    NotRooted,
    /// `#` and what follows it.
    #[error("it has a fragment (“#”)")]
    Fragment,
    /// `//`.
    #[error("it has an empty segment (“//”)")]
    EmptySegment,
    /// `.`, `..`, and more of them.
    #[error("it has a segment of dots")]
    Dots,
    /// A segment that some file systems shorten.
    #[error("a segment ends in a dot, or starts or ends with a space")]
    Shortened,
    /// `\`.
    #[error("it has a backslash")]
    Backslash,
    /// A control byte, in the path or in the query.
    #[error("it has a control character or a space")]
    Control,
    /// A byte beyond ASCII that is not percent-encoded.
    #[error("it has a byte beyond ASCII that is not percent-encoded")]
    NotAscii,
    /// `;`.
    #[error("it has a path parameter (“;”)")]
    Parameter,
    /// A character that a path only holds percent-encoded.
    #[error("it has a character that must be percent-encoded")]
    Character,
    /// `%` without two digits.
    #[error("a “%” is not followed by two hexadecimal digits")]
    Percent,
    /// A letter, digit, `-`, `.`, `_` or `~` that is percent-encoded.
    #[error("it encodes a character that needs no encoding")]
    Unreserved,
    /// An encoded slash, backslash, percent sign, question mark, hash or semicolon.
    #[error("it encodes one of “/ \\ % ? # ;”")]
    Structural,
    /// An encoded control character.
    #[error("it encodes a control character")]
    EncodedControl,
    /// What is encoded is no UTF-8, or UTF-8 in more bytes than needed.
    #[error("what it encodes is not valid UTF-8")]
    NotUtf8,
    /// What is encoded has another, simpler form, or turns into ASCII in another case.
    #[error("what it encodes looks like something else (it is not in the form NFKC)")]
    LookAlike,
    /// What is encoded can't be seen, or turns the direction of writing.
    #[error("it encodes an invisible character")]
    Invisible,
}

/// A path in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    segments: Vec<String>,
}

impl RequestPath {
    /// Reads a request target: a path, perhaps with a query, which plays no part.
    pub fn parse(target: &str) -> Result<Self, BadPath> {
        if target.len() > MAX_TARGET {
            return Err(BadPath::TooLong);
        }
        if target.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
            return Err(BadPath::Control);
        }
        if target.contains('#') {
            return Err(BadPath::Fragment);
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let rest = path.strip_prefix('/').ok_or(BadPath::NotRooted)?;
        // A slash at the end counts as if it were not there.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            // `//` is not `/`.
            let is_root = path.len() == 1;
            return is_root.then(|| Self { segments: Vec::new() }).ok_or(BadPath::EmptySegment);
        }
        let segments = rest.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// The segments, decoded. None for `/`.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

fn segment(raw: &str) -> Result<String, BadPath> {
    if raw.is_empty() {
        return Err(BadPath::EmptySegment);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => encoded(bytes.next(), bytes.next())?,
            b'\\' => return Err(BadPath::Backslash),
            b';' => return Err(BadPath::Parameter),
            0x80.. => return Err(BadPath::NotAscii),
            _ if is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte) => byte,
            _ => return Err(BadPath::Character),
        });
    }
    let text = String::from_utf8(decoded).map_err(|_| BadPath::NotUtf8)?;
    if text.bytes().all(|byte| byte == b'.') {
        return Err(BadPath::Dots);
    }
    if !text.is_ascii() {
        check_beyond_ascii(&text)?;
    }
    if text.starts_with(' ') || text.ends_with([' ', '.']) {
        return Err(BadPath::Shortened);
    }
    Ok(text)
}

/// The byte that two hexadecimal digits stand for.
fn encoded(high: Option<u8>, low: Option<u8>) -> Result<u8, BadPath> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(BadPath::Percent) };
    let byte = u8::try_from(high * 16 + low).map_err(|_| BadPath::Percent)?;
    match byte {
        0..=0x1F | 0x7F => Err(BadPath::EncodedControl),
        b'/' | b'\\' | b'%' | b'?' | b'#' | b';' => Err(BadPath::Structural),
        _ if is_unreserved(byte) => Err(BadPath::Unreserved),
        _ => Ok(byte),
    }
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn check_beyond_ascii(text: &str) -> Result<(), BadPath> {
    if text.chars().any(is_invisible) {
        return Err(BadPath::Invisible);
    }
    if !is_nfkc(text) || text.chars().any(|c| turns_into_ascii(c) || is_slash(c)) {
        return Err(BadPath::LookAlike);
    }
    Ok(())
}

/// A letter that a server without regard to case takes for an ASCII one: the dotless i, for example.
fn turns_into_ascii(c: char) -> bool {
    let alone = |mut to: std::vec::IntoIter<char>| {
        let first = to.next().is_some_and(|c| c.is_ascii());
        first && to.next().is_none()
    };
    let (upper, lower): (Vec<_>, Vec<_>) = (c.to_uppercase().collect(), c.to_lowercase().collect());
    // The capital I with a dot is an `i` in one language and two characters in all others.
    !c.is_ascii() && (c == '\u{130}' || alone(upper.into_iter()) || alone(lower.into_iter()))
}

/// What looks like a slash or a backslash and has no simpler form.
fn is_slash(c: char) -> bool {
    let slashes = "\u{1735}\u{2044}\u{2215}\u{2216}\u{2571}\u{2572}\u{27CB}\u{27CD}\u{29F5}\u{29F8}\u{29F9}\u{3033}";
    slashes.contains(c)
}

/// What can't be seen, or is not meant to be exchanged: controls, formats, blanks, selectors of
/// variants, marks of direction, private use, non-characters.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{A0}'
            | '\u{AD}'
            | '\u{34F}'
            | '\u{600}'..='\u{605}'
            | '\u{61C}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'..='\u{891}'
            | '\u{8E2}'
            | '\u{115F}'..='\u{1160}'
            | '\u{1680}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{2000}'..='\u{200F}'
            | '\u{2028}'..='\u{202F}'
            | '\u{205F}'..='\u{206F}'
            | '\u{2800}'
            | '\u{3000}'
            | '\u{3164}'
            | '\u{E000}'..='\u{F8FF}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFF}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{10FFFF}'
    ) || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Result<Vec<String>, BadPath> {
        RequestPath::parse(target).map(|path| path.segments)
    }

    #[test]
    fn an_ordinary_path_is_read_into_its_decoded_segments() {
        let nothing: [&str; 0] = [];
        assert_eq!(read("/").unwrap(), nothing);
        assert_eq!(read("/?a=/../b").unwrap(), nothing);
        assert_eq!(read("/pos/sales/").unwrap(), ["pos", "sales"]);
        assert_eq!(read("/a%20b/%40me/x%3Ay%2bz").unwrap(), ["a b", "@me", "x:y+z"]);
        assert_eq!(read("/caf%C3%A9/caf%c3%a9").unwrap(), ["café", "café"]);
        assert_eq!(read("/.well-known/v1.0/a..b/stra%C3%9Fe").unwrap().len(), 4);
    }

    #[test]
    fn each_kind_of_doubt_has_its_own_reason() {
        use BadPath as B;
        for (target, why) in [
            ("", B::NotRooted),
            ("*", B::NotRooted),
            ("http://a/b", B::NotRooted),
            ("/a#b", B::Fragment),
            ("/a?b#c", B::Fragment),
            ("//", B::EmptySegment),
            ("//a", B::EmptySegment),
            ("/a//b", B::EmptySegment),
            ("/a//", B::EmptySegment),
            ("/.", B::Dots),
            ("/a/../b", B::Dots),
            ("/...", B::Dots),
            ("/%2e%2e", B::Unreserved),
            ("/admin.", B::Shortened),
            ("/admin%20", B::Shortened),
            ("/%20admin", B::Shortened),
            ("/a\\b", B::Backslash),
            ("/a b", B::Control),
            ("/a\0", B::Control),
            ("/a?b\r\nc", B::Control),
            ("/é", B::NotAscii),
            ("/a;b", B::Parameter),
            ("/a[b]", B::Character),
            ("/a%", B::Percent),
            ("/a%2", B::Percent),
            ("/a%+1", B::Percent),
            ("/a%u002f", B::Percent),
            ("/%41", B::Unreserved),
            ("/a%2fb", B::Structural),
            ("/a%5Cb", B::Structural),
            ("/a%252e", B::Structural),
            ("/a%3b", B::Structural),
            ("/a%00", B::EncodedControl),
            ("/a%7f", B::EncodedControl),
            ("/%c0%ae", B::NotUtf8),
            ("/%ff", B::NotUtf8),
            ("/%ef%bd%81dmin", B::LookAlike),
            ("/adm%C4%B1n", B::LookAlike),
            ("/%E2%84%AAey", B::LookAlike),
            ("/e%CC%81", B::LookAlike),
            ("/ad%E2%80%8Bmin", B::Invisible),
            ("/%E2%80%AEadmin", B::Invisible),
        ] {
            assert_eq!(read(target), Err(why), "{target:?}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(MAX_TARGET))), Err(B::TooLong));
    }
}
