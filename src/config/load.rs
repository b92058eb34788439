//! Puts the settings together and remembers where each came from.
//!
//! Variables are typed by the table of settings and not by their look: figment's own reader takes
//! `12345` for a number, also where it is a secret.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Serialized, Toml},
    util::nest,
    value::{Dict, Map, Value},
};

use super::{
    ConfigError, SETTINGS, Settings,
    table::{GATING, GATING_VARIABLE, Kind, Setting},
};
use crate::{
    domain::keys::nearest, http::proxies::TrustedProxies, service::algorithms::Algorithms,
};

/// What the command line says about settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
}

/// The settings, and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// A row for each setting.
    pub rows: Vec<Row>,
}

/// One setting as `entitled config` shows it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Row {
    /// Which setting.
    pub name: &'static str,
    /// Its value; stars for a secret, null where it isn't set.
    pub value: serde_json::Value,
    /// Where the value came from.
    pub source: String,
    /// The environment variable that sets it.
    pub variable: String,
}

const DEFAULT: &str = "default";

/// Variables of this program that are no settings: they belong to single commands.
const OTHER_VARIABLES: [&str; 3] = ["ENTITLED_CONFIG", "ENTITLED_URL", "ENTITLED_KEY"];

/// One source of settings. figment remembers which of them a value came from.
#[derive(Clone)]
struct Layer {
    from: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.from.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    fn one(from: String, name: &str, value: Value) -> Self {
        Self { from, values: nest(name, value).into_dict().unwrap_or_default() }
    }
}

/// Puts the settings together. `variables` is the whole environment.
pub fn load(
    flags: &Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let mut faults = Vec::new();
    let (variables, config) = environment(variables, &mut faults);
    let above: Vec<Layer> = variables.into_iter().chain(by_flag(flags)).collect();
    let defaults = Serialized::defaults(Settings::default()).data().map_err(broken)?;
    let defaults = defaults.into_values().next().unwrap_or_default();
    let mut figment = Figment::from(Layer { from: DEFAULT.into(), values: defaults });
    if let Some(file) = flags.config.clone().or(config) {
        figment = figment.merge(from_file(&file, &mut faults)?);
    } else {
        let early = above.iter().fold(figment.clone(), |early, layer| early.merge(layer.clone()));
        let data: String = early.extract_inner("data").unwrap_or_default();
        let file = Path::new(&data).join("entitled.toml");
        if file.exists() {
            let layer = from_file(&file, &mut faults)?;
            if layer.values.contains_key("data") {
                let from = &layer.from;
                faults.push(format!("data can't be set in {from}, which is itself found by it"));
            }
            figment = figment.merge(layer);
        }
    }
    let figment = above.into_iter().fold(figment, |figment, layer| figment.merge(layer));
    for setting in &SETTINGS {
        check(&figment, setting, &mut faults);
    }
    if !faults.is_empty() {
        return Err(ConfigError(faults.join("; ")));
    }
    let settings: Settings = figment.extract().map_err(broken)?;
    let rows = SETTINGS.iter().map(|setting| row(&figment, setting)).collect();
    Ok(Loaded { settings, rows })
}

/// The layers of the environment, one for each variable, and the file that it names.
fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Vec<String>,
) -> (Vec<Layer>, Option<PathBuf>) {
    let (mut layers, mut config) = (Vec::new(), None);
    for (name, value) in variables {
        let Some(name) = name.to_str().map(str::to_owned) else { continue };
        if name == GATING_VARIABLE || name.starts_with("ENTITLED_") {
            let Some(value) = value.to_str() else {
                faults.push(format!("{name} isn't UTF-8"));
                continue;
            };
            if name == "ENTITLED_CONFIG" {
                config = Some(PathBuf::from(value));
            } else if let Some(setting) = SETTINGS.iter().find(|s| s.variable() == name) {
                let from = format!("environment variable {name}");
                layers.push(Layer::one(from, setting.name, typed(setting, value)));
            } else if !OTHER_VARIABLES.contains(&name.as_str()) && !is_from_kubernetes(&name) {
                let known: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
                let near = did_you_mean(&name, known.iter().map(String::as_str));
                faults.push(format!("there is no setting for the variable {name}{near}"));
            }
        }
    }
    // The order of an environment is arbitrary.
    faults.sort();
    (layers, config)
}

/// Kubernetes gives every pod variables such as `ENTITLED_PORT_8080_TCP_ADDR` where there is a
/// service named `entitled`.
fn is_from_kubernetes(name: &str) -> bool {
    ["ENTITLED_SERVICE_HOST", "ENTITLED_PORT"].contains(&name)
        || name.starts_with("ENTITLED_SERVICE_PORT")
        || name.starts_with("ENTITLED_PORT_")
}

/// A variable's text as its setting takes it; what doesn't fit stays a text, which `check` refuses.
fn typed(setting: &Setting, text: &str) -> Value {
    match (setting.kind, text) {
        (Kind::Number(..), _) => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
        (Kind::Switch, "true" | "1") => true.into(),
        (Kind::Switch, "false" | "0") => false.into(),
        _ => text.into(),
    }
}

fn by_flag(flags: &Flags) -> Vec<Layer> {
    let Flags { config: _, data, listen } = flags;
    let data = data.as_ref().map(|data| ("data", data.to_string_lossy().into_owned()));
    let listen = listen.as_ref().map(|listen| ("listen", listen.clone()));
    let given = data.into_iter().chain(listen);
    given.map(|(name, value)| Layer::one(format!("flag --{name}"), name, value.into())).collect()
}

fn from_file(path: &Path, faults: &mut Vec<String>) -> Result<Layer, ConfigError> {
    let from = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("can't read the configuration {from}: {error}")))?;
    let values = Toml::string(&text).data().map_err(|error| {
        // The first line says where; the rest would draw the text, which may hold a secret.
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        ConfigError(format!("{from} isn't TOML: {first}"))
    })?;
    let values = values.into_values().next().unwrap_or_default();
    unknown("", &values, &from, faults);
    Ok(Layer { from, values })
}

/// Names what the file sets and nobody knows.
fn unknown(above: &str, values: &Dict, from: &str, faults: &mut Vec<String>) {
    for (key, value) in values {
        let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let is_group = SETTINGS
            .iter()
            .any(|setting| setting.name.strip_prefix(&name).is_some_and(|s| s.starts_with('.')));
        if name == GATING {
            let only = format!("{GATING} can't be set in {from}; set {GATING_VARIABLE}");
            faults.push(only);
        } else if SETTINGS.iter().any(|setting| setting.name == name) {
        } else if let (true, Some(inner)) = (is_group, value.as_dict()) {
            unknown(&name, inner, from, faults);
        } else {
            let near = did_you_mean(&name, SETTINGS.iter().map(|setting| setting.name));
            faults.push(format!("there is no setting “{name}”, which {from} sets{near}"));
        }
    }
}

fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = nearest(given, known);
    near.first().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Names a value that its setting doesn't take, and where it came from, but never the value: it
/// could be a secret in the wrong place.
fn check(figment: &Figment, setting: &Setting, faults: &mut Vec<String>) {
    let Ok(value) = figment.find_value(setting.name) else { return };
    let text = value.as_str();
    let fits = match setting.kind {
        Kind::Text | Kind::Secret => text.is_some_and(|text| !text.is_empty()),
        Kind::Address => text.is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()),
        Kind::Networks => text.is_some_and(|text| text.parse::<TrustedProxies>().is_ok()),
        Kind::Choice(words) => text.is_some_and(|text| words.contains(&text)),
        Kind::Algorithms => text.is_some_and(|text| text.parse::<Algorithms>().is_ok()),
        Kind::Switch => value.to_bool().is_some(),
        Kind::Number(least, most) => {
            // TOML's numbers are signed, those of variables are not.
            let number = value.to_u128().and_then(|n| i128::try_from(n).ok());
            let number = number.or_else(|| value.to_i128());
            number.is_some_and(|n| (i128::from(least)..=i128::from(most)).contains(&n))
        }
    };
    if !fits {
        let (name, expectation) = (setting.name, setting.expectation());
        faults.push(format!("{name} {expectation} ({})", source(figment, name)));
    } else if setting.name == "log.filter"
        && text.is_some_and(|text| tracing_subscriber::EnvFilter::try_new(text).is_err())
    {
        let from = source(figment, setting.name);
        faults.push(format!("log.filter must be like info,entitled=debug ({from})"));
    }
}

fn source(figment: &Figment, name: &str) -> String {
    figment.find_metadata(name).map_or_else(|| DEFAULT.into(), |data| data.name.to_string())
}

fn row(figment: &Figment, setting: &Setting) -> Row {
    let found = figment.find_value(setting.name).ok();
    let value = match (setting.kind, found) {
        (_, None) => serde_json::Value::Null,
        (Kind::Secret, Some(_)) => "***".into(),
        (_, Some(value)) => value.deserialize().unwrap_or_default(),
    };
    let source = source(figment, setting.name);
    Row { name: setting.name, value, source, variable: setting.variable() }
}

/// What `check` has let through and figment doesn't take: a fault of this program.
fn broken(error: figment::Error) -> ConfigError {
    ConfigError(format!("the setting {} can't be used", error.path.join(".")))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
