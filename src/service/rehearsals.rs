//! A rehearsal: a use case that is run for what it would change, and undone.
//!
//! Invariants: a rehearsed change runs the closure of the real one, permissions, refusals and audit
//! events included, in the writer, in a savepoint that is always rolled back. So it writes nothing,
//! steps no version, publishes nothing and wakes nobody. What it would change is read there, and
//! worked out beside the writer.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Service,
    access::{AccessPage, AccessWanted, Basis, Filling, Reading, Scope, Standing},
    provisioning,
};
use crate::{
    domain::{access::Place, time::Timestamp},
    engine::World,
    error::{Error, Result},
    store::WriteTx,
};

/// How many tenants and users one page of a rehearsed change looks at. They are read in the writer,
/// which others wait for.
const LOOKED_AT: usize = 100;

/// Whether changes are made.
#[derive(Clone, Default)]
pub(super) enum Run {
    /// They are.
    #[default]
    ForReal,
    /// They are undone, and what they would change is noted.
    Rehearsed(Arc<Notes>),
}

/// What a rehearsal is to look at, and what it saw.
pub(super) struct Notes {
    wanted: AccessWanted,
    seen: Mutex<Option<Seen>>,
}

/// Both states, as far as a page looks at them.
struct Seen {
    world: Arc<World>,
    at: Timestamp,
    basis: Basis,
    places: Vec<Place>,
    before: Vec<Standing>,
    after: Vec<Standing>,
    has_more: bool,
    is_cut: bool,
}

/// A service whose changes are only rehearsed.
pub struct Rehearsal {
    service: Service,
    notes: Arc<Notes>,
}

impl Service {
    /// A service with the same use cases, whose changes are undone. What they would change of
    /// anybody's access is told by [`Rehearsal::access`].
    #[must_use]
    pub fn rehearsal(&self, wanted: AccessWanted) -> Rehearsal {
        let notes = Arc::new(Notes { wanted, seen: Mutex::new(None) });
        let service = Self { run: Run::Rehearsed(notes.clone()), ..self.clone() };
        Rehearsal { service, notes }
    }

    /// Runs a change, looks at what it did, and undoes it.
    pub(super) async fn rehearse<T: Send + 'static>(
        &self,
        notes: Arc<Notes>,
        body: impl FnOnce(&WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (memory, wanted) = (self.memory.clone(), notes.wanted.clone());
        let shelf = self.memory.clone();
        let (value, mut seen, before) = self
            .store
            .rehearse(
                body,
                move |tx, touched| {
                    let scope = Scope::of(tx.read(), touched)?;
                    let basis = scope.basis();
                    wanted.expect(&basis)?;
                    let mut places = scope.places(tx.read(), &wanted, LOOKED_AT + 1)?;
                    let has_more = places.len() > LOOKED_AT;
                    places.truncate(LOOKED_AT);
                    let mut reading = Reading::new(tx.read(), &memory.shelf, tx.real_now());
                    let after = reading.standings(&places)?;
                    let (world, at) = (provisioning::world(tx, &memory)?, tx.real_now());
                    let is_cut = scope.is_cut();
                    let before = Vec::new();
                    Ok(Seen { world, at, basis, places, before, after, has_more, is_cut })
                },
                move |tx, seen| {
                    Reading::new(tx.read(), &shelf.shelf, tx.real_now()).standings(&seen.places)
                },
            )
            .await?;
        seen.before = before;
        *notes.seen.lock() = Some(seen);
        Ok(value)
    }
}

impl Rehearsal {
    /// The service to call a use case of.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// A page of what the change that was called for would do to anybody's access.
    pub async fn access(self) -> Result<AccessPage> {
        let Some(seen) = self.notes.seen.lock().take() else { return Ok(AccessPage::default()) };
        let notes = self.notes;
        // Hundreds of decisions: not on a thread that others wait for.
        let work = tokio::task::spawn_blocking(move || seen.page(&notes.wanted));
        work.await.map_err(Error::internal)
    }
}

impl Seen {
    fn page(self, wanted: &AccessWanted) -> AccessPage {
        let Self { world, at, basis, places, before, after, has_more, is_cut } = self;
        let mut filling = Filling::new(wanted, basis);
        for (place, (before, after)) in places.iter().zip(before.iter().zip(&after)) {
            if filling.is_full() {
                break;
            }
            filling.add(place, &before.access(&world, at), &after.access(&world, at));
        }
        let page = if has_more { filling.goes_on() } else { filling.ends() };
        AccessPage { is_cut, ..page }
    }
}
