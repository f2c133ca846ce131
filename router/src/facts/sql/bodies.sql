-- What PostgreSQL itself brings is known. A body in standard SQL has no source text of its own.
SELECT n.nspname::text,
       p.proname::text,
       l.lanname::text,
       CASE WHEN p.prosrc = '' AND p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid)
            ELSE pg_catalog.left(p.prosrc, 65537) END
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')
