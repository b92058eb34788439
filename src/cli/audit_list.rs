//! `entitled audit list`: the newest events on a server.

use clap::Args;

use super::{
    Exit, Failure,
    audit_export::{PATH, Selected},
    client::Remote,
    output::{self, cell},
};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    selected: Selected,
    /// How many at most, newest first; `audit export` has no end
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    pub fn run(self) -> Result<Exit, Failure> {
        let Self { remote: Remote { server, format }, selected, limit } = self;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let list = server.list_up_to(PATH, selected.query(), most)?;
        format.print(&list, |list| {
            let rows = list.as_array().into_iter().flatten().map(|event| {
                let of = |name: &str| cell(event.get(name));
                let actor = event.get("actor").and_then(|actor| actor.get("id"));
                [of("seq"), of("at"), of("event"), of("tenant"), cell(actor)]
            });
            output::table(&["seq", "at", "event", "tenant", "actor"], rows)
        })?;
        Ok(Exit::Ok)
    }
}
