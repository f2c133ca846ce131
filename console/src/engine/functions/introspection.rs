//! Owns the functions by which clients read the catalogs. What the console does not have (indexes,
//! constraints, sizes on disk…) is NULL.

use super::{Call, Function, strict};
use crate::catalog;
use crate::engine::cell::Cell;
use crate::engine::error::Outcome;
use crate::engine::types::Type::{Bool, Int4, Int8, Oid, Text, Texts, Unknown};

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("pg_table_is_visible", &[Oid], Bool, |call| {
        let relation = call.session.relations.of_oid(call.int(0));
        Ok(Cell::Int(relation.is_some_and(|one| one.schema != "information_schema").into()))
    }),
    strict("pg_type_is_visible", &[Oid], Bool, yes),
    strict("pg_function_is_visible", &[Oid], Bool, yes),
    strict("pg_operator_is_visible", &[Oid], Bool, yes),
    strict("pg_collation_is_visible", &[Oid], Bool, yes),
    strict("pg_conversion_is_visible", &[Oid], Bool, yes),
    strict("pg_opclass_is_visible", &[Oid], Bool, yes),
    strict("pg_opfamily_is_visible", &[Oid], Bool, yes),
    strict("pg_statistics_obj_is_visible", &[Oid], Bool, yes),
    strict("pg_ts_config_is_visible", &[Oid], Bool, yes),
    strict("pg_ts_dict_is_visible", &[Oid], Bool, yes),
    strict("pg_ts_parser_is_visible", &[Oid], Bool, yes),
    strict("pg_ts_template_is_visible", &[Oid], Bool, yes),
    strict("pg_get_userbyid", &[Oid], Text, |call| {
        let oid = call.int(0);
        let is_owner = oid == catalog::OWNER_OID;
        let unknown = || format!("unknown (OID={oid})");
        Ok(Cell::Text(if is_owner { catalog::OWNER.into() } else { unknown() }))
    }),
    strict("pg_encoding_to_char", &[Int4], Text, |call| {
        Ok(Cell::text(match call.int(0) {
            0 => "SQL_ASCII",
            6 => "UTF8",
            8 => "LATIN1",
            _ => "",
        }))
    }),
    strict("pg_char_to_encoding", &[Text], Int4, |call| {
        Ok(Cell::Int(match call.str(0).to_ascii_uppercase().as_str() {
            "SQL_ASCII" => 0,
            "UTF8" | "UTF-8" => 6,
            "LATIN1" => 8,
            _ => -1,
        }))
    }),
    strict("format_type", &[Oid, Int4], Text, |call| match (call.arg(0), call.arg(1)) {
        (Cell::Null, _) => Ok(Cell::Null),
        (oid, Cell::Null) => Ok(Cell::Text(catalog::format_type(oid.int(), None))),
        (oid, typmod) => Ok(Cell::Text(catalog::format_type(oid.int(), Some(typmod.int())))),
    })
    .loose(),
    strict("obj_description", &[Oid], Text, |call| help(call, 0)),
    strict("obj_description", &[Oid, Text], Text, |call| match call.str(1) {
        "pg_class" => help(call, 0),
        _ => Ok(Cell::Null),
    }),
    strict("col_description", &[Oid, Int4], Text, |call| help(call, call.int(1))),
    strict("shobj_description", &[Oid, Text], Text, nothing),
    strict("to_regclass", &[Text], super::Type::Reg(super::super::types::Reg::Class), |call| {
        let reg = super::super::types::Reg::Class;
        Ok(call.session.relations.oid_of(reg, call.str(0)).map_or(Cell::Null, Cell::Int))
    }),
    strict("to_regtype", &[Text], super::Type::Reg(super::super::types::Reg::Type), |call| {
        let reg = super::super::types::Reg::Type;
        Ok(call.session.relations.oid_of(reg, call.str(0)).map_or(Cell::Null, Cell::Int))
    }),
    strict("pg_get_expr", &[Text, Oid], Text, nothing),
    strict("pg_get_expr", &[Text, Oid, Bool], Text, nothing),
    strict("pg_get_viewdef", &[Unknown], Text, nothing),
    strict("pg_get_viewdef", &[Unknown, Unknown], Text, nothing),
    strict("pg_get_indexdef", &[Oid], Text, nothing),
    strict("pg_get_indexdef", &[Oid, Int4, Bool], Text, nothing),
    strict("pg_get_constraintdef", &[Oid], Text, nothing),
    strict("pg_get_constraintdef", &[Oid, Bool], Text, nothing),
    strict("pg_get_triggerdef", &[Oid], Text, nothing),
    strict("pg_get_triggerdef", &[Oid, Bool], Text, nothing),
    strict("pg_get_ruledef", &[Oid], Text, nothing),
    strict("pg_get_ruledef", &[Oid, Bool], Text, nothing),
    strict("pg_get_functiondef", &[Oid], Text, nothing),
    strict("pg_get_function_sqlbody", &[Oid], Text, nothing),
    strict("pg_get_function_arguments", &[Oid], Text, |_| Ok(Cell::text(""))),
    strict("pg_get_function_identity_arguments", &[Oid], Text, |_| Ok(Cell::text(""))),
    strict("pg_get_function_result", &[Oid], Text, |_| Ok(Cell::text("text"))),
    strict("pg_get_partkeydef", &[Oid], Text, nothing),
    strict("pg_get_serial_sequence", &[Text, Text], Text, nothing),
    strict("pg_get_statisticsobjdef", &[Oid], Text, nothing),
    strict("pg_get_statisticsobjdef_columns", &[Oid], Text, nothing),
    strict("pg_relation_is_publishable", &[Oid], Bool, no),
    strict("pg_relation_is_updatable", &[Oid, Bool], Int4, |_| Ok(Cell::Int(0))),
    strict("pg_indexam_has_property", &[Oid, Text], Bool, no),
    strict("pg_index_has_property", &[Oid, Text], Bool, no),
    strict("pg_index_column_has_property", &[Oid, Int4, Text], Bool, no),
    strict("pg_relation_size", &[Oid], Int8, nothing),
    strict("pg_relation_size", &[Oid, Text], Int8, nothing),
    strict("pg_table_size", &[Oid], Int8, nothing),
    strict("pg_indexes_size", &[Oid], Int8, nothing),
    strict("pg_total_relation_size", &[Oid], Int8, nothing),
    strict("pg_database_size", &[Unknown], Int8, nothing),
    strict("pg_tablespace_size", &[Unknown], Int8, nothing),
    strict("pg_tablespace_location", &[Oid], Text, |_| Ok(Cell::text(""))),
    strict("pg_relation_filenode", &[Oid], Oid, nothing),
    strict("pg_filenode_relation", &[Oid, Oid], Oid, nothing),
    strict("pg_partition_root", &[Oid], Oid, nothing),
    strict("pg_describe_object", &[Oid, Oid, Int4], Text, nothing),
    strict("pg_age", &[Oid], Int4, nothing),
    strict("age", &[Oid], Int4, nothing),
    strict("acldefault", &[Text, Oid], Texts, nothing),
    strict("pg_stat_get_numscans", &[Oid], Int8, nothing),
    strict("pg_options_to_table", &[Texts], Text, nothing),
];

fn yes(_: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(1))
}

fn no(_: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(0))
}

fn nothing(_: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Null)
}

/// What is said of a table, or of one of its columns from 1.
fn help(call: &Call<'_>, column: i64) -> Outcome<Cell> {
    let relation = call.session.relations.of_oid(call.int(0));
    let help = relation.and_then(|relation| match usize::try_from(column).ok()? {
        0 => Some(relation.table?.help),
        number => Some(relation.columns.get(number - 1)?.help).filter(|help| !help.is_empty()),
    });
    Ok(help.map_or(Cell::Null, Cell::text))
}
