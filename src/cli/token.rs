//! `entitled token`: a token signed with the configured secret, for trials and scripts.

use clap::Args;
use serde_json::json;

use super::{Exit, Failure, SettingsArgs, output, words};
use crate::{
    clock::Clock,
    config::Settings,
    domain::{
        callers::OperatorRole,
        checks::Mode,
        keys::{TenantKey, UserKey},
    },
    service::{
        claims::{Act, Audience, Claims},
        tokens,
    },
};

/// Issue a token with the configured secret
#[derive(Debug, Args)]
pub struct Token {
    /// Who: a user's id
    #[arg(long)]
    sub: UserKey,
    /// What it may do: super_admin, support, auditor, service, tenant_admin, tenant_user
    #[arg(long, value_parser = words::word::<OperatorRole>)]
    role: OperatorRole,
    /// The one tenant it is bound to
    #[arg(long)]
    tenant: Option<TenantKey>,
    /// How it works: tenant, internal, impersonation, platform
    #[arg(long, value_parser = words::word::<Mode>)]
    mode: Option<Mode>,
    /// Who really sits behind it
    #[arg(long)]
    act: Option<UserKey>,
    /// For how long: 90s, 15m, 8h, 7d
    #[arg(long, default_value = "1h", value_parser = words::seconds)]
    ttl: u32,
    #[command(flatten)]
    format: output::Format,
}

impl Token {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let settings = settings.load(None)?.settings;
        let (format, ttl) = (self.format, self.ttl);
        let token = self.issue(&settings)?;
        format.print(&json!({"token": token, "expires_in": ttl}), |_| token.clone())?;
        Ok(Exit::Ok)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds fit until the year 285,000,000")]
    fn issue(self, settings: &Settings) -> Result<String, Failure> {
        let Self { sub, role, tenant, mode, act, ttl, format: _ } = self;
        let wrong = |line: String| Err(Failure::new(Exit::Usage, line));
        let name = role.as_str();
        if role.needs_tenant() && tenant.is_none() {
            return wrong(format!("a token of the role {name} needs --tenant"));
        }
        if tenant.is_some() && !role.may_have_tenant() {
            return wrong(format!("a token of the role {name} can't have --tenant"));
        }
        let Some(secret) = settings.token_secret()? else {
            let line = "no secret to sign with; set jwt.hs256_secret or jwt.hs256_secret_file";
            return Err(Failure::new(Exit::Config, line));
        };
        // Refuses a secret that the server would refuse.
        settings.tokens()?;
        let now = (Clock::system().now().micros() / 1_000_000) as f64;
        let claims = Claims {
            sub,
            role,
            tenant,
            mode: mode.unwrap_or_default(),
            act: act.map(|sub| Act::Object { sub }),
            exp: now + f64::from(ttl),
            nbf: None,
            iss: settings.jwt.issuer.clone(),
            aud: settings.jwt.audience.clone().map(Audience::One),
        };
        Ok(tokens::issue(&secret, &claims)?)
    }
}
