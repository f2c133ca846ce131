//! Owns the status page: a document that shows what the console's tables, the last hour and the
//! readiness say, for people who look at it in a browser. It only reads. What it shows is rendered
//! at most once per second, however many look at it.
//!
//! Everything a client can influence (texts of statements, names) is escaped by the templates, and
//! the policy sent with the page allows its own style and script only, by their hashes.

mod grid;
mod lists;
mod number;
mod plot;
mod signals;
mod statements;
mod table;
mod topology;
mod verdict;
mod view;

use super::Readiness;
use crate::history::History;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pgmanifold_console::Source;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use view::View;

/// Time for which what was rendered is shown to all who ask.
const RENDER_INTERVAL: Duration = Duration::from_secs(1);

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/live.js");

/// What the page is made from.
#[derive(Clone)]
pub struct Facts {
    /// Name of this process.
    pub name: Arc<str>,
    /// The console's tables.
    pub source: Arc<dyn Source>,
    /// The last hour.
    pub history: Arc<History>,
    /// What is missing.
    pub ready: Arc<Readiness>,
    /// Whether the page is to be shown at all (`http.status_page`).
    pub enabled: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The page and what was rendered last.
pub struct Page {
    facts: Facts,
    started: SystemTime,
    policy: HeaderValue,
    rendered: Mutex<Option<(Instant, Rendered)>>,
}

/// The whole document, and the part of it that changes.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) document: Bytes,
    pub(super) live: Bytes,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("name", &self.facts.name).finish_non_exhaustive()
    }
}

impl Page {
    /// A page of a process that starts now.
    pub fn new(facts: Facts) -> Self {
        let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let policy =
            HeaderValue::from_str(&policy).expect("invariant: the policy is visible ASCII");
        Self { facts, started: SystemTime::now(), policy, rendered: Mutex::new(None) }
    }

    /// False when the configuration turns it off.
    pub(super) fn is_enabled(&self) -> bool {
        (self.facts.enabled)()
    }

    /// For `Content-Security-Policy`.
    pub(super) fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// The page, at most [`RENDER_INTERVAL`] old.
    pub(super) fn rendered(&self) -> Rendered {
        let mut kept = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, rendered)) = &*kept
            && when.elapsed() < RENDER_INTERVAL
        {
            return rendered.clone();
        }
        let began = Instant::now();
        let rendered = self.render();
        tracing::trace!(took = ?began.elapsed(), bytes = rendered.live.len(), "page rendered");
        *kept = Some((Instant::now(), rendered.clone()));
        rendered
    }

    fn render(&self) -> Rendered {
        let Facts { source, history, ready, .. } = &self.facts;
        let view = View::take(&**source, history.recent(), ready());
        let troubles = verdict::troubles(&view);
        let (_, word) = verdict::word(&view, &troubles);
        let title = format!("{word} · pgmanifold");
        let live = self.live(&view, &troubles, &title).into_string();
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                    noscript { meta http-equiv="refresh" content="15"; }
                }
                body {
                    (PreEscaped(&live))
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        Rendered { document: document.into_string().into(), live: live.into() }
    }

    /// What changes from one look to the next. Parts are replaced one by one by the script.
    fn live(&self, view: &View, troubles: &[verdict::Trouble], title: &str) -> Markup {
        let part = |name: &str, heading: &str, content: Markup| {
            html! {
                section data-part=(name) aria-label=(heading) { h2 { (heading) } (content) }
            }
        };
        html! {
            main #page data-version=(env!("CARGO_PKG_VERSION")) data-at=(utc(view.now))
                data-title=(title) {
                header data-part="top" { (self.top(view)) }
                p #live { "As of " (utc(view.now)) }
                section data-part="verdict" aria-label="Verdict" {
                    (verdict::draw(view, troubles))
                }
                (part("now", "Now", signals::tiles(view)))
                (part("time", "Over time", signals::plots(view)))
                (part("hosts", "Hosts", topology::hosts(view)))
                (part("statements", "Where the time is", statements::draw(view)))
                (part("databases", "By database", signals::databases(view)))
                (part("pools", "Pools", lists::pools(view)))
                (part("shards", "Shards", topology::shards(view)))
                (part("transactions", "Prepared transactions", lists::transactions(view)))
                section data-part="moves" aria-label="Moves" {
                    @if view.moves.len() > 0 { h2 { "Moves" } (lists::moves(view)) }
                }
                footer {
                    a href="/metrics" { "/metrics" } " · " a href="/ready" { "/ready" } " · "
                    a href="/health" { "/health" }
                }
            }
        }
    }

    fn top(&self, view: &View) -> Markup {
        let uptime = view.now.duration_since(self.started).unwrap_or_default();
        html! {
            h1 { "pgmanifold" }
            p {
                (env!("CARGO_PKG_VERSION")) " · up " (number::age(uptime.as_secs_f64())) " · "
                (self.facts.name)
            }
        }
    }
}

/// A time of day, in UTC.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

#[cfg(test)]
mod tests;
