SELECT n.nspname::text, t.typname::text,
       'type whose function ' || p.proname || ' is volatile', NULL::text
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_proc p
    ON p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin)
 WHERE p.provolatile = 'v'
UNION ALL
SELECT n.nspname::text, t.typname::text, NULL, pg_catalog.pg_get_expr(c.conbin, 0)
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_type t ON t.oid = c.contypid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE c.contype = 'c'
