//! Owns what the catalog knows of the proxies of a database.

use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::quote_text;
use std::time::{Duration, Instant};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);
/// A process that has not been heard of for this long, in seconds, is waited for only shortly:
/// every proxy is notified of a new map, and answers by itself.
const SILENT_S: u32 = 30;
/// How shortly.
const SILENT_WAIT: Duration = Duration::from_secs(2);

/// Rows of `pgm.proxy`.
pub(super) struct Proxies<'a> {
    pub(super) catalog: &'a Session,
    pub(super) database: &'a str,
    pub(super) epoch: u64,
}

/// A process.
struct Proxy {
    name: String,
    has_acknowledged: bool,
    is_silent: bool,
}

impl Proxies<'_> {
    async fn read(&self) -> Result<Vec<Proxy>, Error> {
        let sql = format!(
            "select name, acked_epoch >= {}, \
              heartbeat < pg_catalog.clock_timestamp() - interval '{SILENT_S} s' \
             from pgm.proxy where database = {} order by name",
            self.epoch,
            quote_text(self.database)
        );
        let rows = self.catalog.rows(&sql).await?.into_iter().map(|row| {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let name = fields.next().unwrap_or_default();
            let mut truth = || fields.next().is_some_and(|word| word == "t");
            Proxy { name, has_acknowledged: truth(), is_silent: truth() }
        });
        Ok(rows.collect())
    }

    /// Waits until all have acknowledged the epoch, or the time is over; says who has, and after
    /// how many milliseconds.
    pub(super) async fn wait(
        &self,
        timeout: Duration,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Vec<(String, u64)>, Error> {
        let begun = Instant::now();
        let mut acknowledged: Vec<(String, u64)> = Vec::new();
        let mut told = Vec::new();
        loop {
            let proxies = self.read().await?;
            let waited = begun.elapsed();
            let after_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            let mut missing = Vec::new();
            for proxy in proxies {
                let is_known = acknowledged.iter().any(|(name, _)| *name == proxy.name);
                if proxy.has_acknowledged && !is_known {
                    acknowledged.push((proxy.name, after_ms));
                } else if !proxy.has_acknowledged
                    && waited < if proxy.is_silent { timeout.min(SILENT_WAIT) } else { timeout }
                {
                    missing.push(proxy.name);
                }
            }
            if missing.is_empty() {
                return Ok(acknowledged);
            }
            if told != missing {
                tell(&format!(
                    "waiting for epoch {} to be acknowledged by {}",
                    self.epoch,
                    missing.join(", ")
                ));
                told = missing;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Who has acknowledged the epoch, and who has not.
    pub(super) async fn current_and_late(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let (current, late): (Vec<_>, Vec<_>) =
            self.read().await?.into_iter().partition(|proxy| proxy.has_acknowledged);
        let names = |proxies: Vec<Proxy>| proxies.into_iter().map(|proxy| proxy.name).collect();
        Ok((names(current), names(late)))
    }

    /// Nobody waits for these any more, until they write their rows again.
    pub(super) async fn forget(&self, names: &[String]) -> Result<(), Error> {
        let sql = format!(
            "delete from pgm.proxy where database = {} and acked_epoch < {} and name = any ({})",
            quote_text(self.database),
            self.epoch,
            texts(names)
        );
        self.catalog.run(&sql).await
    }
}

/// An array of texts.
pub(super) fn texts(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quote_text(text)).collect();
    format!("array[{}]::text[]", texts.join(", "))
}
