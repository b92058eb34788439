//! Every setting by name: what kind of value it takes and what it is called in the environment.

use crate::service::algorithms::UnknownAlgorithm;

/// What kind of value a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that isn't empty.
    Text,
    /// A text that is never shown.
    Secret,
    /// An address and a port.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Addresses and networks, with commas between them.
    Networks,
    /// How tokens may be signed.
    Algorithms,
    /// Yes or no.
    Switch,
    /// A whole number between these two.
    Number(u64, u64),
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// As in the TOML file, with dots.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// The one setting that only the environment has, under a name of its own.
pub const GATING: &str = "gating";
/// That name.
pub const GATING_VARIABLE: &str = "ENABLE_ENTITLEMENTS_GATING";

const fn setting(name: &'static str, kind: Kind) -> Setting {
    Setting { name, kind }
}

const BYTES: Kind = Kind::Number(1024, 1 << 30);
const DAYS: Kind = Kind::Number(1, 3_660);
const SECONDS: Kind = Kind::Number(1, 86_400);

/// Every setting.
pub const SETTINGS: [Setting; 65] = [
    setting("data", Kind::Text),
    setting("listen", Kind::Address),
    setting("root_key", Kind::Secret),
    setting("root_key_file", Kind::Text),
    setting(GATING, Kind::Switch),
    setting("jwt.hs256_secret", Kind::Secret),
    setting("jwt.hs256_secret_file", Kind::Text),
    setting("jwt.jwks_file", Kind::Text),
    setting("jwt.jwks_url", Kind::Text),
    setting("jwt.discovery", Kind::Switch),
    setting("jwt.algorithms", Kind::Algorithms),
    setting("jwt.jwks_refresh_seconds", Kind::Number(10, 86_400)),
    setting("jwt.jwks_cooldown_seconds", Kind::Number(1, 3_600)),
    setting("jwt.jwks_timeout_seconds", Kind::Number(1, 60)),
    setting("jwt.allow_http", Kind::Switch),
    setting("jwt.issuer", Kind::Text),
    setting("jwt.audience", Kind::Text),
    setting("http.trusted_proxies", Kind::Networks),
    setting("rate.per_second", Kind::Number(0, 1_000_000)),
    setting("rate.burst", Kind::Number(0, 1_000_000)),
    setting("log.format", Kind::Choice(&["json", "text"])),
    setting("log.filter", Kind::Text),
    setting("log.requests", Kind::Switch),
    setting("traces.otlp_url", Kind::Text),
    setting("traces.percent", Kind::Number(0, 100)),
    setting("governance.override_horizon_days", DAYS),
    setting("governance.four_eyes", Kind::Switch),
    setting("governance.request_days", DAYS),
    setting("audit.retention_days", Kind::Number(0, 36_500)),
    setting("activity.retention_days", Kind::Number(0, 36_500)),
    setting("usage.retention_days", Kind::Number(0, 36_500)),
    setting("evidence.retention_days", Kind::Number(0, 36_500)),
    setting("expiry.ends_soon_hours", Kind::Number(1, 8_784)),
    setting("expiry.hold_seconds", SECONDS),
    setting("events.subscribers", Kind::Number(0, 1_000_000)),
    setting("events.queue", Kind::Number(1, 100_000)),
    setting("events.retention_rows", Kind::Number(1, 1_000_000_000)),
    setting("events.retention_hours", Kind::Number(1, 87_600)),
    setting("webhooks.allow_http", Kind::Switch),
    setting("webhooks.allow_private_networks", Kind::Switch),
    setting("webhooks.endpoints", Kind::Number(0, 1_000)),
    setting("webhooks.backlog", Kind::Number(1, 10_000_000)),
    setting("webhooks.timeout_seconds", Kind::Number(1, 120)),
    setting("webhooks.retention_hours", Kind::Number(1, 87_600)),
    setting("backup.directory", Kind::Text),
    setting("backup.every_minutes", Kind::Number(1, 527_040)),
    setting("backup.keep", Kind::Number(1, 100_000)),
    setting("limits.body_bytes", BYTES),
    setting("limits.large_body_bytes", BYTES),
    setting("limits.connections", Kind::Number(1, 1_000_000)),
    // hyper takes no smaller buffer.
    setting("limits.head_bytes", Kind::Number(8192, 1 << 24)),
    setting("limits.head_seconds", SECONDS),
    setting("limits.body_seconds", SECONDS),
    setting("limits.handler_seconds", SECONDS),
    setting("limits.write_stall_seconds", SECONDS),
    setting("limits.shutdown_seconds", SECONDS),
    setting("limits.write_queue", Kind::Number(1, 1_000_000)),
    setting("limits.write_group", Kind::Number(1, 10_000)),
    setting("limits.activity_queue", Kind::Number(1_000, 10_000_000)),
    setting("limits.evidence_keys", Kind::Number(1_000, 10_000_000)),
    setting("limits.readers", Kind::Number(1, 1000)),
    setting("limits.page_cache_kib", Kind::Number(64, 1 << 24)),
    setting("limits.cached_tenants", Kind::Number(1, 100_000_000)),
    setting("limits.cached_users", Kind::Number(1, 1_000_000_000)),
    setting("limits.cache_seconds", SECONDS),
];

impl Setting {
    /// What it is called in the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        if self.name == GATING {
            return GATING_VARIABLE.into();
        }
        format!("ENTITLED_{}", self.name.replace('.', "__").to_uppercase())
    }

    /// What it must be, for an error message.
    #[must_use]
    pub fn expectation(&self) -> String {
        match self.kind {
            _ if self.name == GATING => "must be exactly true, false, 1 or 0".into(),
            Kind::Text | Kind::Secret => "must be a text, in quotes, that isn't empty".into(),
            Kind::Address => "must be an address and a port, such as 127.0.0.1:8080".into(),
            Kind::Networks => "must be none, or addresses and networks with commas between them, \
                               such as 10.0.0.0/8, 192.0.2.7"
                .into(),
            Kind::Choice(words) => format!("must be {}", words.join(" or ")),
            Kind::Algorithms => UnknownAlgorithm.to_string(),
            Kind::Switch => "must be true or false".into(),
            Kind::Number(least, most) => format!("must be a whole number from {least} to {most}"),
        }
    }
}
