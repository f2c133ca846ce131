-- Whether the database's own collation sorts by bytes, and the server's encoding. `to_jsonb`
-- reads columns that not every version has.
SELECT CASE WHEN COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'b' THEN 'c'
            WHEN COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
             AND d.datcollate IN ('C', 'POSIX') THEN 'c'
            ELSE 'o' END,
       pg_catalog.pg_encoding_to_char(d.encoding)::text
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()
