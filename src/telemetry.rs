//! Logs to stderr and the metrics recorder. Each is set up once in a process.

pub mod series;
pub mod spans;

use std::{io::IsTerminal, sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For programs.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Sets up logging with a filter such as `info,entitled=debug`. Also takes over the `log` crate,
/// which refinery uses. A second call changes nothing.
pub fn init_logs(filter: &str, format: LogFormat) {
    // refinery logs four lines per start, with paths of the machine it was built on.
    let filter = format!("refinery_core=warn,{filter}");
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // To stderr: stdout belongs to the commands.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let layer = match format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
        LogFormat::Text => layer.boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            let what = panic.payload_as_str().unwrap_or("no text");
            tracing::error!(at, what, "panicked");
        }));
    }
}

const SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

/// The process-wide recorder, installed by the first call. None where another one was installed
/// before: then there is nothing to show.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || {
        // Without buckets the exporter keeps every sample until somebody scrapes: each histogram
        // has some, by the general list if by no other.
        let builder = PrometheusBuilder::new()
            .set_buckets(COUNTS)
            .ok()?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .ok()?;
        let handle = builder.install_recorder().ok()?;
        series::begin();
        Some(handle)
    };
    HANDLE.get_or_init(install).as_ref()
}

/// Something that is done before the metrics are shown.
type Refresh = Box<dyn Fn() + Send + Sync>;

static REFRESHES: RwLock<Vec<Refresh>> = RwLock::new(Vec::new());

/// Has `refresh` called before each scrape, for as long as the process lives: for series that are
/// read and not counted.
pub fn before_scrape(refresh: impl Fn() + Send + Sync + 'static) {
    REFRESHES.write().push(Box::new(refresh));
}

/// All metrics as text; none where there is no recorder.
#[must_use]
pub fn scrape() -> Option<String> {
    let handle = metrics()?;
    REFRESHES.read().iter().for_each(|refresh| refresh());
    Some(handle.render())
}

/// Sorts samples into their buckets every few seconds, until `stop`: otherwise they pile up when
/// nobody scrapes.
pub async fn upkeep(stop: CancellationToken) {
    let Some(handle) = metrics() else { return };
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => handle.run_upkeep(),
        }
    }
}
