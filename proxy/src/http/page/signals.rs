//! Owns the four signals on the page: traffic, errors, latency and waiting; now, over the last hour,
//! and by database.

use super::number::{self, exact};
use super::plot::{Curve, Plot, Scale, points, spark, window_s};
use super::table::{Column, number as numbers, table, text, wide};
use super::view::View;
use crate::history::{DatabasePoint, Latency, Sample};
use maud::{Markup, html};

/// Most replicas whose lag is drawn: those with the most of it.
const LAG_CURVES_MAX: usize = 4;

const DATABASES: &[Column] = &[
    text("Database", "As clients name it"),
    numbers("Queries/s", "Requests that ended, per second"),
    numbers("Errors/s", "Errors sent to clients, per second"),
    numbers("p50", "Half of the requests took no longer"),
    numbers("p95", "95 % of the requests took no longer"),
    numbers("p99", "99 % of the requests took no longer"),
    numbers("Waited", "Requests that had to wait for a server connection, and how long 95 % did"),
    numbers("Clients", "Logged in now"),
    wide("Queries/s over time", ""),
];

/// The numbers of now.
pub(super) fn tiles(view: &View) -> Markup {
    let last = view.recent.last(0);
    let per_second = |count: fn(&DatabasePoint) -> u32| {
        last.map_or(0.0, |(sample, point)| sample.per_second(count(point)))
    };
    let (queries, errors) = (per_second(|p| p.queries), per_second(|p| p.errors));
    let latency = last.and_then(|(_, point)| point.latency);
    let sum = |grid: &super::grid::Grid, column: &str| -> f64 {
        grid.lines().map(|line| line.count(column)).sum()
    };
    let (active, waiting) = (sum(&view.pools, "cl_active"), sum(&view.pools, "cl_waiting"));
    let (lent, idle) = (sum(&view.hosts, "active"), sum(&view.hosts, "idle"));
    let oldest = view.hosts.lines().map(|line| line.count("oldest_wait_us")).fold(0.0, f64::max);
    html! {
        dl.tiles {
            div { dt { "Queries per second" } dd { (exact(queries, &number::rate(queries))) } }
            div {
                dt { "Errors per second" }
                dd { (exact(errors, &number::rate(errors)))
                    small { (number::percent(errors, queries)) } }
            }
            div.three {
                dt { "Latency p50 · p95 · p99" }
                dd { (latency_of(latency, |l| l.p50_us)) " · " (latency_of(latency, |l| l.p95_us))
                    " · " (latency_of(latency, |l| l.p99_us)) }
            }
            div {
                dt { "Clients" }
                dd { span #clients { (exact(active + waiting, &number::count(active + waiting))) } }
            }
            div {
                dt { "Waiting for a server" }
                dd { span #waiting { (exact(waiting, &number::count(waiting))) }
                    @if oldest > 0.0 { small { "oldest " (number::micros(oldest)) } } }
            }
            div {
                dt { "Servers in use" }
                dd { span #lent { (exact(lent, &number::count(lent))) }
                    small { "of " (number::count(lent + idle)) " open" } }
            }
        }
        p.hint { "Rates and latencies are those of the last 10 s." }
    }
}

pub(super) fn latency_of(latency: Option<Latency>, of: fn(&Latency) -> u32) -> Markup {
    let us = latency.map(|latency| f64::from(of(&latency)));
    html! { @if let Some(us) = us { (exact(us, &number::micros(us))) } @else { "–" } }
}

/// The plots of the last hour, over all databases.
pub(super) fn plots(view: &View) -> Markup {
    let window_s = window_s(&view.recent, view.now);
    let all = |value: fn(&Sample, &DatabasePoint) -> Option<f64>| {
        points(&view.recent, view.now, |sample| value(sample, sample.databases.first()?))
    };
    let curve = |name: &str, value: fn(&Sample, &DatabasePoint) -> Option<f64>| Curve {
        name: name.into(),
        points: all(value),
    };
    let plot = |title: &'static str, curves: Vec<Curve>, scale, write| {
        Plot { title, curves, scale, window_s, write }.draw()
    };
    let us = |of: fn(&Latency) -> u32| move |latency: &Latency| f64::from(of(latency));
    let latencies =
        [("p50", us(|l| l.p50_us)), ("p95", us(|l| l.p95_us)), ("p99", us(|l| l.p99_us))].map(
            |(name, us)| Curve {
                name: name.into(),
                points: points(&view.recent, view.now, |sample| {
                    sample.databases.first()?.latency.as_ref().map(&us)
                }),
            },
        );
    let lags = lags(view);
    html! {
        div.plots {
            (plot("Queries per second", vec![
                curve("queries", |s, p| Some(s.per_second(p.queries))),
            ], Scale::Linear, number::rate))
            (plot("Latency", latencies.into(), Scale::Logarithmic, number::micros))
            (plot("Errors per second", vec![
                curve("errors", |s, p| Some(s.per_second(p.errors))),
            ], Scale::Linear, number::rate))
            (plot("Clients", vec![
                curve("logged in", |_, p| Some(p.clients.into())),
                    curve("active", |_, p| Some(p.active.into())),
                curve("waiting", |_, p| Some(p.waiting.into())),
            ], Scale::Linear, number::rate))
            (plot("Time spent waiting for a server, per second", vec![
                curve("all clients together", |s, p| Some(s.per_second(p.wait_sum_us))),
            ], Scale::Linear, number::micros))
            @if !lags.is_empty() {
                (plot("Age of replicas' data", lags, Scale::Linear, |ms| number::micros(ms * 1e3)))
            }
        }
    }
}

/// The replicas with the oldest data of the hour.
fn lags(view: &View) -> Vec<Curve> {
    let hosts = view.recent.hosts.iter().enumerate();
    let curve = |place: usize, host: &str| Curve {
        name: host.to_owned(),
        points: points(&view.recent, view.now, |sample| {
            sample.hosts.get(place)?.lag_ms.map(f64::from)
        }),
    };
    let mut curves: Vec<Curve> = hosts.map(|(place, (_, host))| curve(place, host)).collect();
    curves.retain(|curve| !curve.points.is_empty());
    let most = |curve: &Curve| curve.points.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    curves.sort_by(|a, b| most(b).total_cmp(&most(a)));
    curves.truncate(LAG_CURVES_MAX);
    curves
}

/// The signals by database.
pub(super) fn databases(view: &View) -> Markup {
    let row = |(place, name): (usize, &String)| {
        let (sample, point) = view.recent.last(place)?;
        let rate = |count: u32| {
            let rate = sample.per_second(count);
            exact(rate, &number::rate(rate))
        };
        let line = points(&view.recent, view.now, |sample| {
            Some(sample.per_second(sample.databases.get(place)?.queries))
        });
        let waited = html! {
            (exact(point.waits.into(), &number::count(point.waits.into())))
            @if point.waits > 0 { small { (number::micros(point.wait_p95_us.into())) } }
        };
        Some(vec![
            html! { (name) },
            rate(point.queries),
            rate(point.errors),
            latency_of(point.latency, |l| l.p50_us),
            latency_of(point.latency, |l| l.p95_us),
            latency_of(point.latency, |l| l.p99_us),
            waited,
            exact(point.clients.into(), &number::count(point.clients.into())),
            spark(&line, window_s(&view.recent, view.now), number::rate, "Queries per second"),
        ])
    };
    // The first is all together, and is shown above.
    let names = view.recent.databases.iter().enumerate().skip(1);
    let rows: Vec<_> = names.filter_map(row).collect();
    html! {
        @if rows.is_empty() { p.none { "Nobody has used a database yet." } }
        @else { (table("Signals of the last 10 s by database", DATABASES, &rows)) }
    }
}

/// Requests per second and latency of a host in the last sample.
pub(super) fn host_last(view: &View, shard: &str, host: &str) -> Option<(f64, Option<Latency>)> {
    let place = view.recent.host(shard, host)?;
    let sample = view.recent.samples.last()?;
    let point = sample.hosts.get(place)?;
    Some((sample.per_second(point.queries), point.latency))
}

/// Requests that a host has answered, over the last hour.
pub(super) fn host_spark(view: &View, shard: &str, host: &str) -> Markup {
    let place = view.recent.host(shard, host);
    let line = points(&view.recent, view.now, |sample| {
        Some(sample.per_second(sample.hosts.get(place?)?.queries))
    });
    spark(&line, window_s(&view.recent, view.now), number::rate, "Queries per second")
}
