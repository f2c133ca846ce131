-- Casts apply without being named, and sorting or grouping calls an operator class's functions.
SELECT 'a cast from ' || pg_catalog.format_type(c.castsource, NULL) || ' calls volatile function '
       || p.proname
  FROM pg_catalog.pg_cast c
  JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
 WHERE p.provolatile = 'v'
UNION ALL
SELECT 'an operator class calls volatile function ' || p.proname
  FROM pg_catalog.pg_amproc a
  JOIN pg_catalog.pg_proc p ON p.oid = a.amproc
 WHERE p.provolatile = 'v'
