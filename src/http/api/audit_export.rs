//! The answers of the audit trail: a page, or all of it as a stream.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use poem::{
    Body, IntoResponse, Response,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiResponse,
    registry::{
        MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
    },
    types::Type,
};

use super::audit::AuditView;
use crate::{
    error::Result,
    http::{
        accept::{CSV, NDJSON},
        paging::Page,
        payload::{JSON, Json},
    },
    service::audit_export::{AuditExport, ExportFormat},
};

/// What a list of audit events is answered with.
pub enum Trail {
    /// A page of it.
    Page(Json<Page<AuditView>>),
    /// All of it.
    Whole(Download),
}

/// A file that is written while it is sent.
pub struct Download {
    format: ExportFormat,
    name: String,
    body: Body,
}

impl Download {
    /// Begins it. The first page is read here, so that a failure so far is still a problem; a later
    /// one can only end the body before its end, which every HTTP client notices.
    pub async fn begin(format: ExportFormat, mut export: AuditExport) -> Result<Self> {
        let name = format!("audit-{}.{}", export.head(), format.extension());
        let mut first = format.start()?;
        let more = export.next().await?;
        let is_last = more.is_none();
        if let Some(records) = more {
            first.extend(format.write(&records)?);
        }
        let export = (!is_last).then_some(export);
        let rest = stream::try_unfold(export, move |export| async move {
            let Some(mut export) = export else { return Ok(None) };
            match piece(format, &mut export).await {
                Ok(Some(bytes)) => Ok(Some((bytes, Some(export)))),
                Ok(None) => Ok(None),
                Err(error) => {
                    tracing::error!(
                        error = error.chain(),
                        "an export of the audit trail was broken off"
                    );
                    Err(std::io::Error::other("the export was broken off"))
                }
            }
        });
        let first = stream::iter([Ok(Bytes::from(first))]);
        // An empty piece says nothing, and a chunk of no bytes would end the body.
        let pieces = first.chain(rest).filter(|piece| {
            let says_something = !matches!(piece, Ok(bytes) if bytes.is_empty());
            std::future::ready(says_something)
        });
        Ok(Self { format, name, body: Body::from_bytes_stream(pieces) })
    }
}

async fn piece(format: ExportFormat, export: &mut AuditExport) -> Result<Option<Bytes>> {
    match export.next().await? {
        Some(records) => Ok(Some(format.write(&records)?.into())),
        None => Ok(None),
    }
}

impl IntoResponse for Trail {
    fn into_response(self) -> Response {
        let Download { format, name, body } = match self {
            Self::Page(page) => return page.into_response(),
            Self::Whole(download) => download,
        };
        let kind = match format {
            ExportFormat::Jsonl => NDJSON,
            ExportFormat::Csv => CSV,
        };
        let mut response = Response::builder().content_type(kind).body(body);
        let disposition = format!("attachment; filename=\"{name}\"");
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

impl ApiResponse for Trail {
    fn meta() -> MetaResponses {
        let text = |example: &str| {
            MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some(example.into()),
                ..MetaSchema::new("string")
            }))
        };
        let content = vec![
            MetaMediaType { content_type: JSON, schema: Page::<AuditView>::schema_ref() },
            MetaMediaType { content_type: NDJSON, schema: text("{\"seq\":1}\n{\"seq\":2}\n") },
            MetaMediaType { content_type: CSV, schema: text("seq,at,event\r\n1,…\r\n") },
        ];
        let disposition = MetaHeader {
            name: "Content-Disposition".into(),
            description: Some("A name for the file, of an export.".into()),
            required: false,
            deprecated: false,
            schema: String::schema_ref(),
        };
        let response = MetaResponse {
            description: "A page, or with another `Accept` everything that is selected, oldest first",
            status: Some(200),
            status_range: None,
            content,
            headers: vec![disposition],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        Page::<AuditView>::register(registry);
    }
}
