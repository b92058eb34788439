//! `entitled serve --demo`: the products, each an instance of its own with a throw-away database,
//! filled through the use cases.

mod ai_billing;
mod bookclub;
mod learning;
mod retail;
mod seed;
mod suite;

use std::{net::SocketAddr, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::seed::{Seed, Shown, ShownCode};
use super::{
    Exit, Failure,
    instance::{self, Doors, Instance},
    output,
    serve::{super_admin, temporary_directory},
};
use crate::{
    clock::Clock,
    config::Settings,
    domain::{callers::OperatorRole, time::Timestamp},
    error::Error,
    service::{Actor, api_keys::NewApiKey, keyring::Secret},
    store::Durability,
};

/// A product that can be shown.
struct Product {
    name: &'static str,
    catalog: &'static str,
    /// What is asked in the line to paste.
    question: &'static str,
    seed: fn(&Seed) -> seed::Seeding<'_>,
}

/// The products, each on the port after the one before.
const PRODUCTS: [Product; 5] = [
    Product {
        name: "retail",
        catalog: include_str!("../../../examples/retail.yaml"),
        question: r#"{"tenant": "retail-only", "module": "accounting"}"#,
        seed: |seed| Box::pin(retail::seed(seed)),
    },
    Product {
        name: "ai_billing",
        catalog: include_str!("../../../examples/ai_billing.yaml"),
        question: r#"{"tenant": "pro-plan", "features": ["ai_actions", "custom_reports"]}"#,
        seed: |seed| Box::pin(ai_billing::seed(seed)),
    },
    Product {
        name: "learning",
        catalog: include_str!("../../../examples/learning.yaml"),
        question: r#"{"tenant": "youth", "user": "nia", "module": "leaderforge"}"#,
        seed: |seed| Box::pin(learning::seed(seed)),
    },
    Product {
        name: "bookclub",
        catalog: include_str!("../../../examples/bookclub.yaml"),
        question: r#"{"tenant": "page-turners", "user": "olga", "permission": "CAN_MANAGE_CLUB", "context": {"type": "club", "id": "harbour-crime"}}"#,
        seed: |seed| Box::pin(bookclub::seed(seed)),
    },
    Product {
        name: "suite",
        catalog: include_str!("../../../examples/suite.yaml"),
        question: r#"{"tenant": "manufacturing-past", "module": "manufacturing"}"#,
        seed: |seed| Box::pin(suite::seed(seed)),
    },
];

/// Shows the products until `stop`.
pub async fn run(settings: &Settings, stop: CancellationToken) -> Result<Exit, Failure> {
    let doors = Doors::new(settings)?;
    let mut running = JoinSet::new();
    let mut directories = Vec::new();
    for (place, product) in (0_u16..).zip(&PRODUCTS) {
        let dir = temporary_directory()?;
        let database = dir.path().join("entitled.db");
        directories.push(dir);
        let options = settings.store(database, Durability::None);
        let (shown, codes) = Seed::plant(settings, &options, product).await?;

        let listener = instance::bind(address(settings.listen, place)?).await?;
        // Another keyring for each: a key of one product means nothing in another.
        let keyring = match place {
            0 => doors.keyring.clone(),
            _ => Arc::new(settings.keyring()?),
        };
        // The real clock, on what was written by one that was set back.
        let service = instance::open(settings, &options, Clock::system(), keyring)?;
        let actor = Actor::system("demo");
        let admin = match settings.root()? {
            Some(root) => root,
            None => instance::make_key(&service, &actor, super_admin("demo admin")).await?,
        };
        let new = NewApiKey {
            name: "demo service".into(),
            role: OperatorRole::Service,
            tenant: None,
            expires_at: None,
            rate: None,
        };
        let key = instance::make_key(&service, &actor, new).await?;
        let instance = Instance::new(service, listener, doors.tokens.clone());
        output::print(&page(product, &instance.url(), &admin, &key, &shown, &codes))?;
        running.spawn(instance.run(settings.clone(), stop.clone()));
    }
    let mut exit = Exit::Ok;
    while let Some(ended) = running.join_next().await {
        // The end of one is the end of all.
        stop.cancel();
        let ended = ended.map_err(Error::internal)??;
        if ended != Exit::Ok {
            exit = ended;
        }
    }
    drop(directories);
    Ok(exit)
}

/// The port for the product at `place`; any free one where the settings say so.
fn address(first: SocketAddr, place: u16) -> Result<SocketAddr, Failure> {
    let mut address = first;
    if first.port() != 0 {
        let port = first.port().checked_add(place).ok_or_else(|| {
            let line = format!("there is no port for each product after {first}; give --listen");
            Failure::new(Exit::Io, line)
        })?;
        address.set_port(port);
    }
    Ok(address)
}

fn page(
    product: &Product,
    url: &str,
    admin: &Secret,
    key: &Secret,
    shown: &[Shown],
    codes: &[ShownCode],
) -> String {
    let Product { name, question, .. } = product;
    let (admin, key) = (admin.reveal(), key.reveal());
    let rows = shown.iter().map(|it| [it.tenant, it.story, it.key.reveal()]);
    let tenants = output::table(&["tenant", "what it shows", "its tenant_admin's key"], rows);
    let tenants: String = tenants.lines().map(|line| format!(" {line}\n")).collect();
    let code = |ShownCode { code, story }: &ShownCode| {
        format!("\n  activation code  {}  {story}\n", code.reveal())
    };
    let codes: String = codes.iter().map(code).collect();
    format!(
        "{name}: {url} (documentation: {url}/docs)\n\n  super_admin  {admin}\n  service      {key}\n\n\
         {tenants}{codes}\nAsk why something is not allowed:\n\n  curl -s {url}/api/v1/check -H 'Authorization: \
         Bearer {key}' -H 'Content-Type: application/json' -d '{question}'\n\n"
    )
}

/// The instant that the demo takes for now while it is being filled.
fn now() -> Timestamp {
    Clock::system().now()
}
