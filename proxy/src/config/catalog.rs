//! Owns the reading of `[catalog]`.

use super::document::{Table, Value};
use super::model::{CatalogServers, MonitorLogin};
use super::resolve::{Context, Reader};
use super::{secrets, servers};
use std::sync::Arc;

/// Most hosts of the catalog.
const MAX_HOSTS: usize = 16;

/// The section, when it stands in the file.
pub(super) fn catalog(tables: &[Table], context: &Context<'_>) -> Option<Arc<CatalogServers>> {
    let table = tables.iter().find(|table| table.section.name == "catalog")?;
    let reader = Reader::new(table, context);
    let Some(Value::List(list)) = reader.given("hosts") else { return None };
    if list.is_empty() || list.len() > MAX_HOSTS {
        let help = format!("from 1 to {MAX_HOSTS} addresses");
        reader.error("hosts", format!("{} hosts", list.len()), help);
    }
    let hosts = list.iter().filter_map(|(text, span)| servers::host(&reader, "hosts", text, span));
    let mut file = reader.file("state_file");
    if let Some(path) = &file
        && path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        let message = format!("the folder of {} does not exist", path.display());
        reader.error("state_file", message, "make it; pgmanifold writes the file itself");
        file = None;
    }
    Some(Arc::new(CatalogServers {
        hosts: hosts.map(Arc::new).collect(),
        login: MonitorLogin {
            user: reader.name("user").unwrap_or_default(),
            password: secrets::password(&reader, "password"),
            database: reader.name("database").unwrap_or_default(),
        },
        poll_interval: reader.duration_ms("poll_interval_ms"),
        state_file: file,
    }))
}
