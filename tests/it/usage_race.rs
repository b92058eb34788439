//! Many at once want the last units: never one too many, never one lost.

use std::sync::Arc;

use entitled::{
    domain::{reservations::Reservation, time::Span},
    service::{
        Actor, Service,
        decisions::Check,
        usage::{
            UsageDraft,
            take::{Take, Taken},
        },
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::usage::acme;

const CLIENTS: u64 = 64;
const ROUNDS: u64 = 1_000;
const LIMIT: u64 = 10;

fn calls(requested: u64) -> Take {
    let tenant = "acme".parse().ok();
    let check = Check { tenant, ..Check::default() };
    Take { check, feature: "calls".parse().ok(), requested }
}

/// Takes part of the last units: at once, or in two steps; how many it used in the end.
async fn client(service: Service, round: u64, number: u64) -> u64 {
    let actor = Actor::system("test");
    let mut rng = StdRng::seed_from_u64(round * CLIENTS + number);
    let wanted = rng.random_range(1..=2);
    if number.is_multiple_of(2) {
        let taken = service.consume_usage(&actor, None, calls(wanted), |t: Taken| t.taken).await;
        return taken.unwrap();
    }
    let ttl = Span::seconds(60);
    // The id and the amount of what was set aside.
    let view = |taken: Taken| taken.reservation.map(|Reservation { id, amount, .. }| (id, amount));
    let made: Option<(String, u64)> =
        service.reserve_usage(&actor, None, calls(wanted), ttl, view).await.unwrap();
    let Some((id, amount)) = made else { return 0 };
    match rng.random_range(0..3) {
        0 => {
            service.release_reservation(&actor, id).await.unwrap();
            0
        }
        1 => {
            service.settle_reservation(&actor, id, Some(amount - 1)).await.unwrap();
            amount - 1
        }
        _ => {
            service.settle_reservation(&actor, id, None).await.unwrap();
            amount
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_want_the_last_units_none_gets_one_too_many_a_thousand_times() {
    let app = Arc::new(acme().await);
    let actor = Actor::system("test");
    let (mut all_used, mut full) = (0, 0);
    for round in 0..ROUNDS {
        // All but the last few are used.
        let draft = UsageDraft {
            tenant: "acme".parse().ok(),
            feature: "calls".parse().ok(),
            set: Some(LIMIT - 1 - round % 4),
            ..UsageDraft::default()
        };
        let before = app.service.record_usage(&actor, None, draft).await.unwrap().used;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| tokio::spawn(client(app.service.clone(), round, number)))
            .collect();
        let mut used = 0;
        for client in clients {
            used += client.await.unwrap();
        }
        // What was given back may be there for a last one.
        let mut rest = LIMIT - before - used;
        while rest > 0 {
            let taken = app.service.consume_usage(&actor, None, calls(1), |t: Taken| t.taken).await;
            assert_eq!(taken.unwrap(), 1, "round {round}: {rest} units are lost");
            rest -= 1;
            all_used += 1;
        }
        let last = app.service.consume_usage(&actor, None, calls(1), |t: Taken| t.taken).await;
        assert_eq!(last.unwrap(), 0, "round {round}: one unit too many");
        assert!(used <= LIMIT - before, "round {round}: {used} of {}", LIMIT - before);
        full += u64::from(before + used == LIMIT);
    }
    println!("{full} rounds were full at once; {all_used} units were given back and taken later");
    let question = json!({"tenant": "acme", "usage": {"feature": "calls"}});
    assert_eq!(app.check(question).await["limit"]["used"], LIMIT);
    let connection = rusqlite::Connection::open(&app.database).unwrap();
    let sql = "SELECT used, peak, over FROM usage WHERE feature = 'calls'";
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    };
    assert_eq!(connection.query_row(sql, [], row).unwrap(), (10, 10, 0));
    let open = "SELECT count(*) FROM reservations WHERE state = 'open'";
    let open: i64 = connection.query_row(open, [], |row| row.get(0)).unwrap();
    assert_eq!(open, 0);
}
