//! Signatures of messages, after the specification of Standard Webhooks: HMAC-SHA256 over the id, the
//! time and the body.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    domain::time::Timestamp,
    error::{Error, Result},
    service::keyring::Secret,
    store::webhooks::Secrets,
};

/// What every secret begins with where people see it.
const PREFIX: &str = "whsec_";

/// A new secret, in base64.
pub(super) fn generate() -> Result<Secret> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|err| Error::internal(err.to_string()))?;
    Ok(Secret::new(STANDARD.encode(bytes)))
}

/// A secret as its receiver needs it.
pub(super) fn shown(secret: &Secret) -> Secret {
    Secret::new(format!("{PREFIX}{}", secret.reveal()))
}

/// The value of `webhook-signature`: by the present secret, and by the one before while it counts.
pub fn signatures(secrets: &Secrets, id: &str, at: Timestamp, body: &str) -> Result<String> {
    let old = secrets.old.as_ref().filter(|(_, until)| at < *until).map(|(secret, _)| secret);
    let message = format!("{id}.{}.{body}", seconds(at));
    let all = [Some(&secrets.secret), old].into_iter().flatten().map(|secret| {
        let key = STANDARD.decode(secret).map_err(|_| Error::internal("a secret isn't base64"))?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes());
        Ok(format!("v1,{}", STANDARD.encode(tag)))
    });
    Ok(all.collect::<Result<Vec<_>>>()?.join(" "))
}

/// The value of `webhook-timestamp`.
#[must_use]
pub fn seconds(at: Timestamp) -> i64 {
    at.micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secrets = Secrets { secret: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), old: None };
        let at = Timestamp::from_micros(1_614_265_330_000_000);
        let body = r#"{"test": 2432232314}"#;
        let signed = signatures(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_secret_before_signs_until_its_end() {
        let (secret, end) = (STANDARD.encode([1; 32]), Timestamp::from_micros(1_000_000));
        let secrets = Secrets { secret, old: Some((STANDARD.encode([2; 32]), end)) };
        let count = |us| {
            let at = Timestamp::from_micros(us);
            signatures(&secrets, "m", at, "{}").unwrap().split(' ').count()
        };
        assert_eq!((count(999_999), count(1_000_000)), (2, 1));
    }
}
