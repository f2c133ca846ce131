-- An aggregate is always called immutable; what it does is in its support functions.
SELECT n.nspname::text,
       p.proname::text,
       (p.pronargs - p.pronargdefaults)::text,
       CASE WHEN p.provariadic = 0 THEN p.pronargs::text END,
       CASE WHEN EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_aggregate a
                  JOIN pg_catalog.pg_proc f
                    ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                                 a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
                 WHERE p.prokind = 'a' AND a.aggfnoid = p.oid AND f.provolatile = 'v')
            THEN 'v' ELSE p.provolatile::text END,
       CASE WHEN p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
             AND EXISTS (
                SELECT 1 FROM pg_catalog.pg_type t
                 WHERE t.oid = p.proargtypes[0] AND t.typtype IN ('c', 'p', 'd'))
            THEN 't' ELSE 'f' END,
       CASE WHEN p.pronargdefaults > 0 THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
