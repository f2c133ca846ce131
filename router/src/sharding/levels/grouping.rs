//! Owns which SELECTs combine rows, and whether the rows they combine are always on one shard:
//! when GROUP BY, DISTINCT or PARTITION BY has the whole shard key of a reference.

use super::{Found, KeyColumn, Levels, Query, Rows, Select, Span};
use crate::lexer::TokenKind;
use crate::planner::{Text, is_call};
use crate::sharding::aggregates;
use crate::sharding::query::{self, Distinct, Label, keyword, split_commas};

/// How a SELECT combines rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grouping {
    /// It has GROUP BY, HAVING or aggregates.
    grouped: bool,
    /// Columns of keys in GROUP BY, without those named by their number.
    group: Vec<KeyColumn>,
    /// Those named by their number.
    numbered: Vec<KeyColumn>,
    /// GROUPING SETS, ROLLUP, CUBE.
    sets: bool,
    /// Columns of keys in PARTITION BY of each window.
    windows: Vec<Vec<KeyColumn>>,
    /// Columns of keys in what is DISTINCT.
    distinct: Option<Vec<KeyColumn>>,
    distinct_on: bool,
    /// The first aggregate whose result depends on the order of its input, or window function.
    ordered: Option<String>,
    /// Full keys, by reference.
    widths: Vec<(usize, usize)>,
}

impl Grouping {
    pub(super) fn read(levels: &Levels<'_>, select: &Select, query: &Query, scope: usize) -> Self {
        let mut grouping = Self::default();
        let reader = Reader { levels, select, query, scope };
        reader.calls(&mut grouping);
        reader.groups(&mut grouping);
        grouping.distinct_on = matches!(select.distinct, Distinct::On(_));
        grouping.distinct = match &select.distinct {
            Distinct::No => None,
            Distinct::Rows => {
                let targets = select.targets.iter().map(|target| target.at.clone());
                let mut keys = reader.keys_of(targets.collect());
                for target in select.targets.iter().filter(|t| t.label == Label::Star) {
                    let starred = levels.starred(target.at.clone(), scope);
                    keys.extend(starred.into_iter().flat_map(|(_, columns)| columns));
                }
                Some(keys)
            }
            Distinct::On(items) => {
                // A name alone is a column of the answer first.
                let of_source = items.iter().filter(|item| !reader.is_label((*item).clone()));
                Some(reader.keys_of(of_source.cloned().collect()))
            }
        };
        let all = 0..levels.references.all.len();
        grouping.widths = all
            .filter_map(|at| Some((at, levels.references.base(at)?.key_columns.len())))
            .collect();
        grouping
    }

    /// Each row of the answer is made of one row of FROM.
    pub(super) fn is_plain(&self) -> bool {
        !self.grouped && self.windows.is_empty() && !self.distinct_on
    }

    /// Whether a condition on these columns of the answer is one on the rows it is made of.
    pub(super) fn passes(&self, columns: &[KeyColumn]) -> bool {
        let is_in = |keys: &[KeyColumn]| columns.iter().any(|column| keys.contains(column));
        (!self.grouped || !self.sets && is_in(&self.group))
            && self.windows.iter().all(|keys| is_in(keys))
            && (!self.distinct_on || self.distinct.as_deref().is_some_and(is_in))
    }

    /// The rows of the answer, given those of FROM and WHERE.
    pub(crate) fn rows(&self, rows: Rows) -> Rows {
        let sure = match &rows {
            Rows::Whole(..) => return rows,
            Rows::Same => {
                return match &self.ordered {
                    Some(name) => {
                        Rows::Whole("aggregate", format!("{name} depends on the order of rows."))
                    }
                    None => rows,
                };
            }
            Rows::Spread { sure, .. } => sure,
        };
        let has_key = |keys: &[KeyColumn]| {
            sure.iter().any(|reference| {
                let width = self.widths.iter().find(|(at, _)| at == reference);
                width.is_some_and(|(_, width)| {
                    *width > 0 && (0..*width).all(|column| keys.contains(&(*reference, column)))
                })
            })
        };
        let group = [self.group.as_slice(), &self.numbered].concat();
        if self.grouped && (self.sets || !has_key(&group)) {
            let why = "Rows of several shards are grouped or aggregated together.";
            return Rows::Whole("aggregate", why.to_string());
        }
        if !self.windows.iter().all(|keys| has_key(keys)) {
            let why = "A window function looks at rows of several shards.";
            return Rows::Whole("window-function", why.to_string());
        }
        if self.distinct.as_deref().is_some_and(|keys| !has_key(keys)) {
            let why = "DISTINCT compares rows of several shards.";
            return Rows::Whole("distinct", why.to_string());
        }
        rows
    }

    /// It has GROUP BY, HAVING or aggregates.
    pub(super) fn is_aggregated(&self) -> bool {
        self.grouped
    }
}

struct Reader<'l, 'a> {
    levels: &'l Levels<'a>,
    select: &'l Select,
    query: &'l Query,
    scope: usize,
}

impl Reader<'_, '_> {
    /// The columns of keys among these expressions.
    fn keys_of(&self, items: Vec<Span>) -> Vec<KeyColumn> {
        let mut keys = Vec::new();
        for item in items {
            let Some(column) = self.levels.reader.column(item) else { continue };
            if let Found::Key { columns, above: 0, .. } =
                self.levels.references.find(self.scope, &column)
            {
                keys.extend(columns);
            }
        }
        keys
    }

    /// A name alone that the target list gives to a column of the answer.
    fn is_label(&self, item: Span) -> bool {
        let text = self.levels.text;
        let inside = query::unwrapped(text, item);
        let name = (inside.len() == 1).then(|| text.name(inside.start)).flatten();
        let has = |name: &str| {
            let is = |label: &Label| matches!(label, Label::Named(known) if **known == *name);
            self.select.targets.iter().any(|target| is(&target.label))
        };
        name.is_some_and(|name| has(&name))
    }

    fn groups(&self, grouping: &mut Grouping) {
        grouping.grouped |= self.select.having.is_some();
        let Some(group_by) = &self.select.group_by else { return };
        grouping.grouped = true;
        let text = self.levels.text;
        for item in &group_by.items {
            let word = keyword(text, item.start);
            let sets = matches!(word, "rollup" | "cube")
                && text.is_kind(item.start + 1, TokenKind::OpenParen)
                || word == "grouping" && text.is(item.start + 1, "sets");
            grouping.sets |= sets;
            // `(a, b)` is two items.
            let inside = query::unwrapped(text, item.clone());
            for item in split_commas(text, inside) {
                let direct = self.keys_of(vec![item.clone()]);
                if !direct.is_empty() {
                    grouping.group.extend(direct);
                } else if let Some((target, numbered)) = self.target(item) {
                    let keys = self.keys_of(vec![target]);
                    if numbered { &mut grouping.numbered } else { &mut grouping.group }
                        .extend(keys);
                }
            }
        }
    }

    /// The expression of the target list that an item names by its alias or number.
    fn target(&self, item: Span) -> Option<(Span, bool)> {
        let text = self.levels.text;
        if item.len() != 1 {
            return None;
        }
        if text.is_kind(item.start, TokenKind::Integer) {
            let number: usize = std::str::from_utf8(text.raw(item.start)).ok()?.parse().ok()?;
            let before = self.select.targets.get(..number)?;
            let target = before.last()?;
            let starred = before.iter().any(|target| target.label == Label::Star);
            return (!starred).then(|| (target.at.clone(), true));
        }
        let name = text.name(item.start)?;
        let labelled = |label: &Label| matches!(label, Label::Named(known) if **known == *name);
        let mut targets = self.select.targets.iter().filter(|target| labelled(&target.label));
        let target = targets.next()?;
        // An input column of the name would come first.
        let column = super::Named { qualifier: None, name: (*name).into() };
        let hidden = self.levels.references.may_have(self.scope, &column);
        (targets.next().is_none() && !hidden).then(|| (target.at.clone(), false))
    }

    /// Aggregates and window functions of this level.
    fn calls(&self, grouping: &mut Grouping) {
        let text = self.levels.text;
        let targets = self.select.at.start..self.select.targets_at.end;
        let others = [self.select.having.clone(), self.query.order_at.clone()];
        let spans = others.into_iter().flatten().chain([targets]);
        let nested = self.select.nested.iter().chain(&self.query.nested);
        let nested: Vec<Span> = nested.map(|nested| nested.at.clone()).collect();
        for at in spans.flatten() {
            if nested.iter().any(|nested| nested.contains(&at)) || !text.is_identifier(at) {
                continue;
            }
            let open = at + 1;
            let Some(close) = text.partner(open) else { continue };
            if !text.is_kind(open, TokenKind::OpenParen) || !is_call(text, at) {
                continue;
            }
            let Some(name) = text.name(at) else { continue };
            let over = over(text, close);
            if let Some(over) = over {
                grouping.windows.push(self.partition(over));
                grouping.ordered.get_or_insert_with(|| name.to_string());
            } else if is_aggregate(self.levels, &name, open, close) {
                grouping.grouped = true;
                if aggregates::needs_order(&name) || !aggregates::is_exact(&name) {
                    grouping.ordered.get_or_insert_with(|| name.to_string());
                }
            }
        }
    }

    /// Columns of keys in the PARTITION BY of a window: `(…)`, or its name.
    fn partition(&self, over: usize) -> Vec<KeyColumn> {
        let text = self.levels.text;
        let mut open = over;
        if !text.is_kind(open, TokenKind::OpenParen) {
            let Some(name) = text.name(over) else { return Vec::new() };
            let windows = self.select.windows.clone().unwrap_or(0..0);
            let named = split_commas(text, windows)
                .into_iter()
                .find(|window| text.name(window.start).is_some_and(|n| n == name));
            match named {
                Some(window) if text.is_kind(window.start + 2, TokenKind::OpenParen) => {
                    open = window.start + 2;
                }
                _ => return Vec::new(),
            }
        }
        let Some(close) = text.partner(open) else { return Vec::new() };
        let inside = open + 1..close;
        let is_partition = |word: &str, _: usize| word == "partition";
        let Some(start) = query::find(text, inside.clone(), is_partition) else {
            return Vec::new();
        };
        let ends = |word: &str, _: usize| matches!(word, "order" | "rows" | "range" | "groups");
        let end = query::find(text, start + 2..inside.end, ends).unwrap_or(inside.end);
        self.keys_of(split_commas(text, start + 2..end))
    }
}

/// Where a window begins behind the arguments of a call; `None` when the call has none.
fn over(text: &Text<'_>, close: usize) -> Option<usize> {
    let mut here = close + 1;
    if text.is(here, "filter") {
        here = text.partner(here + 1)? + 1;
    }
    if matches!(text.word(here), "respect" | "ignore") {
        here += 2;
    }
    text.is(here, "over").then_some(here + 1)
}

fn is_aggregate(levels: &Levels<'_>, name: &str, open: usize, close: usize) -> bool {
    let text = levels.text;
    let words = |word: &str, _: usize| word == "order";
    aggregates::is_aggregate(name)
        || levels.catalog.facts.schema().is_aggregate(name)
        || text.raw(open + 1) == b"*"
        || text.is(open + 1, "distinct")
        || query::find(text, open + 1..close, words).is_some()
        || text.is(close + 1, "filter")
        || text.are(close + 1, &["within", "group"])
}
