-- Collation: `c` sorts by bytes, `d` is the database's, `n` is nondeterministic, `o` is another
-- one, `-` is none. `to_jsonb` reads columns that not every version has.
SELECT n.nspname::text, c.relname::text, a.attnum::text, a.attname::text, a.atttypid::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod), t.typtype::text,
       CASE WHEN a.attcollation = 0 THEN '-'
            WHEN NOT l.collisdeterministic THEN 'n'
            WHEN l.collprovider = 'd' THEN 'd'
            WHEN l.collprovider = 'b' THEN 'c'
            WHEN l.collprovider = 'c' AND l.collcollate IN ('C', 'POSIX') THEN 'c'
            ELSE 'o' END,
       CASE WHEN a.attnotnull THEN 't' ELSE 'f' END,
       a.attidentity::text, a.attgenerated::text,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
