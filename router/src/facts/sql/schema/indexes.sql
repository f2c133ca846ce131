-- What forbids two rows: unique indexes and exclusion constraints. Of the latter only columns
-- compared by `=` count. Columns are joined by the character 31; expressions are left out.
SELECT n.nspname::text, c.relname::text, x.relname::text,
       CASE WHEN i.indisprimary THEN 't' ELSE 'f' END,
       CASE WHEN i.indpred IS NULL THEN 'f' ELSE 't' END,
       pg_catalog.array_to_string(ARRAY(
           SELECT a.attname::text
             FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(n)
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n]
            WHERE e.conexclop IS NULL
               OR (SELECT o.oprname FROM pg_catalog.pg_operator o
                    WHERE o.oid = e.conexclop[k.n + 1]) = '='
            ORDER BY k.n), pg_catalog.chr(31)),
       i.indnkeyatts::text
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_constraint e ON e.conindid = i.indexrelid AND e.conexclop IS NOT NULL
 WHERE (i.indisunique OR i.indisexclusion)
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
