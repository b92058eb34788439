//! Answers with something beside their body: an ETag, a Location, another status.

use poem::{
    IntoResponse, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{
        MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
    },
    types::Type,
};

use serde::Serialize;

use crate::http::{
    etag::{ETag, IfNoneMatch},
    payload::Json,
};

/// 200 with an `ETag`, or 304 for a caller who already has it.
#[derive(Debug)]
pub enum Tagged<P> {
    /// The thing.
    Fresh(ETag, P),
    /// The caller has it.
    Known(ETag),
}

impl<P> Tagged<P> {
    /// 304 where the caller already has what `etag` names; `body` is made only where not.
    pub fn unless_known<E>(
        known: Option<&IfNoneMatch>,
        etag: ETag,
        body: impl FnOnce() -> Result<P, E>,
    ) -> Result<Self, E> {
        if known.is_some_and(|known| known.knows(&etag)) {
            return Ok(Self::Known(etag));
        }
        Ok(Self::Fresh(etag, body()?))
    }
}

impl<P: IntoResponse> IntoResponse for Tagged<P> {
    fn into_response(self) -> Response {
        let (etag, mut response) = match self {
            Self::Fresh(etag, body) => (etag, body.into_response()),
            Self::Known(etag) => (etag, StatusCode::NOT_MODIFIED.into()),
        };
        let headers = response.headers_mut();
        if let Some(value) = etag.header() {
            headers.insert(header::ETAG, value);
        }
        // To be kept by the caller alone, and asked for again each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    }
}

impl<P: Payload + IntoResponse> ApiResponse for Tagged<P> {
    fn meta() -> MetaResponses {
        let known = MetaResponse { content: vec![], ..meta::<P>(304, "You have it.", &["ETag"]) };
        MetaResponses { responses: vec![meta::<P>(200, "OK", &["ETag"]), known] }
    }

    fn register(registry: &mut Registry) {
        P::register(registry);
    }
}

/// 201 with a `Location`, and an `ETag` where the thing can be edited.
#[derive(Debug)]
pub struct Created<P> {
    /// The path of the new thing.
    pub location: String,
    /// Its tag.
    pub etag: Option<ETag>,
    /// The thing.
    pub body: P,
}

impl<P: IntoResponse> IntoResponse for Created<P> {
    fn into_response(self) -> Response {
        let Self { location, etag, body } = self;
        let mut response = body.into_response();
        if response.is_success() {
            response.set_status(StatusCode::CREATED);
        }
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if let Some(etag) = etag.and_then(|etag| etag.header()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}

impl<P: Payload + IntoResponse> ApiResponse for Created<P> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![meta::<P>(201, "Created", &["Location", "ETag"])] }
    }

    fn register(registry: &mut Registry) {
        P::register(registry);
    }
}

/// What was put in its place: 201 with a `Location` where it is new, else 200; both with an `ETag`.
#[derive(Debug)]
pub struct Stored<V> {
    location: Option<String>,
    etag: ETag,
    body: Json<V>,
}

impl<V> Stored<V> {
    /// New where there is a location to go to.
    pub fn new(location: Option<String>, etag: ETag, body: V) -> Self {
        Self { location, etag, body: Json(body) }
    }
}

impl<V: Type + Serialize> IntoResponse for Stored<V> {
    fn into_response(self) -> Response {
        let Self { location, etag, body } = self;
        match location {
            Some(location) => Created { location, etag: Some(etag), body }.into_response(),
            None => Tagged::Fresh(etag, body).into_response(),
        }
    }
}

impl<V: Type + Serialize> ApiResponse for Stored<V> {
    fn meta() -> MetaResponses {
        let replaced = meta::<Json<V>>(200, "Replaced", &["ETag"]);
        let created = meta::<Json<V>>(201, "Created", &["Location", "ETag"]);
        MetaResponses { responses: vec![replaced, created] }
    }

    fn register(registry: &mut Registry) {
        V::register(registry);
    }
}

/// What is there now by its name: 201 with a `Location` where it is new, else 200.
#[derive(Debug)]
pub struct Named<V> {
    location: Option<String>,
    body: Json<V>,
}

impl<V> Named<V> {
    /// New where there is a location to go to.
    pub fn new(location: Option<String>, body: V) -> Self {
        Self { location, body: Json(body) }
    }
}

impl<V: Type + Serialize> IntoResponse for Named<V> {
    fn into_response(self) -> Response {
        let Self { location, body } = self;
        match location {
            Some(location) => Created { location, etag: None, body }.into_response(),
            None => body.into_response(),
        }
    }
}

impl<V: Type + Serialize> ApiResponse for Named<V> {
    fn meta() -> MetaResponses {
        let there = meta::<Json<V>>(200, "It was there", &[]);
        let created = meta::<Json<V>>(201, "Created", &["Location"]);
        MetaResponses { responses: vec![there, created] }
    }

    fn register(registry: &mut Registry) {
        V::register(registry);
    }
}

/// What took effect, or 202 with what waits for a second person and a `Location` to look at it.
#[derive(Debug)]
pub enum Governed<R, V> {
    /// It took effect.
    Done(R),
    /// Nothing has changed yet.
    Waits(String, Json<V>),
}

impl<R: IntoResponse, V: Type + Serialize> IntoResponse for Governed<R, V> {
    fn into_response(self) -> Response {
        match self {
            Self::Done(reply) => reply.into_response(),
            Self::Waits(location, body) => {
                let mut response = Created { location, etag: None, body }.into_response();
                if response.is_success() {
                    response.set_status(StatusCode::ACCEPTED);
                }
                response
            }
        }
    }
}

impl<R: ApiResponse, V: Type + Serialize> ApiResponse for Governed<R, V> {
    fn meta() -> MetaResponses {
        let MetaResponses { mut responses } = R::meta();
        responses.push(meta::<Json<V>>(202, "Waits for a second person", &["Location"]));
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        R::register(registry);
        V::register(registry);
    }
}

/// What a write answers, or 200 with what it would change where it was only rehearsed.
#[derive(Debug)]
pub enum Rehearsed<R, V> {
    /// It was made.
    Done(R),
    /// Nothing was written.
    Would(Json<V>),
}

impl<R: IntoResponse, V: Type + Serialize> IntoResponse for Rehearsed<R, V> {
    fn into_response(self) -> Response {
        match self {
            Self::Done(reply) => reply.into_response(),
            Self::Would(body) => body.into_response(),
        }
    }
}

impl<R: ApiResponse, V: Type + Serialize> ApiResponse for Rehearsed<R, V> {
    fn meta() -> MetaResponses {
        let MetaResponses { mut responses } = R::meta();
        let would = V::schema_ref();
        match responses.iter_mut().find(|response| response.status == Some(200)) {
            // A status stands once in the document: its body is the one or the other.
            Some(done) => {
                for content in &mut done.content {
                    let either = vec![content.schema.clone(), would.clone()];
                    let schema = MetaSchema { one_of: either, ..MetaSchema::ANY };
                    content.schema = MetaSchemaRef::Inline(Box::new(schema));
                }
                done.headers.iter_mut().for_each(|header| header.required = false);
            }
            None => responses.push(meta::<Json<V>>(200, "What it would change", &[])),
        }
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        R::register(registry);
        V::register(registry);
    }
}

/// 204.
#[derive(Debug, Clone, Copy)]
pub struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into()
    }
}

impl ApiResponse for Done {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "Done",
            status: Some(204),
            status_range: None,
            content: vec![],
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_registry: &mut Registry) {}
}

/// 202 without a body: taken note of.
#[derive(Debug, Clone, Copy)]
pub struct Noted;

impl IntoResponse for Noted {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into()
    }
}

impl ApiResponse for Noted {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "Noted",
            status: Some(202),
            status_range: None,
            content: vec![],
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_registry: &mut Registry) {}
}

fn meta<P: Payload>(status: u16, description: &'static str, headers: &[&str]) -> MetaResponse {
    let header = |name: &&str| MetaHeader {
        name: (*name).to_owned(),
        description: None,
        required: *name != "ETag" || status != 201,
        deprecated: false,
        schema: String::schema_ref(),
    };
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: P::CONTENT_TYPE, schema: P::schema_ref() }],
        headers: headers.iter().map(header).collect(),
    }
}
