//! Owns window functions and the windows of a SELECT.

use super::aggregates::{self, Aggregate, is_aggregate};
use super::calls::Arguments;
use super::{Place, Translator, Typed, folded};
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type;
use sqlparser::ast::{
    Expr, Function, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

/// Whether a name is a window function's.
pub(super) fn is_window(name: &str) -> bool {
    matches!(
        name,
        "row_number"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
            | "ntile"
            | "lag"
            | "lead"
            | "first_value"
            | "last_value"
            | "nth_value"
    )
}

impl Translator<'_> {
    /// A call over a window.
    pub(super) fn window(
        &mut self,
        name: &str,
        function: &Function,
        arguments: &Arguments<'_>,
        place: Place<'_>,
    ) -> Outcome<Typed> {
        if let Some(clause) = place.no_windows {
            let message = format!("window functions are not allowed in {clause}");
            return Err(EngineError::new("42P20", message));
        }
        let spec = match &function.over {
            Some(WindowType::WindowSpec(spec)) => spec,
            Some(WindowType::NamedWindow(name)) => {
                let message = format!("window \"{}\" does not exist", folded(name));
                return Err(EngineError::new("42704", message));
            }
            None => {
                let message = format!("window function {name} requires an OVER clause");
                return Err(EngineError::new("42809", message));
            }
        };
        let inner = Place { no_windows: Some("a window"), series: None, ..place };
        if arguments.is_distinct || !arguments.order.is_empty() {
            return Err(EngineError::refused("DISTINCT or ORDER BY in a window function"));
        }
        let call = if is_aggregate(name) {
            self.aggregate_of(name, arguments, inner)?
        } else {
            self.window_of(name, arguments, inner)?
        };
        if !call.in_windows {
            return Err(EngineError::refused(format!("{name}() of this type over a window")));
        }
        let filter = match function.filter.as_deref() {
            Some(_) if !is_aggregate(name) => {
                return Err(EngineError::refused("FILTER with a window function"));
            }
            Some(filter) => {
                let filter = self.expression(filter, inner)?;
                Some(self.condition(filter, "FILTER")?)
            }
            None => None,
        };
        let (over, mut parts) = self.over_window(spec, inner)?;
        let text = aggregates::text(&call, arguments, "", filter.as_ref());
        parts.extend(filter);
        parts.extend(call.args);
        let mut value =
            Typed::of(format!("{text} OVER ({over})"), call.ty, &parts.iter().collect::<Vec<_>>());
        value.has_window = true;
        Ok(value)
    }

    fn window_of(
        &mut self,
        name: &str,
        arguments: &Arguments<'_>,
        place: Place<'_>,
    ) -> Outcome<Aggregate> {
        let mut args = Vec::new();
        for arg in &arguments.exprs {
            args.push(self.expression(arg, place)?);
        }
        let wrong = || EngineError::new("42883", format!("function {name} has other arguments"));
        let (name, ty, count) = match name {
            "row_number" => ("row_number", Type::Int8, 0..=0),
            "rank" => ("rank", Type::Int8, 0..=0),
            "dense_rank" => ("dense_rank", Type::Int8, 0..=0),
            "percent_rank" => ("percent_rank", Type::Float8, 0..=0),
            "cume_dist" => ("cume_dist", Type::Float8, 0..=0),
            "ntile" => ("ntile", Type::Int4, 1..=1),
            "lag" => ("lag", Type::Unknown, 1..=3),
            "lead" => ("lead", Type::Unknown, 1..=3),
            "first_value" => ("first_value", Type::Unknown, 1..=1),
            "last_value" => ("last_value", Type::Unknown, 1..=1),
            _ => ("nth_value", Type::Unknown, 2..=2),
        };
        if !count.contains(&args.len()) || arguments.is_star {
            return Err(wrong());
        }
        if name == "ntile" {
            args[0] = self.coerce(args[0].clone(), Type::Int4)?;
        }
        if args.len() > 1 {
            args[1] = self.coerce(args[1].clone(), Type::Int4)?;
        }
        let ty = match (ty, args.first()) {
            (Type::Unknown, Some(value)) => {
                let both = if args.len() == 3 {
                    vec![value.clone(), args[2].clone()]
                } else {
                    vec![value.clone()]
                };
                let both = self.unified(both, name)?;
                for (at, value) in [0, 2].into_iter().zip(both) {
                    args[at] = value;
                }
                args[0].ty
            }
            (ty, _) => ty,
        };
        Ok(Aggregate { name, ty, args, in_windows: true })
    }

    fn over_window(
        &mut self,
        spec: &WindowSpec,
        place: Place<'_>,
    ) -> Outcome<(String, Vec<Typed>)> {
        if spec.window_name.is_some() {
            return Err(EngineError::refused("a window made from another"));
        }
        let mut parts = Vec::new();
        let mut keys = Vec::new();
        for expr in &spec.partition_by {
            let value = self.expression(expr, place)?;
            keys.push(value.key());
            parts.push(value);
        }
        let mut sql = match keys.is_empty() {
            true => String::new(),
            false => format!("PARTITION BY {}", keys.join(", ")),
        };
        let (order, values) = self.inner_order(&spec.order_by, place)?;
        parts.extend(values);
        if !order.is_empty() {
            sql.push_str(&format!(" {order}"));
        }
        if let Some(frame) = &spec.window_frame {
            sql.push_str(&framed(frame)?);
        }
        Ok((sql, parts))
    }
}

fn framed(frame: &WindowFrame) -> Outcome<String> {
    let units = match frame.units {
        WindowFrameUnits::Rows => "ROWS",
        WindowFrameUnits::Range => "RANGE",
        WindowFrameUnits::Groups => "GROUPS",
    };
    let bound = |bound: &WindowFrameBound| -> Outcome<String> {
        let (count, way) = match bound {
            WindowFrameBound::CurrentRow => return Ok("CURRENT ROW".into()),
            WindowFrameBound::Preceding(count) => (count, "PRECEDING"),
            WindowFrameBound::Following(count) => (count, "FOLLOWING"),
        };
        let Some(count) = count else { return Ok(format!("UNBOUNDED {way}")) };
        let number = match count.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.parse::<u32>().ok(),
                _ => None,
            },
            _ => None,
        };
        match number {
            Some(number) if units != "RANGE" => Ok(format!("{number} {way}")),
            _ => Err(EngineError::refused("this bound of a window's frame")),
        }
    };
    let start = bound(&frame.start_bound)?;
    Ok(match &frame.end_bound {
        Some(end) => format!(" {units} BETWEEN {start} AND {}", bound(end)?),
        None => format!(" {units} {start}"),
    })
}
