//! Every setting by name: what kind of value it takes, what it is called in the environment, and what
//! it does. The tables of `docs/configuration.md` are written from this one.

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
    /// What it does, as `docs/configuration.md` has it.
    pub meaning: &'static str,
}

/// The one setting that only the environment has, under a name of its own.
pub const GATING: &str = "gating";
/// That name.
pub const GATING_VARIABLE: &str = "ENABLE_ENTITLEMENTS_GATING";

const fn setting(name: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting { name, kind, meaning }
}

const BYTES: Kind = Kind::Number(1024, 1 << 30);
const DAYS: Kind = Kind::Number(1, 3_660);
const SECONDS: Kind = Kind::Number(1, 86_400);

/// Every setting.
pub const SETTINGS: [Setting; 66] = [
    setting(
        "data",
        Kind::Text,
        "The directory of the database `entitled.db`; made for its owner alone if missing.",
    ),
    setting(
        "listen",
        Kind::Address,
        "Address and port; port 0 takes any free one. Plain HTTP/1.1: TLS is the proxy's.",
    ),
    setting(
        "root_key",
        Kind::Secret,
        "Secret: the key of the super admin `root`, at least 32 characters. Without one, the \
         first start makes an API key and prints it once.",
    ),
    setting(
        "root_key_file",
        Kind::Text,
        "A file with that key instead; one line break at its end is left out.",
    ),
    setting(
        GATING,
        Kind::Switch,
        "`true`, `false`, `1` or `0`, and nothing else. False: nothing is enforced, whatever the \
         [rollout](operating.md#turning-enforcement-on) says; every answer says what it would be. \
         Only by this variable.",
    ),
    setting(
        "jwt.hs256_secret",
        Kind::Secret,
        "Secret: the shared secret of HS256, at least 32 bytes.",
    ),
    setting("jwt.hs256_secret_file", Kind::Text, "A file with that secret instead."),
    setting("jwt.jwks_file", Kind::Text, "A file with a JWKS of RS256, ES256 or EdDSA keys."),
    setting(
        "jwt.jwks_url",
        Kind::Text,
        "Where such a JWKS is fetched from, and fetched again; see \
         [security.md](security.md#keys-of-an-identity-provider).",
    ),
    setting(
        "jwt.discovery",
        Kind::Switch,
        "Fetch the JWKS that the OpenID Connect discovery document of `jwt.issuer` names.",
    ),
    setting(
        "jwt.algorithms",
        Kind::Algorithms,
        "Keys of a JWKS for other algorithms than these are passed over.",
    ),
    setting("jwt.jwks_refresh_seconds", Kind::Number(10, 86_400), "How often the JWKS is fetched."),
    setting(
        "jwt.jwks_cooldown_seconds",
        Kind::Number(1, 3_600),
        "A token of an unknown key has the JWKS fetched at once, but all of them together only \
         once in this time.",
    ),
    setting(
        "jwt.jwks_timeout_seconds",
        Kind::Number(1, 60),
        "The longest time that the provider may take for one answer.",
    ),
    setting(
        "jwt.allow_http",
        Kind::Switch,
        "Take a JWKS over plain HTTP from another machine too. Whoever can change it on its way \
         can forge tokens.",
    ),
    setting("jwt.issuer", Kind::Text, "The `iss` that every token must have."),
    setting("jwt.audience", Kind::Text, "The `aud` that every token must have."),
    setting(
        "http.trusted_proxies",
        Kind::Networks,
        "Whose word is taken, in [forward-auth](forward-auth.md), for what somebody else has \
         asked for: addresses and networks with commas between them, or `none`.",
    ),
    setting(
        "rate.per_second",
        Kind::Number(0, 1_000_000),
        "How many requests a second each caller may send: each API key, and each subject of \
         tokens. 0 is no limit. A key can have [a limit of its own](security.md#rate-limits).",
    ),
    setting(
        "rate.burst",
        Kind::Number(0, 1_000_000),
        "How many of them at once; 0 is as many as in a second.",
    ),
    setting("log.format", Kind::Choice(&["json", "text"]), "`json`, or `text` for people."),
    setting(
        "log.filter",
        Kind::Text,
        "What is logged, such as `info,entitled=debug`. With `--demo` and `--ephemeral` the \
         default is `warn`.",
    ),
    setting("log.requests", Kind::Switch, "One line for each request. Halves the throughput."),
    setting(
        "traces.otlp_url",
        Kind::Text,
        "Where spans of requests are sent, as OTLP over HTTP in JSON, such as \
         `http://127.0.0.1:4318/v1/traces`.",
    ),
    setting(
        "traces.percent",
        Kind::Number(0, 100),
        "How many of a hundred traces are recorded that begin here. A trace that a caller began \
         is recorded where the caller records it.",
    ),
    setting("governance.override_horizon_days", DAYS, "How far ahead an override may expire."),
    setting(
        "governance.four_eyes",
        Kind::Switch,
        "An override takes effect only when a second person approves it.",
    ),
    setting(
        "governance.request_days",
        DAYS,
        "How long a request waits for an answer before it expires.",
    ),
    setting(
        "audit.retention_days",
        Kind::Number(0, 36_500),
        "Older audit events are pruned behind a checkpoint, whole days (UTC) at a time; 0 keeps \
         everything. See [operating.md](operating.md#keeping-and-exporting-the-audit-trail).",
    ),
    setting(
        "activity.retention_days",
        Kind::Number(0, 36_500),
        "Older [activity](operating.md#activity) is pruned; 0 keeps everything.",
    ),
    setting(
        "usage.retention_days",
        Kind::Number(0, 36_500),
        "Periods of [usage](usage.md#reports) that ended longer ago are pruned; 0 keeps \
         everything.",
    ),
    setting(
        "evidence.retention_days",
        Kind::Number(0, 36_500),
        "Older hours of [evidence](operating.md#evidence) are pruned; 0 keeps everything.",
    ),
    setting(
        "expiry.ends_soon_hours",
        Kind::Number(1, 8_784),
        "How long before its end an override is announced.",
    ),
    setting(
        "expiry.hold_seconds",
        SECONDS,
        "How long a clock that has jumped ahead by more than five minutes is not believed: until \
         then no end is recorded.",
    ),
    setting(
        "events.subscribers",
        Kind::Number(0, 1_000_000),
        "Streams of events at a time; beyond it 503. Each also needs one of `limits.connections`.",
    ),
    setting(
        "events.queue",
        Kind::Number(1, 100_000),
        "How many commits a subscriber may lag behind before it is dropped.",
    ),
    setting(
        "events.retention_rows",
        Kind::Number(1, 1_000_000_000),
        "How many changes are kept for subscribers who resume.",
    ),
    setting("events.retention_hours", Kind::Number(1, 87_600), "How long they are kept."),
    setting(
        "webhooks.send",
        Kind::Switch,
        "Webhooks are told of what happens; off, it waits: for a copy that is started on trial.",
    ),
    setting("webhooks.allow_http", Kind::Switch, "Webhooks may be reached without TLS."),
    setting(
        "webhooks.allow_private_networks",
        Kind::Switch,
        "Webhooks may be in your own network, or on this machine.",
    ),
    setting("webhooks.endpoints", Kind::Number(0, 1_000), "How many there may be."),
    setting(
        "webhooks.backlog",
        Kind::Number(1, 10_000_000),
        "How many messages may wait for one before it is disabled; looked at every minute and \
         after each failure.",
    ),
    setting(
        "webhooks.timeout_seconds",
        Kind::Number(1, 120),
        "The longest wait for the head of an answer.",
    ),
    setting(
        "webhooks.retention_hours",
        Kind::Number(1, 87_600),
        "How long messages are kept that are over.",
    ),
    setting(
        "backup.directory",
        Kind::Text,
        "Where the service puts backups of itself; made if missing. Without one it makes none.",
    ),
    setting("backup.every_minutes", Kind::Number(1, 527_040), "From one to the next."),
    setting("backup.keep", Kind::Number(1, 100_000), "How many stay; older ones are deleted."),
    setting("limits.body_bytes", BYTES, "The largest body of a request; beyond it 413."),
    setting("limits.large_body_bytes", BYTES, "The same for the catalog, batches and imports."),
    setting(
        "limits.connections",
        Kind::Number(1, 1_000_000),
        "Connections at a time; beyond it 503.",
    ),
    // hyper takes no smaller buffer.
    setting(
        "limits.head_bytes",
        Kind::Number(8192, 1 << 24),
        "The largest head of a request; beyond it 431.",
    ),
    setting("limits.head_seconds", SECONDS, "The longest wait for a head, also between requests."),
    setting("limits.body_seconds", SECONDS, "The longest time that a body may take to arrive."),
    setting(
        "limits.handler_seconds",
        SECONDS,
        "The longest time until an answer begins; beyond it 503.",
    ),
    setting(
        "limits.write_stall_seconds",
        SECONDS,
        "The longest time in which a caller may take nothing of its answer.",
    ),
    setting(
        "limits.shutdown_seconds",
        SECONDS,
        "How long running requests may go on after SIGTERM.",
    ),
    setting(
        "limits.write_queue",
        Kind::Number(1, 1_000_000),
        "Changes that may wait for the writer; beyond it 503.",
    ),
    setting("limits.write_group", Kind::Number(1, 10_000), "Changes that may share one commit."),
    setting(
        "limits.activity_queue",
        Kind::Number(1_000, 10_000_000),
        "Activity that may wait in memory to be written; beyond it the oldest is dropped and \
         counted.",
    ),
    setting(
        "limits.evidence_keys",
        Kind::Number(1_000, 10_000_000),
        "Combinations of tenant, module, reason and outcome that checks are counted by, in \
         memory; beyond it they are counted without the tenant.",
    ),
    setting("limits.readers", Kind::Number(1, 1000), "Connections to the database that read."),
    setting(
        "limits.page_cache_kib",
        Kind::Number(64, 1 << 24),
        "The page cache of each connection to the database.",
    ),
    setting(
        "limits.cached_tenants",
        Kind::Number(1, 100_000_000),
        "Tenants in memory; the others are read when they are asked about.",
    ),
    setting(
        "limits.cached_users",
        Kind::Number(1, 1_000_000_000),
        "Users in memory, each counted once for every tenant and once for what holds everywhere.",
    ),
    setting(
        "limits.cache_seconds",
        SECONDS,
        "After this time a tenant is read again, even if nothing changed: a backstop.",
    ),
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
