//! Owns functions that return rows, in FROM and in the SELECT list: SQLite's `json_each` over what
//! they make.

use super::from::aliased;
use super::{Place, Translator, Typed, parts};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::functions::{ELEMENTS, SERIES};
use crate::engine::scope::{Col, Rel, Scope};
use crate::engine::types::Type;
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor};

/// Functions of PostgreSQL that clients read, which have no rows here, and their columns.
static EMPTY: &[(&str, &[&str])] = &[
    ("pg_get_keywords", &["word", "catcode", "barelabel", "catdesc", "baredesc"]),
    ("pg_options_to_table", &["option_name", "option_value"]),
    ("pg_get_publication_tables", &["relid", "attrs", "qual"]),
    ("pg_listening_channels", &["pg_listening_channels"]),
    ("pg_available_extensions", &["name", "default_version", "comment"]),
    ("aclexplode", &["grantor", "grantee", "privilege_type", "is_grantable"]),
    ("pg_partition_ancestors", &["relid"]),
    ("pg_partition_tree", &["relid", "parentrelid", "isleaf", "level"]),
];

impl Translator<'_> {
    /// The JSON array of a function's rows and their type; none when it is another function.
    pub(super) fn row_array(
        &mut self,
        name: &str,
        mut args: Vec<Typed>,
    ) -> Outcome<Option<(Typed, Type)>> {
        let one = || Typed::literal(&Cell::Int(1), Type::Int4);
        Ok(Some(match (name, args.len()) {
            ("generate_series", 2 | 3) => {
                if args.len() == 2 {
                    args.push(one());
                }
                let args = self.unified(args, "generate_series")?;
                let ty = args[0].ty;
                let array = self.call(SERIES, args).map_err(|error| {
                    let detail = "The console makes series of whole numbers.";
                    if error.sqlstate == "42883" { error.detail(detail) } else { error }
                })?;
                (array, ty)
            }
            ("unnest", 1) => {
                let element = args[0].ty.element().unwrap_or(Type::Text);
                let array = self.call(ELEMENTS, args)?;
                (array, element)
            }
            ("generate_subscripts", 2) => {
                let upper = self.call("array_upper", args)?;
                (self.call(SERIES, vec![one(), upper, one()])?, Type::Int4)
            }
            ("regexp_split_to_table" | "string_to_table", 2) => {
                let name = match name {
                    "string_to_table" => "string_to_array",
                    _ => "regexp_split_to_array",
                };
                let array = self.call(name, args)?;
                (self.call(ELEMENTS, vec![array])?, Type::Text)
            }
            _ if EMPTY.iter().any(|(known, _)| *known == name) => {
                (Typed::literal(&Cell::text("[]"), Type::Text), Type::Oid)
            }
            _ => return Ok(None),
        }))
    }

    /// One in FROM.
    pub(super) fn table_function(
        &mut self,
        factor: &TableFactor,
        scope: &Scope<'_>,
    ) -> Outcome<(String, Rel, Vec<(usize, String)>)> {
        let (names, args, alias, ordinality) = match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                (parts(name)?, exprs(&args.args)?, alias, *with_ordinality)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                (parts(name)?, exprs(args)?, alias, *with_ordinality)
            }
            TableFactor::UNNEST { array_exprs, alias, with_ordinality, .. } => {
                (vec!["unnest".into()], array_exprs.iter().collect(), alias, *with_ordinality)
            }
            _ => return Err(EngineError::refused("this form of FROM")),
        };
        let name = names.last().cloned().unwrap_or_default();
        let place = Place::plain(scope, "FROM");
        let args: Outcome<Vec<_>> =
            args.into_iter().map(|arg| self.expression(arg, place)).collect();
        let args = args?;
        let free: Vec<_> = args.iter().flat_map(|arg| arg.free.iter().cloned()).collect();
        let free = free.into_iter().filter(|(level, _)| *level < scope.level).collect();
        let sql_name = self.name('r');
        if let Some((_, columns)) = EMPTY.iter().find(|(known, _)| *known == name) {
            let col = |column: &&str| Col {
                name: (*column).to_owned(),
                ty: Type::Text,
                sql: format!("{sql_name}.value"),
            };
            let rel = Rel { alias: name, columns: columns.iter().map(col).collect(), oid: None };
            let sql = format!("json_each('[]') AS {sql_name}");
            return Ok((sql, aliased(rel, alias.as_ref())?, free));
        }
        let types: Vec<_> = args.iter().map(|arg| arg.ty).collect();
        let (array, ty) = match self.row_array(&name, args.clone())? {
            Some(found) => found,
            None => self.one_row(&name, args, &types)?,
        };
        let mut columns = vec![Col { name: name.clone(), ty, sql: format!("{sql_name}.value") }];
        if let Some(alias) = alias {
            columns[0].name = super::folded(&alias.name);
        }
        if ordinality {
            let sql = format!("({sql_name}.key + 1)");
            columns.push(Col { name: "ordinality".into(), ty: Type::Int8, sql });
        }
        let rel = Rel { alias: name, columns, oid: None };
        let sql = format!("json_each({}) AS {sql_name}", array.sql);
        Ok((sql, aliased(rel, alias.as_ref())?, free))
    }

    /// A function that returns one value is one row in FROM.
    fn one_row(&mut self, name: &str, args: Vec<Typed>, types: &[Type]) -> Outcome<(Typed, Type)> {
        if super::calls::is_special(name) {
            return Err(EngineError::refused(format!("{name}() in FROM")));
        }
        let _ = super::functions::choose(name, types)?;
        let value = self.call(name, args)?;
        let sql = format!("json_array({})", value.sql);
        Ok((Typed::of(sql, Type::Text, &[&value]), value.ty))
    }
}

/// The arguments, none of which has a name.
fn exprs(args: &[FunctionArg]) -> Outcome<Vec<&Expr>> {
    let one = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Ok(expr),
        _ => Err(EngineError::refused("this form of an argument")),
    };
    args.iter().map(one).collect()
}
