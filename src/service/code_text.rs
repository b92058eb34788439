//! The text of an activation code: made from randomness, read the way people type.
//!
//! Invariants: a code has 80 random bits, so one SHA-256 is enough; its text is kept nowhere.

use sha2::{Digest as _, Sha256};

use super::keyring::{Digest, Secret};
use crate::error::{Error, Result};

/// Crockford's base 32: no I, L, O and U, which are misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Symbols of 5 bits each.
const SYMBOLS: u32 = 16;

/// Symbols between two dashes.
const GROUP: u32 = 4;

/// A code that was just made. Its text is shown once.
#[derive(Debug)]
pub struct NewText {
    /// For whoever hands it out.
    pub text: Secret,
    /// What is stored.
    pub digest: Digest,
}

/// Makes a code: `7K3M-Q9ZT-0D5W-HX2C`.
pub fn generate() -> Result<NewText> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|err| Error::internal(err.to_string()))?;
    let text = written(u128::from_be_bytes(random));
    Ok(NewText { digest: digest_of(&text), text: Secret::new(text) })
}

/// The lowest 80 bits, in four groups.
fn written(bits: u128) -> String {
    let mut text = String::new();
    for place in 0..SYMBOLS {
        if place > 0 && place % GROUP == 0 {
            text.push('-');
        }
        let symbol = usize::try_from((bits >> (5 * place)) & 31).unwrap_or_default();
        text.extend(ALPHABET.get(symbol).map(|byte| char::from(*byte)));
    }
    text
}

/// What a code that was typed is found by. Case, dashes and spaces don't count, and letters that
/// look like digits are taken for them. Whatever is no code gets a digest that no code has.
#[must_use]
pub fn digest_of(typed: &str) -> Digest {
    let bare: String = typed
        .chars()
        .filter(|c| *c != '-' && !c.is_whitespace())
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect();
    Sha256::digest(bare.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_code_is_read_the_way_people_type_it() {
        let text = written(0x0123_4567_89ab_cdef_0f1e);
        assert_eq!(text.len(), 19, "{text}");
        let known = digest_of(&text);
        let spoken = text.replace('0', "o").replace('1', "l");
        for typed in [
            text.to_lowercase(),
            text.replace('-', ""),
            text.replace('-', " "),
            format!("  {text}\n"),
            spoken,
        ] {
            assert_eq!(digest_of(&typed), known, "{typed}");
        }
        for other in ["", "-", &text[..18], &format!("{text}0"), &text.replace('-', "_")] {
            assert_ne!(digest_of(other), known, "{other}");
        }
    }

    #[test]
    fn each_code_is_another_one_and_uses_every_symbol() {
        let codes: HashSet<String> =
            (0..500).map(|_| generate().unwrap().text.reveal().to_owned()).collect();
        assert_eq!(codes.len(), 500);
        let symbols: HashSet<char> = codes.iter().flat_map(|code| code.chars()).collect();
        assert_eq!(symbols.len(), 33, "32 symbols and the dash");
        assert_eq!(written(u128::MAX), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        assert_ne!(written(1), written(1 << 79), "the first and the last bit count");
    }
}
