//! Finding the route of a request among 1,000 routes, beside 10.
//!
//! `cargo bench --bench routes`. Rounds alternate within one run; the ratio is what counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use entitled::{
    domain::{catalog::Route, paths::RequestPath},
    engine::RouteTable,
};

const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let (few, many) = (table(10), table(1_000));
    let (mut small, mut large, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let of_few = nanoseconds(&few, 10);
        let of_many = nanoseconds(&many, 1_000);
        small.push(of_few);
        large.push(of_many);
        ratios.push(of_many / of_few);
    }
    println!("reading a path and finding its route:");
    println!("  10 routes                     {:>8.0} ns", median(&mut small));
    println!("  1,000 routes                  {:>8.0} ns", median(&mut large));
    println!("  ratio (median of {ROUNDS} rounds)  {:>8.2}", median(&mut ratios));
}

/// A tenth each of areas, and of five kinds of routes in them.
fn table(count: usize) -> RouteTable {
    let shapes = ["/{id}", "", "/{id}/items/{item}", "/**", "/reports/{year}"];
    let routes: Vec<_> = (0..count)
        .map(|number| {
            let (area, shape) = (number / shapes.len(), shapes[number % shapes.len()]);
            Route { path: format!("/area-{area}{shape}"), ..Route::default() }
        })
        .collect();
    RouteTable::new(&routes)
}

fn nanoseconds(table: &RouteTable, count: usize) -> f64 {
    let areas = count / 5;
    let ends = ["", "/7", "/7/items/8", "/any/thing/else/here", "/reports/2026"];
    let targets: Vec<_> = (0..1_000)
        .map(|at| format!("/area-{}{}?page=2", at * 7 % areas, ends[at % ends.len()]))
        .collect();
    let (started, mut found) = (Instant::now(), 0_u64);
    while started.elapsed() < ROUND {
        for target in &targets {
            let path = RequestPath::parse(black_box(target)).unwrap();
            assert!(table.find("GET", &path).is_some());
            found += 1;
        }
    }
    started.elapsed().as_nanos() as f64 / found as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
