//! Maps of modules in the old shape, as they are sent and answered: JSON or CSV.

use std::fmt;

use poem::{
    FromRequest, IntoResponse, Request, RequestBody, Response, Result,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    registry::{
        MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema,
        MetaSchemaRef, Registry,
    },
    types::Type,
};
use serde::{Deserialize, Deserializer, de};

use crate::{
    error::{Error, Fault},
    http::{
        accept::{CSV, Written},
        failure::{Failure, Refusal},
        parse,
        payload::{JSON, is_type, plain_type, read_body},
    },
    service::legacy::{
        import::{Import, ImportedModule, ImportedTenant},
        table,
    },
};

const JSON_EXAMPLE: &str = r#"{"tenants": {"acme": {"retail": true, "dine": false}}}"#;
const CSV_EXAMPLE: &str = "tenant,retail,dine\r\nacme,true,false\r\n";

/// What was sent to be imported.
pub struct LegacyFile(pub Import);

impl<'a> ApiExtractor<'a> for LegacyFile {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some(
                "Maps of modules by tenant: `{\"tenants\": {TENANT: {NAME: BOOLEAN}}}` or \
                 `{\"tenants\": [{\"tenant\", \"enabled_modules\"}]}`; or CSV with the columns \
                 `tenant` and one for each module, or `tenant,module,enabled`.",
            ),
            content: vec![
                media(JSON, "object", serde_json::from_str(JSON_EXAMPLE).ok()),
                media(CSV, "string", Some(CSV_EXAMPLE.into())),
            ],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let given = plain_type(request).unwrap_or_default();
        if is_type(given, JSON) {
            let bytes = read_body(request, body).await?;
            let Sent { tenants } = parse::from_json(&bytes).map_err(Failure)?;
            return Ok(Self(tenants.into_import()));
        }
        if !is_type(given, CSV) {
            return Err(Refusal::UnsupportedMediaType("application/json or text/csv").into());
        }
        let bytes = read_body(request, body).await?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Failure(Error::Malformed(Fault::new("", "The body is not UTF-8."))))?;
        Ok(Self(table::read(text)))
    }
}

fn media(
    content_type: &'static str,
    kind: &'static str,
    example: Option<serde_json::Value>,
) -> MetaMediaType {
    let schema = MetaSchema { example, ..MetaSchema::new(kind) };
    MetaMediaType { content_type, schema: MetaSchemaRef::Inline(Box::new(schema)) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    tenants: Tenants,
}

/// By tenant, or one after the other.
enum Tenants {
    Map(Vec<(String, Modules)>),
    List(Vec<Listed>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    tenant: String,
    enabled_modules: Modules,
}

/// What is said for each module; nothing where it is no object.
enum Modules {
    Map(Vec<(String, Option<bool>)>),
    Other,
}

/// `true`, `false`, or anything else.
struct Switch(Option<bool>);

impl Tenants {
    fn into_import(self) -> Import {
        let mut import = Import::default();
        match self {
            Self::Map(tenants) => {
                let mut seen = std::collections::BTreeSet::new();
                for (tenant, modules) in tenants {
                    let place = format!("tenants.{tenant}");
                    if !seen.insert(tenant.clone()) {
                        import.faults.push(Fault::new(&place, "is there twice"));
                    }
                    add(&mut import, (place.clone(), place), tenant, modules);
                }
            }
            Self::List(tenants) => {
                let mut seen = std::collections::BTreeSet::new();
                for (index, Listed { tenant, enabled_modules }) in tenants.into_iter().enumerate() {
                    let place = format!("tenants[{index}].tenant");
                    if !seen.insert(tenant.clone()) {
                        let message = format!("“{tenant}” is there twice");
                        import.faults.push(Fault::new(&place, message));
                    }
                    let below = format!("tenants[{index}].enabled_modules");
                    add(&mut import, (place, below), tenant, enabled_modules);
                }
            }
        }
        import
    }
}

/// Adds a tenant that stands at the first place, and its modules at the second.
fn add(import: &mut Import, at: (String, String), tenant: String, modules: Modules) {
    let (place, below) = at;
    let Modules::Map(sent) = modules else {
        let message = "must be an object of modules, each true or false";
        import.faults.push(Fault::new(below, message));
        return;
    };
    let mut modules = Vec::with_capacity(sent.len());
    for (name, enabled) in sent {
        let place = format!("{below}.{name}");
        match enabled {
            Some(enabled) => modules.push(ImportedModule { place, name, enabled }),
            None => import.faults.push(Fault::new(place, "must be true or false")),
        }
    }
    import.tenants.push(ImportedTenant { place, tenant, modules });
}

/// Members in their order, those that come twice as well: they are named as faults later.
fn members<'de, A: de::MapAccess<'de>, V: Deserialize<'de>>(
    mut map: A,
) -> Result<Vec<(String, V)>, A::Error> {
    let mut members = Vec::new();
    while let Some(member) = map.next_entry()? {
        members.push(member);
    }
    Ok(members)
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tenants;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tenants, or a list of them")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Tenants, A::Error> {
                members(map).map(Tenants::Map)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Tenants, A::Error> {
                let mut tenants = Vec::new();
                while let Some(parse::ObjectOnly(tenant)) = list.next_element()? {
                    tenants.push(tenant);
                }
                Ok(Tenants::List(tenants))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Modules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Modules;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of modules")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Modules, A::Error> {
                let sent: Vec<(String, Switch)> = members(map)?;
                Ok(Modules::Map(sent.into_iter().map(|(name, is_on)| (name, is_on.0)).collect()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Modules, A::Error> {
                while list.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Modules::Other)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
            fn visit_str<E>(self, _: &str) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
            fn visit_unit<E>(self) -> Result<Modules, E> {
                Ok(Modules::Other)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(value.as_bool()))
    }
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyFormat {
    /// One object.
    Json,
    /// A row for each tenant.
    Csv,
}

impl<'a> FromRequest<'a> for LegacyFormat {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> Result<Self> {
        match <Written as FromRequest>::from_request(request, body).await? {
            Written::Page => Ok(Self::Json),
            Written::Table => Ok(Self::Csv),
            Written::Lines => Err(Refusal::NotAcceptable("application/json or text/csv").into()),
        }
    }
}

/// A page of an export, which can be imported as it is.
pub struct LegacyPage {
    /// How it is written.
    pub format: LegacyFormat,
    /// The file.
    pub bytes: Vec<u8>,
    /// The path of the next page.
    pub next: Option<String>,
}

impl IntoResponse for LegacyPage {
    fn into_response(self) -> Response {
        let Self { format, bytes, next } = self;
        let kind = match format {
            LegacyFormat::Json => JSON,
            LegacyFormat::Csv => CSV,
        };
        let mut response = Response::builder().content_type(kind).body(bytes);
        let link = next.and_then(|path| format!("<{path}>; rel=\"next\"").parse().ok());
        if let Some(link) = link {
            let link: HeaderValue = link;
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

impl ApiResponse for LegacyPage {
    fn meta() -> MetaResponses {
        let link = MetaHeader {
            name: "Link".into(),
            description: Some("The next page, with `rel=\"next\"`, where more follows.".into()),
            required: false,
            deprecated: false,
            schema: String::schema_ref(),
        };
        let response = MetaResponse {
            description: "A page of maps, which can be imported as it is",
            status: Some(200),
            status_range: None,
            content: vec![
                media(JSON, "object", serde_json::from_str(JSON_EXAMPLE).ok()),
                media(CSV, "string", Some(CSV_EXAMPLE.into())),
            ],
            headers: vec![link],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}
