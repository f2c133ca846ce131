-- Not on replicas, or different there: unlogged and temporary relations, foreign tables (their
-- files and servers are the primary's), sequences (WAL runs ahead of them), and parents of such.
-- Reading a column of a type whose output function is volatile calls that function.
WITH RECURSIVE volatile_type(oid) AS (
    SELECT t.oid
      FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_proc p ON p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend)
     WHERE p.provolatile = 'v'
    UNION
    SELECT t.oid
      FROM pg_catalog.pg_type t
      JOIN volatile_type v ON v.oid IN (t.typelem, t.typbasetype)
), bad(oid, reason) AS (
    SELECT c.oid,
           CASE WHEN c.relkind = 'S' THEN 'sequence'
                WHEN c.relkind = 'f' THEN 'foreign table'
                WHEN c.relpersistence = 'u' THEN 'unlogged table'
                WHEN c.relpersistence = 't' THEN 'temporary relation'
                ELSE 'relation with a column of a volatile type' END
      FROM pg_catalog.pg_class c
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
       AND (c.relpersistence <> 'p' OR c.relkind IN ('S', 'f')
            OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                          AND a.atttypid IN (SELECT v.oid FROM volatile_type v)))
    UNION
    SELECT i.inhparent, b.reason
      FROM pg_catalog.pg_inherits i
      JOIN bad b ON b.oid = i.inhrelid
)
SELECT n.nspname::text, c.relname::text, pg_catalog.min(b.reason)
  FROM bad b
  JOIN pg_catalog.pg_class c ON c.oid = b.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 GROUP BY n.nspname, c.relname
