//! Owns one SELECT: its list, FROM, WHERE, GROUP BY and HAVING, and what PostgreSQL asks of them
//! that SQLite does not.

use super::{Place, Series, Sub, Translator, Typed, folded, parts};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::scope::Scope;
use crate::engine::types::{NUMERIC_COLLATION, Type};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, OrderBy, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, Value, WildcardAdditionalOptions,
};
use std::cell::RefCell;

/// A SELECT list, translated.
pub(super) struct List {
    /// The names of its columns.
    pub(super) names: Vec<String>,
    /// Its expressions.
    pub(super) values: Vec<Typed>,
}

impl Translator<'_> {
    /// A SELECT with the ORDER BY of its query.
    pub(super) fn select(
        &mut self,
        select: &Select,
        order: Option<&OrderBy>,
        parent: Option<&Scope<'_>>,
    ) -> Outcome<Sub> {
        known_clauses(select)?;
        let wanted = self.wanted.take();
        let mut scope = Scope::inside(parent);
        let from = self.from(&select.from, &mut scope)?;
        let scope = &scope;
        let filter = match &select.selection {
            Some(filter) => {
                let filter = self.expression(filter, Place::plain(scope, "WHERE"))?;
                Some(self.condition(filter, "WHERE")?)
            }
            None => None,
        };
        let series = Series { alias: self.name('s'), arrays: RefCell::new(Vec::new()) };
        let place = Place {
            scope,
            grouping: &[],
            no_aggregates: None,
            no_windows: None,
            series: Some(&series),
        };
        let groups = self.groups(select, place)?;
        let keys: Vec<_> = groups.iter().map(|group| group.sql.clone()).collect();
        let place = Place { grouping: &keys, ..place };
        let mut list = self.list(&select.projection, place)?;
        if let Some(types) = wanted {
            self.convert(&mut list, &types)?;
        }
        let having = match &select.having {
            Some(having) => {
                let place = Place { no_windows: Some("HAVING"), series: None, ..place };
                let having = self.expression(having, place)?;
                Some(self.condition(having, "HAVING")?)
            }
            None => None,
        };
        let distinct = distinct(select)?;
        let order = self.order(order, &list, place, distinct)?;
        let made = Made { from, filter, groups, list, having, order, distinct };
        self.finished(made, scope, &series)
    }

    fn groups(&mut self, select: &Select, place: Place<'_>) -> Outcome<Vec<Typed>> {
        let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
            return Err(EngineError::refused("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(EngineError::refused("this form of GROUP BY"));
        }
        let clause = Some("GROUP BY");
        let place = Place { no_aggregates: clause, no_windows: clause, ..place };
        let mut groups = Vec::new();
        for expr in exprs {
            let expr = grouped_by(expr, select, place.scope)?;
            let value = self.expression(expr, place)?;
            let ty = if value.ty == Type::Unknown { Type::Text } else { value.ty };
            groups.push(self.coerce(value, ty)?);
        }
        Ok(groups)
    }

    fn list(&mut self, items: &[SelectItem], place: Place<'_>) -> Outcome<List> {
        let mut list = List { names: Vec::new(), values: Vec::new() };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    list.names.push(name_of(expr).unwrap_or_else(|| "?column?".into()));
                    list.values.push(self.expression(expr, place)?);
                }
                SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\'') => {
                    let message = format!("syntax error at or near \"'{}'\"", alias.value);
                    return Err(EngineError::new("42601", message));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    list.names.push(folded(alias));
                    list.values.push(self.expression(expr, place)?);
                }
                SelectItem::Wildcard(options) => {
                    plain_wildcard(options)?;
                    if place.scope.rels.is_empty() {
                        let message = "SELECT * with no tables specified is not valid";
                        return Err(EngineError::new("42601", message));
                    }
                    self.columns(&place.scope.star, place, &mut list);
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    plain_wildcard(options)?;
                    let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                        return Err(EngineError::refused("this form of *"));
                    };
                    let alias = parts(name)?.pop().unwrap_or_default();
                    let columns = place.scope.relation(&alias)?.0.columns.clone();
                    self.columns(&columns, place, &mut list);
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(EngineError::refused("more than one alias"));
                }
            }
        }
        if list.values.is_empty() {
            return Err(EngineError::refused("a SELECT without columns"));
        }
        Ok(list)
    }

    /// The list with its values made of these types.
    fn convert(&mut self, list: &mut List, types: &[Type]) -> Outcome<()> {
        if types.len() != list.values.len() {
            let message = "both queries of a UNION must have the same number of columns";
            return Err(EngineError::new("42601", message));
        }
        for (value, ty) in list.values.iter_mut().zip(types) {
            *value = self.coerce(value.clone(), *ty)?;
        }
        Ok(())
    }

    fn columns(&mut self, columns: &[super::Col], place: Place<'_>, list: &mut List) {
        for column in columns {
            let mut value = Typed::of(column.sql.clone(), column.ty, &[]);
            if !place.grouping.contains(&value.sql) {
                value.free.push((place.scope.level, column.name.clone()));
            }
            list.names.push(column.name.clone());
            list.values.push(value);
        }
    }

    fn finished(&mut self, made: Made, scope: &Scope<'_>, series: &Series) -> Outcome<Sub> {
        let Made { from, filter, groups, list, having, order, distinct } = made;
        let all: Vec<_> = list.values.iter().chain(&having).chain(&order.values).collect();
        let has_aggregate = all.iter().any(|value| value.has_aggregate);
        let is_grouped = has_aggregate || !groups.is_empty() || having.is_some();
        let own = |(level, _): &&(usize, String)| *level == scope.level;
        let ungrouped = all.iter().find_map(|value| value.free.iter().find(own));
        if let Some((_, name)) = ungrouped.filter(|_| is_grouped) {
            let message = format!(
                "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate \
                 function"
            );
            return Err(EngineError::new("42803", message));
        }
        let mut free: Vec<_> = all.iter().flat_map(|value| value.free.iter().cloned()).collect();
        free.extend(filter.iter().chain(&groups).flat_map(|value| value.free.iter().cloned()));
        free.extend(from.free);
        free.retain(|(level, _)| *level < scope.level);
        let mut sql = format!("SELECT {}", if distinct { "DISTINCT " } else { "" });
        sql.push_str(&listed(&list, distinct));
        let mut sources = from.sql;
        let arrays = series.arrays.borrow();
        if !arrays.is_empty() {
            let rows = self.longest(&arrays)?;
            sources = if sources.is_empty() { rows } else { format!("{sources}, {rows}") };
            sources.push_str(&format!(" AS {}", series.alias));
        }
        let mut clause = |word: &str, text: &str| {
            if !text.is_empty() {
                sql.push_str(&format!(" {word} {text}"));
            }
        };
        clause("FROM", &sources);
        clause("WHERE", filter.as_ref().map_or("", |filter| &filter.sql));
        let keys = groups.iter().filter(|group| !is_constant(group)).map(Typed::key);
        let keys: Vec<_> = keys.collect();
        let any = if groups.is_empty() { "" } else { "NULL" };
        clause("GROUP BY", if keys.is_empty() { any.to_owned() } else { keys.join(", ") }.as_str());
        match (&having, has_aggregate || !groups.is_empty()) {
            (Some(having), true) => clause("HAVING", &having.sql),
            (Some(_), false) => {
                return Err(EngineError::refused("HAVING without GROUP BY or an aggregate"));
            }
            (None, _) => {}
        }
        clause("ORDER BY", &order.sql);
        let is_single = groups.is_empty() && is_grouped || sources.is_empty();
        let types = list.values.iter().map(|value| value.ty);
        Ok(Sub { sql, columns: list.names.into_iter().zip(types).collect(), free, is_single })
    }

    /// The rows of all functions in a SELECT list that return rows, as many as the longest has.
    fn longest(&mut self, arrays: &[String]) -> Outcome<String> {
        if let [array] = arrays {
            return Ok(format!("json_each({array})"));
        }
        let lengths: Vec<_> =
            arrays.iter().map(|array| format!("coalesce(json_array_length({array}), 0)")).collect();
        let one = || Typed::of("1".into(), Type::Int8, &[]);
        let most = Typed::of(format!("max({})", lengths.join(", ")), Type::Int8, &[]);
        let rows = self.call(super::functions::SERIES, vec![one(), most, one()])?;
        Ok(format!("json_each({})", rows.sql))
    }
}

/// The parts of a SELECT, translated.
struct Made {
    from: super::from::Joined,
    filter: Option<Typed>,
    groups: Vec<Typed>,
    list: List,
    having: Option<Typed>,
    order: super::order::Order,
    distinct: bool,
}

fn is_constant(value: &Typed) -> bool {
    value.free.is_empty() && !value.sql.contains(['r', 's', 'w'])
}

fn listed(list: &List, distinct: bool) -> String {
    let item = |(value, number): (&Typed, usize)| {
        let collate = match value.ty {
            Type::Numeric if distinct => format!(" COLLATE {NUMERIC_COLLATION}"),
            _ => String::new(),
        };
        format!("{}{collate} AS o{number}", value.sql)
    };
    list.values.iter().zip(1..).map(item).collect::<Vec<_>>().join(", ")
}

fn distinct(select: &Select) -> Outcome<bool> {
    match &select.distinct {
        None | Some(Distinct::All) => Ok(false),
        Some(Distinct::Distinct) => Ok(true),
        Some(Distinct::On(_)) => Err(EngineError::refused("DISTINCT ON")
            .hint("Use GROUP BY, or row_number() OVER (PARTITION BY … ORDER BY …) = 1.")),
    }
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Outcome<()> {
    let plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if plain { Ok(()) } else { Err(EngineError::refused("this form of *")) }
}

fn known_clauses(select: &Select) -> Outcome<()> {
    if !select.named_window.is_empty() {
        return Err(EngineError::refused("WINDOW").hint("Write the window after each OVER."));
    }
    if select.into.is_some() {
        return Err(EngineError::refused("SELECT INTO"));
    }
    let plain = select.top.is_none()
        && select.exclude.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.qualify.is_none()
        && select.value_table_mode.is_none()
        && select.select_modifiers.is_none()
        && select.flavor == SelectFlavor::Standard;
    if plain { Ok(()) } else { Err(EngineError::new("42601", "syntax error in SELECT")) }
}

/// What a number or a name in GROUP BY stands for: a column of the FROM first, then one of the
/// list.
fn grouped_by<'e>(expr: &'e Expr, select: &'e Select, scope: &Scope<'_>) -> Outcome<&'e Expr> {
    match expr {
        Expr::Value(value) => {
            let Value::Number(number, _) = &value.value else { return Ok(expr) };
            let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let item = at.and_then(|at| select.projection.get(at));
            match item {
                Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => {
                    Ok(expr)
                }
                Some(_) => Err(EngineError::refused("GROUP BY with the place of a *")),
                None => {
                    let message = format!("GROUP BY position {number} is not in select list");
                    Err(EngineError::new("42P10", message))
                }
            }
        }
        Expr::Identifier(ident) => {
            let name = folded(ident);
            if scope.star.iter().any(|column| column.name == name) {
                return Ok(expr);
            }
            let aliased = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if folded(alias) == name => Some(expr),
                SelectItem::UnnamedExpr(expr) if name_of(expr).as_deref() == Some(&name) => {
                    Some(expr)
                }
                _ => None,
            });
            Ok(aliased.unwrap_or(expr))
        }
        Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
            Err(EngineError::refused("grouping sets"))
        }
        _ => Ok(expr),
    }
}

/// The name PostgreSQL gives a column of the list.
pub(super) fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        Expr::Function(function) => parts(&function.name).ok()?.pop(),
        Expr::Nested(inner) => name_of(inner),
        Expr::Collate { expr, .. } => name_of(expr),
        Expr::CompoundFieldAccess { root, .. } => name_of(root),
        Expr::Cast { expr, data_type, .. } => strong_name(expr).or_else(|| {
            let name = data_type.to_string().to_ascii_lowercase().replace('"', "");
            let name = name.rsplit('.').next()?.trim_end_matches("[]");
            Some(match name.split('(').next()? {
                "int" | "integer" => "int4".into(),
                "bigint" => "int8".into(),
                "smallint" => "int2".into(),
                "boolean" => "bool".into(),
                "double precision" | "float" => "float8".into(),
                "decimal" | "dec" => "numeric".into(),
                "character varying" => "varchar".into(),
                other => other.to_owned(),
            })
        }),
        Expr::Case { else_result, .. } => {
            let inner = else_result.as_deref().filter(|inner| !matches!(inner, Expr::Case { .. }));
            inner.and_then(column_name).or_else(|| Some("case".into()))
        }
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Subquery(query) => {
            let item = query.body.as_select()?.projection.first()?;
            match item {
                SelectItem::UnnamedExpr(expr) => name_of(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            }
        }
        Expr::Array(_) => Some("array".into()),
        Expr::Extract { .. } => Some("extract".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Position { .. } => Some("position".into()),
        Expr::Trim { trim_where, .. } => Some(super::expressions::trim_name(trim_where).into()),
        Expr::Ceil { .. } => Some("ceil".into()),
        Expr::Floor { .. } => Some("floor".into()),
        _ => None,
    }
}

/// The name of what is cast, where PostgreSQL prefers it to that of the type.
fn strong_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast { expr, .. } => strong_name(expr),
        Expr::Case { .. } => column_name(expr),
        _ => name_of(expr),
    }
}

/// The name of a CASE is that of its ELSE only when that is a column or a function.
fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast { expr, .. } => column_name(expr),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) => name_of(expr),
        _ => None,
    }
}
