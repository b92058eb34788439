//! Maps as CSV: one row for each tenant with a column for each module, or one for each module of a
//! tenant. Written is the first.
//!
//! Invariants: what is written is read again as the same; no cell is one that a spreadsheet would
//! run, because each begins as a key or an old name does.

use std::collections::BTreeSet;

use super::{
    import::{Import, ImportedModule, ImportedTenant},
    report::OldMaps,
};
use crate::error::{Error, Fault, Result};

/// How many columns there may be: as many as there may be old names, and then some.
const MAX_COLUMNS: usize = 2_000;

/// What a table was found to be.
enum Shape {
    /// `tenant,crm,erp`: the column of the tenant.
    Wide(usize),
    /// `tenant,module,enabled`: the columns of all three.
    Long(usize, usize, usize),
}

/// Reads a table, with everything that can't be read.
#[must_use]
pub fn read(text: &str) -> Import {
    let mut import = Import::default();
    // Spreadsheets write a mark before the first name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = reader.records();
    let header = match rows.next() {
        Some(Ok(header)) => header,
        Some(Err(error)) => {
            import.faults.push(Fault::new("row 1", error.to_string()));
            return import;
        }
        None => {
            import.faults.push(Fault::new("row 1", "the table is empty; it needs a header"));
            return import;
        }
    };
    let names: Vec<&str> = header.iter().collect();
    let Some(shape) = shape(&names, &mut import.faults) else { return import };
    let mut seen = BTreeSet::new();
    for row in rows {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let message = format!("can't be read as CSV: {error}");
                import.faults.push(Fault::new("tenants", message));
                break;
            }
        };
        let line = row.position().map_or(0, csv::Position::line);
        if row.len() != names.len() {
            let message = format!("has {} cells, and the header {}", row.len(), names.len());
            import.faults.push(Fault::new(format!("row {line}"), message));
            continue;
        }
        match shape {
            Shape::Wide(tenant) => wide(&row, &names, tenant, line, &mut seen, &mut import),
            Shape::Long(tenant, module, enabled) => {
                long(&row, [tenant, module, enabled], line, &mut import);
            }
        }
    }
    import
}

fn shape(names: &[&str], faults: &mut Vec<Fault>) -> Option<Shape> {
    let column = |wanted: &str| names.iter().position(|name| *name == wanted);
    let mut fault = |message: String| {
        faults.push(Fault::new("row 1", message));
        None
    };
    if names.len() > MAX_COLUMNS {
        return fault(format!("has {} columns; at most {MAX_COLUMNS} are read", names.len()));
    }
    let twice =
        names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name));
    if let Some((_, name)) = twice {
        return fault(format!("names the column “{name}” twice"));
    }
    let Some(tenant) = column("tenant") else {
        return fault(
            "needs a column “tenant”, and commas between columns: “tenant,crm,erp”, or \
             “tenant,module,enabled”"
                .into(),
        );
    };
    match (names.len(), column("module"), column("enabled")) {
        (3, Some(module), Some(enabled)) => Some(Shape::Long(tenant, module, enabled)),
        _ => Some(Shape::Wide(tenant)),
    }
}

fn place(line: u64, column: &str) -> String {
    format!("row {line}, column {column}")
}

fn wide(
    row: &csv::StringRecord,
    names: &[&str],
    tenant: usize,
    line: u64,
    seen: &mut BTreeSet<String>,
    import: &mut Import,
) {
    let key = row.get(tenant).unwrap_or_default().to_owned();
    if !seen.insert(key.clone()) {
        let message = format!("“{key}” has a row already");
        import.faults.push(Fault::new(place(line, "tenant"), message));
        return;
    }
    let cells = row.iter().zip(names).enumerate();
    let mut modules = Vec::new();
    // An empty cell says nothing about the module.
    for (_, (cell, name)) in cells.filter(|(at, (cell, _))| *at != tenant && !cell.is_empty()) {
        let place = place(line, name);
        match switch(cell) {
            Ok(enabled) => modules.push(ImportedModule { place, name: (*name).into(), enabled }),
            Err(message) => import.faults.push(Fault::new(place, message)),
        }
    }
    import.tenants.push(ImportedTenant { place: place(line, "tenant"), tenant: key, modules });
}

fn long(row: &csv::StringRecord, columns: [usize; 3], line: u64, import: &mut Import) {
    let [tenant, module, enabled] = columns.map(|at| row.get(at).unwrap_or_default());
    let mut modules = Vec::new();
    match switch(enabled) {
        Ok(enabled) => {
            let place = place(line, "module");
            modules.push(ImportedModule { place, name: module.into(), enabled });
        }
        Err(message) => import.faults.push(Fault::new(place(line, "enabled"), message)),
    }
    let place = place(line, "tenant");
    import.tenants.push(ImportedTenant { place, tenant: tenant.into(), modules });
}

/// Spreadsheets write `TRUE`.
fn switch(cell: &str) -> Result<bool, String> {
    match cell.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("must be true or false, not “{cell}”")),
    }
}

/// Writes maps as a table.
pub fn write(maps: &OldMaps) -> Result<Vec<u8>> {
    let names: BTreeSet<&str> =
        maps.values().flat_map(|map| map.keys().map(String::as_str)).collect();
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Where modules are called as the columns of the long shape are, only that is read as it is meant.
    if names.contains("tenant") || names.iter().eq(&["enabled", "module"]) {
        writer.write_record(["tenant", "module", "enabled"]).map_err(Error::internal)?;
        for (tenant, map) in maps {
            for (name, is_on) in map {
                let is_on = if *is_on { "true" } else { "false" };
                writer.write_record([tenant.as_str(), name, is_on]).map_err(Error::internal)?;
            }
        }
        return writer.into_inner().map_err(|error| Error::internal(error.to_string()));
    }
    let header = std::iter::once("tenant").chain(names.iter().copied());
    writer.write_record(header).map_err(Error::internal)?;
    for (tenant, map) in maps {
        let cell = |name: &&str| match map.get(*name) {
            Some(true) => "true",
            Some(false) => "false",
            None => "",
        };
        let row = std::iter::once(tenant.as_str()).chain(names.iter().map(cell));
        writer.write_record(row).map_err(Error::internal)?;
    }
    writer.into_inner().map_err(|error| Error::internal(error.to_string()))
}
