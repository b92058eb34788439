//! The cache: looked at, refreshed.

use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::Tag;
use crate::{
    http::{
        auth::{Caller, needs},
        failure::Answer,
        payload::Json,
    },
    service::{Service, memory::CacheStats},
};

/// The operations.
pub struct CacheApi(pub(super) Service);

/// What the cache holds and has done since the start.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Cache")]
pub struct CacheView {
    /// Tenants in memory.
    entries: u64,
    /// Questions that found their tenant in memory.
    hits: u64,
    /// Questions that did not.
    misses: u64,
    /// Tenants read from the database.
    loads: u64,
    /// Tenants that made room for others.
    evictions: u64,
    /// About how much memory it takes, in bytes.
    bytes: u64,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Operations")]
impl CacheApi {
    /// Look at the cache
    #[oai(path = "/cache", method = "get", operation_id = "get_cache")]
    async fn get_cache(&self, _caller: Caller<needs::CacheManage>) -> Answer<Json<CacheView>> {
        Ok(Json(self.0.cache_stats().into()))
    }

    /// Forget every tenant in memory
    ///
    /// Decisions stay the same; the next ones read the database.
    #[oai(path = "/cache/refresh", method = "post", operation_id = "refresh_cache")]
    async fn refresh_cache(&self, _caller: Caller<needs::CacheManage>) -> Answer<Json<CacheView>> {
        Ok(Json(self.0.refresh_cache().into()))
    }
}

impl From<CacheStats> for CacheView {
    fn from(stats: CacheStats) -> Self {
        let CacheStats { entries, hits, misses, loads, evictions, bytes } = stats;
        Self { entries, hits, misses, loads, evictions, bytes }
    }
}
