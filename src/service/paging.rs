//! Pages of lists: a bounded number of items and where to go on.

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C = String> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last one.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Makes a page of `limit` items from a read of one more, which tells whether there is a next.
    pub fn of(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}
