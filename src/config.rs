//! Settings and limits. Every limit of the service stands here.
//!
//! [`load()`] puts the settings together: flags, then `ENTITLED_*` variables, then a TOML file, then
//! the defaults here. `docs/configuration.md` is the same for operators.

mod load;
mod secrets;
mod table;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize};

pub use self::{
    load::{Flags, Loaded, Row, load},
    table::{Kind, SETTINGS, Setting},
};
use crate::{
    domain::time::Span,
    engine::Gating,
    http::{
        edge::{EdgeSettings, RequestLog},
        listener,
        proxies::TrustedProxies,
    },
    service::{
        algorithms::Algorithms,
        events::EventOptions,
        keyring::Secret,
        memory::CacheOptions,
        policy::{Approval, Policy},
        rates::{Quota, Rates},
        webhooks::{
            Sending, WebhookOptions,
            address::{Networks, Schemes},
        },
    },
    store::{Durability, StoreOptions, anchor::Anchoring},
    telemetry::LogFormat,
};

/// Why the settings can't be used. One line, without a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Everything that an operator can set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory of the database.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The key of the super admin named `root`.
    #[serde(default, skip_serializing, deserialize_with = "secret")]
    pub root_key: Option<Secret>,
    /// A file with that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key_file: Option<PathBuf>,
    /// Whether refusals are enforced: `ENABLE_ENTITLEMENTS_GATING`.
    pub gating: bool,
    /// How tokens are verified.
    #[serde(default)]
    pub jwt: Jwt,
    /// Who stands in front of the service.
    pub http: Http,
    /// How much each caller may send.
    pub rate: CallerRate,
    /// What is logged, and how.
    pub log: Log,
    /// Where spans of requests go.
    pub traces: Traces,
    /// The rules that people are held to.
    pub governance: Governance,
    /// How long the audit trail is kept.
    pub audit: Audit,
    /// How long it is kept what users did.
    pub activity: Activity,
    /// How long it is kept what was used.
    pub usage: Usage,
    /// How long it is kept how checks were answered.
    pub evidence: Evidence,
    /// How what ends by itself is recorded.
    pub expiry: Expiry,
    /// Who is told of changes.
    pub events: Events,
    /// Where messages may be sent.
    pub webhooks: Webhooks,
    /// Which backups the service makes by itself.
    pub backup: Backup,
    /// What bounds the service.
    pub limits: Limits,
}

/// Where spans of requests go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The address of a collector that takes OTLP over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp_url: Option<String>,
    /// How many of a hundred traces are recorded that begin here.
    pub percent: u32,
}

/// The rules that people are held to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// How far ahead an override may expire, in days.
    pub override_horizon_days: u32,
    /// An override takes effect only when a second person approves it.
    pub four_eyes: bool,
    /// How long a request waits for an answer, in days.
    pub request_days: u32,
}

/// How long the audit trail is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Older events are pruned; 0 keeps everything.
    pub retention_days: u32,
}

/// How long it is kept what users did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// Older activity is pruned; 0 keeps everything.
    pub retention_days: u32,
}

/// How long it is kept what was used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Periods that ended longer ago are pruned; 0 keeps everything.
    pub retention_days: u32,
}

/// How long it is kept how checks were answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Hours that are older are pruned; 0 keeps everything.
    pub retention_days: u32,
}

/// How what ends by itself is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// How long before its end an override is announced, in hours.
    pub ends_soon_hours: u32,
    /// How long a clock that has jumped ahead is not believed.
    pub hold_seconds: u32,
}

/// Where messages may be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Whether anything is sent; else it waits.
    pub send: bool,
    /// Without TLS too.
    pub allow_http: bool,
    /// Into the operator's own network too.
    pub allow_private_networks: bool,
    /// How many webhooks there may be.
    pub endpoints: usize,
    /// How many messages may wait for one before it is disabled.
    pub backlog: u64,
    /// The longest wait for an answer.
    pub timeout_seconds: u32,
    /// How long messages are kept that are over.
    pub retention_hours: u32,
}

/// Who is told of changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Subscribers at a time.
    pub subscribers: usize,
    /// How many commits one may lag behind before it is dropped.
    pub queue: usize,
    /// How many changes are kept for those who resume.
    pub retention_rows: u64,
    /// How long they are kept.
    pub retention_hours: u32,
}

/// Which backups the service makes by itself; none without a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// From one to the next.
    pub every_minutes: u32,
    /// How many stay.
    pub keep: usize,
}

/// How tokens are verified; without a secret or a JWKS there are none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The shared secret of HS256.
    #[serde(default, skip_serializing, deserialize_with = "secret")]
    pub hs256_secret: Option<Secret>,
    /// A file with that secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hs256_secret_file: Option<PathBuf>,
    /// A file with a JWKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Where a JWKS is fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Whether the JWKS is the one that the issuer's discovery document names.
    pub discovery: bool,
    /// Which keys of a JWKS count.
    pub algorithms: Algorithms,
    /// How often a JWKS is fetched.
    pub jwks_refresh_seconds: u32,
    /// How seldom unknown keys may have it fetched.
    pub jwks_cooldown_seconds: u32,
    /// The longest time that one answer may take.
    pub jwks_timeout_seconds: u32,
    /// Whether a JWKS may come over plain HTTP from another machine.
    pub allow_http: bool,
    /// The `iss` that every token must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `aud` that every token must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Who stands in front of the service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Whose word is taken, in forward-auth, for what somebody else has asked for.
    pub trusted_proxies: TrustedProxies,
}

/// How much each caller may send, unless its key says otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerRate {
    /// Requests a second; 0 is no limit.
    pub per_second: u32,
    /// Requests at once; 0 is as many as in a second.
    pub burst: u32,
}

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, such as `info,entitled=debug`.
    pub filter: String,
    /// One line for each request.
    pub requests: bool,
}

/// What bounds the service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The largest body of a catalog, a batch or an import.
    pub large_body_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The longest wait for the head of a request.
    pub head_seconds: u32,
    /// The longest time that a body may take to arrive.
    pub body_seconds: u32,
    /// The longest time until the head of the answer.
    pub handler_seconds: u32,
    /// The longest time in which a caller may take nothing of its answer.
    pub write_stall_seconds: u32,
    /// How long running requests may go on after the stop.
    pub shutdown_seconds: u32,
    /// Changes that may wait for the writer.
    pub write_queue: usize,
    /// Changes that may share one commit.
    pub write_group: usize,
    /// Activity that may wait in memory to be written.
    pub activity_queue: usize,
    /// What checks are counted by, in memory: tenant, module, reason and outcome.
    pub evidence_keys: usize,
    /// Connections to the database that read.
    pub readers: u32,
    /// The page cache of each connection to the database.
    pub page_cache_kib: u32,
    /// Tenants in memory.
    pub cached_tenants: usize,
    /// Users in memory, each counted once for every tenant and once for what holds everywhere.
    pub cached_users: usize,
    /// How long a tenant stays in memory without being read again: a backstop.
    #[serde(rename = "cache_seconds", with = "seconds")]
    pub cache_ttl: Duration,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            hs256_secret: None,
            hs256_secret_file: None,
            jwks_file: None,
            jwks_url: None,
            discovery: false,
            algorithms: Algorithms::default(),
            jwks_refresh_seconds: 300,
            jwks_cooldown_seconds: 10,
            jwks_timeout_seconds: 5,
            allow_http: false,
            issuer: None,
            audience: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            large_body_bytes: 1024 * 1024,
            connections: 4096,
            head_bytes: 64 * 1024,
            head_seconds: 15,
            body_seconds: 10,
            handler_seconds: 30,
            write_stall_seconds: 30,
            shutdown_seconds: 20,
            write_queue: 1024,
            write_group: 64,
            activity_queue: 50_000,
            evidence_keys: 100_000,
            readers: 4,
            page_cache_kib: 8 * 1024,
            cached_tenants: 100_000,
            cached_users: 400_000,
            cache_ttl: Duration::from_secs(300),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: "entitled-data".into(),
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            root_key: None,
            root_key_file: None,
            gating: true,
            jwt: Jwt::default(),
            http: Http::default(),
            rate: CallerRate::default(),
            log: Log { format: LogFormat::Json, filter: "info".into(), requests: false },
            traces: Traces { otlp_url: None, percent: 10 },
            governance: Governance {
                override_horizon_days: 366,
                four_eyes: false,
                request_days: 30,
            },
            audit: Audit::default(),
            activity: Activity { retention_days: 90 },
            usage: Usage { retention_days: 400 },
            evidence: Evidence { retention_days: 100 },
            expiry: Expiry { ends_soon_hours: 72, hold_seconds: 600 },
            events: Events {
                subscribers: 2_000,
                queue: 256,
                retention_rows: 100_000,
                retention_hours: 72,
            },
            webhooks: Webhooks {
                send: true,
                allow_http: false,
                allow_private_networks: false,
                endpoints: 100,
                backlog: 100_000,
                timeout_seconds: 15,
                retention_hours: 720,
            },
            backup: Backup { directory: None, every_minutes: 24 * 60, keep: 7 },
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Whether refusals are enforced.
    #[must_use]
    pub fn gating(&self) -> Gating {
        if self.gating { Gating::BySettings } else { Gating::OffByEnvironment }
    }

    /// How the database at `path` is opened.
    #[must_use]
    pub fn store(&self, path: PathBuf, durability: Durability) -> StoreOptions {
        let limits = &self.limits;
        StoreOptions {
            path,
            readers: limits.readers,
            queue: limits.write_queue,
            group: limits.write_group,
            cache_kib: limits.page_cache_kib,
            durability,
            anchoring: Anchoring::Off,
        }
    }

    /// The limits and habits of the front door.
    #[must_use]
    pub fn edge(&self) -> EdgeSettings {
        let limits = &self.limits;
        EdgeSettings {
            body_bytes: limits.body_bytes,
            large_body_bytes: limits.large_body_bytes,
            body_deadline: Duration::from_secs(limits.body_seconds.into()),
            handler_deadline: Duration::from_secs(limits.handler_seconds.into()),
            trusted_proxies: self.http.trusted_proxies.clone(),
            log: if self.log.requests { RequestLog::Access } else { RequestLog::Off },
            ..EdgeSettings::default()
        }
    }

    /// Where spans of requests go, if they go anywhere.
    pub fn collector(&self) -> Result<Option<reqwest::Url>, ConfigError> {
        let Some(text) = &self.traces.otlp_url else { return Ok(None) };
        let url = text.parse::<reqwest::Url>().ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()));
        let wrong = "traces.otlp_url must be an address such as http://127.0.0.1:4318/v1/traces";
        url.map(Some).ok_or_else(|| ConfigError(wrong.into()))
    }

    /// How much each caller may send.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let CallerRate { per_second, burst } = self.rate;
        let burst = if burst == 0 { per_second } else { burst };
        Rates::new((per_second > 0).then(|| Quota::new(per_second, burst)))
    }

    /// How much the service keeps in memory.
    #[must_use]
    pub fn cache(&self) -> CacheOptions {
        CacheOptions {
            tenants: self.limits.cached_tenants,
            users: self.limits.cached_users,
            ttl: self.limits.cache_ttl,
        }
    }

    /// The rules that people and the worker are held to.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let Self {
            governance,
            audit,
            activity,
            usage,
            evidence,
            expiry,
            events,
            webhooks,
            limits,
            ..
        } = self;
        let retention = |days: u32| (days > 0).then(|| Span::days(days));
        Policy {
            override_horizon: Span::days(governance.override_horizon_days),
            approval: if governance.four_eyes { Approval::FourEyes } else { Approval::OnePerson },
            request_lifetime: Span::days(governance.request_days),
            audit_retention: retention(audit.retention_days),
            activity_retention: retention(activity.retention_days),
            usage_retention: retention(usage.retention_days),
            evidence_retention: retention(evidence.retention_days),
            evidence_keys: limits.evidence_keys,
            activity_queue: limits.activity_queue,
            ends_soon: Span::hours(expiry.ends_soon_hours),
            hold: Duration::from_secs(expiry.hold_seconds.into()),
            events: EventOptions {
                subscribers: events.subscribers,
                queue: events.queue,
                keep_rows: events.retention_rows,
                keep_for: Span::hours(events.retention_hours),
                ..EventOptions::default()
            },
            webhooks: WebhookOptions {
                sending: if webhooks.send { Sending::On } else { Sending::Off },
                schemes: if webhooks.allow_http { Schemes::HttpToo } else { Schemes::HttpsAlone },
                networks: if webhooks.allow_private_networks {
                    Networks::Any
                } else {
                    Networks::PublicAlone
                },
                endpoints: webhooks.endpoints,
                backlog: webhooks.backlog,
                deadline: Duration::from_secs(webhooks.timeout_seconds.into()),
                keep_for: Span::hours(webhooks.retention_hours),
            },
        }
    }

    /// The limits of the listener.
    #[must_use]
    pub fn listener(&self) -> listener::Limits {
        let limits = &self.limits;
        listener::Limits {
            connections: limits.connections,
            head_deadline: Duration::from_secs(limits.head_seconds.into()),
            write_stall: Duration::from_secs(limits.write_stall_seconds.into()),
            head_bytes: limits.head_bytes,
            drain_deadline: Duration::from_secs(limits.shutdown_seconds.into()),
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}
