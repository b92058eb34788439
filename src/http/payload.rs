//! Bodies: read with a limit and a deadline, parsed by serde from the bytes.
//!
//! Invariants: every body that is read at all is read by [`read_body`], which counts; bytes become
//! a body type in one step, and only a body that is wrong is looked at twice, to name the field.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, combinators::BoxBody};
use poem::{IntoResponse, Request, RequestBody, Response, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::Payload,
    registry::{
        MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef,
        Registry,
    },
    types::Type,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::catalog::Format,
    error::{Error, Fault},
    http::{
        edge::Context,
        failure::{Failure, Refusal},
        parse,
    },
};

/// The media type of every body but the catalog's.
pub const JSON: &str = "application/json";

/// A JSON body, in either direction. The schema is the type's, the bytes are serde's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn check_content_type(content_type: &str) -> bool {
        is_type(content_type, JSON)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Json<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        if !plain_type(request).is_some_and(|given| is_type(given, JSON)) {
            return Err(Refusal::UnsupportedMediaType(JSON).into());
        }
        let bytes = read_body(request, body).await?;
        parse::from_json(&bytes).map(Self).map_err(|error| Failure(error).into())
    }
}

impl<T: Type + Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => json_response(bytes.into()),
            // Maps with keys that are no text: a fault of ours.
            Err(err) => poem::Error::from(Failure(Error::internal(err))).into_response(),
        }
    }
}

impl<T: Type + Serialize> ApiResponse for Json<T> {
    fn meta() -> MetaResponses {
        ok_meta::<T>()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// JSON that is already bytes, such as an entitlements payload kept with its snapshot; documented
/// as a `T`.
#[derive(Debug, Clone)]
pub struct Prepared<T> {
    bytes: Bytes,
    schema: std::marker::PhantomData<fn() -> T>,
}

impl<T> Prepared<T> {
    /// These bytes, which must be the JSON of a `T`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, schema: std::marker::PhantomData }
    }
}

impl<T: Type> Payload for Prepared<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn check_content_type(content_type: &str) -> bool {
        is_type(content_type, JSON)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for Prepared<T> {
    fn into_response(self) -> Response {
        json_response(self.bytes)
    }
}

impl<T: Type> ApiResponse for Prepared<T> {
    fn meta() -> MetaResponses {
        ok_meta::<T>()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The text of a catalog, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogText {
    /// The text.
    pub text: String,
    /// How it is written.
    pub format: Format,
}

const CATALOG_TYPES: [(&str, Format); 4] = [
    ("application/yaml", Format::Yaml),
    ("application/x-yaml", Format::Yaml),
    ("text/yaml", Format::Yaml),
    (JSON, Format::Json),
];

const CATALOG_EXAMPLE: &str = "\
modules:
  retail: {name: Retail}
  dine: {name: Dine}
plans:
  starter: {name: Starter, rank: 10, modules: [retail]}
  growth: {name: Growth, rank: 20, modules: [retail, dine]}
";

impl<'a> ApiExtractor<'a> for CatalogText {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let content = CATALOG_TYPES.into_iter().map(|(content_type, format)| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(match format {
                Format::Yaml => MetaSchema {
                    example: Some(CATALOG_EXAMPLE.into()),
                    ..MetaSchema::new("string")
                },
                Format::Json => MetaSchema {
                    example: serde_yaml::from_str(CATALOG_EXAMPLE).ok(),
                    ..MetaSchema::new("object")
                },
            })),
        });
        Some(MetaRequest {
            description: Some("The catalog, as YAML or JSON."),
            content: content.collect(),
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let given = plain_type(request).unwrap_or_default();
        let known = CATALOG_TYPES.into_iter().find(|(name, _)| is_type(given, name));
        let Some((_, format)) = known else {
            return Err(
                Refusal::UnsupportedMediaType("application/yaml or application/json").into()
            );
        };
        let bytes = read_body(request, body).await?;
        let text = String::from_utf8(bytes.into())
            .map_err(|_| Failure(Error::Malformed(Fault::new("", "The body is not UTF-8."))))?;
        Ok(Self { text, format })
    }
}

fn ok_meta<T: Type>() -> MetaResponses {
    let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
    let response = MetaResponse {
        description: "OK",
        status: Some(200),
        status_range: None,
        content,
        headers: vec![],
    };
    MetaResponses { responses: vec![response] }
}

fn json_response(bytes: Bytes) -> Response {
    let mut response = Response::from(bytes);
    let json = poem::http::HeaderValue::from_static(JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The `Content-Type`, unless the body is encoded: 10 kB of gzip can hold 10 MB.
pub fn plain_type(request: &Request) -> Option<&str> {
    let headers = request.headers();
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// Exactly `wanted`; a parameter may only say that it is UTF-8, which it must be anyway.
pub fn is_type(given: &str, wanted: &str) -> bool {
    let (name, parameters) = given.split_once(';').unwrap_or((given, ""));
    let parameters = parameters.trim();
    name.trim_end().eq_ignore_ascii_case(wanted)
        && (parameters.is_empty()
            || parameters.eq_ignore_ascii_case("charset=utf-8")
            || parameters.eq_ignore_ascii_case("charset=\"utf-8\""))
}

/// Reads the body, counting, until the request's deadline for it.
pub async fn read_body(request: &Request, body: &mut RequestBody) -> Result<Bytes> {
    let context = request
        .data::<Context>()
        .ok_or_else(|| Failure(Error::internal("a request did not come through the edge")))?;
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > context.body_limit) {
        return Err(Refusal::BodyTooLarge.into());
    }
    let body: BoxBody<Bytes, std::io::Error> = body.take()?.into();
    // A body that has already arrived never touches the timer.
    tokio::time::timeout_at(context.body_until, collect(body, context.body_limit))
        .await
        .map_err(|_| Refusal::BodyTimeout)?
}

async fn collect(mut body: BoxBody<Bytes, std::io::Error>, limit: usize) -> Result<Bytes> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failure(Error::Malformed(Fault::new("", "The body ended before it was complete.")))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge.into());
        }
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}
