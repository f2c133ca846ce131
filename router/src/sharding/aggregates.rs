//! Owns what is known of PostgreSQL's own aggregates: how partial results of one are combined, and
//! which of them depend on more than the values they are given. Nothing here is guessed for
//! aggregates that are not listed.

/// How partial results are combined. `p` is a partial result of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    /// `sum(p)`, as the type `p` has. Sums of exact types only.
    Sum,
    /// `sum(p)::bigint`.
    Count,
    /// Of the sum and the count: `sum(p)::numeric / nullif(sum(q), 0)`, which is the division
    /// `avg` does for integers and `numeric`.
    Average,
    /// The same aggregate again.
    Again,
}

/// How the results of this aggregate for parts of the rows make the result for all of them.
pub(super) fn combine(name: &str) -> Option<Combine> {
    Some(match name {
        "sum" => Combine::Sum,
        "count" => Combine::Count,
        "avg" => Combine::Average,
        "min" | "max" | "bool_and" | "bool_or" | "every" | "bit_and" | "bit_or" | "bit_xor" => {
            Combine::Again
        }
        _ => return None,
    })
}

/// Aggregates of PostgreSQL 13 to 18.
const AGGREGATES: &[&str] = &[
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "every",
    "json_agg",
    "json_agg_strict",
    "json_arrayagg",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_objectagg",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "max",
    "min",
    "mode",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Whether it is an aggregate of PostgreSQL's own (some are window functions as well).
pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// Whether its result depends on the order of its input, so that it needs an ORDER BY of its own.
pub(super) fn needs_order(name: &str) -> bool {
    matches!(name, "array_agg" | "string_agg" | "xmlagg" | "range_agg" | "any_value")
        || name.starts_with("json")
}

/// Whether it computes in `double precision` whatever it is given.
pub(super) fn is_floating(name: &str) -> bool {
    matches!(name, "corr" | "covar_pop" | "covar_samp")
        || (name.starts_with("regr_") && name != "regr_count")
}

/// Whether its result is the same for floating-point numbers in any order.
pub(super) fn is_exact(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "min"
            | "max"
            | "bool_and"
            | "bool_or"
            | "every"
            | "bit_and"
            | "bit_or"
            | "bit_xor"
            | "mode"
            | "percentile_cont"
            | "percentile_disc"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
            | "regr_count"
            | "array_agg"
            | "string_agg"
    ) || name.starts_with("json")
}
