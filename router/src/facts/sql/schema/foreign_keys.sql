SELECT n.nspname::text, c.relname::text, k.conname::text,
       pg_catalog.array_to_string(ARRAY(
           SELECT a.attname::text
             FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
            ORDER BY u.n), pg_catalog.chr(31)),
       rn.nspname::text, rc.relname::text,
       pg_catalog.array_to_string(ARRAY(
           SELECT a.attname::text
             FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u(attnum, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
            ORDER BY u.n), pg_catalog.chr(31)),
       k.confupdtype::text || k.confdeltype::text
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class rc ON rc.oid = k.confrelid
  JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
 WHERE k.contype = 'f'
