-- Vectors for the hash of shard keys: types, values as text, hash. hashes.txt is what
--   psql -XAqt -F "$(printf '\t')" -f golden/hashes.sql
-- prints on PostgreSQL 15 and 18 in a database with the encoding UTF8; the two agree.
set timezone = 'UTC';
set datestyle = 'ISO, YMD';
set bytea_output = 'hex';

select 'smallint', v, hashint8extended(v::int8, 0)
  from unnest('{0,1,-1,2,42,-42,255,256,12345,32767,-32768}'::int2[]) v;
select 'integer', v, hashint8extended(v::int8, 0)
  from unnest('{0,1,-1,2,42,-42,65535,65536,-65536,1000000,2147483647,-2147483648}'::int4[]) v;
select 'bigint', v, hashint8extended(v, 0)
  from unnest('{0,1,-1,2,42,-42,4294967295,4294967296,4294967297,-4294967296,-4294967297,
                1234567890123456789,-1234567890123456789,
                9223372036854775807,-9223372036854775808}'::int8[]) v;

select 'text', v, hashtextextended(v, 0)
  from (select left('abcdefghijklmnopqrstuvwxyz0123456789', n) from generate_series(0, 36) n
        union all
        select * from unnest(array['A', ' ', '  a', 'a ', 'é', 'ä€𝄞', '日本語のキー', 'naïve', 'e' || U&'\0301',
                                   'x''y', '"', '{}', 'customer-00000000000000000001'])
        union all select repeat('0123456789', n) from unnest('{5,10,25}'::int[]) n) t(v);
select 'varchar', v, hashtextextended(v, 0)
  from unnest(array['', 'abc', 'Grüße', 'a b']::varchar[]) v;

select 'uuid', v, uuid_hash_extended(v, 0)
  from (select md5(n::text)::uuid from generate_series(1, 12) n
        union all select '00000000-0000-0000-0000-000000000000'
        union all select 'ffffffff-ffff-ffff-ffff-ffffffffffff') t(v);

select 'bytea', v, hash_record_extended(row(v), 0)
  from (select substr('\x00ff0102030405060708090a0b0c0d0e0f1011fefdfcfbfa80818283'::bytea, 1, n)
          from generate_series(0, 28) n
        union all select '\x5c'::bytea) t(v);

select 'date', v, hash_record_extended(row(v), 0)
  from unnest('{2000-01-01,1999-12-31,2000-01-02,1970-01-01,2026-11-22,0001-01-01,9999-12-31,
                2024-02-29,1900-02-28,infinity,-infinity}'::date[]) v;

select 'timestamptz', v, hash_record_extended(row(v), 0)
  from unnest(array['2000-01-01 00:00:00+00', '1999-12-31 23:59:59.999999+00',
                    '2026-11-22 15:04:05.123456+01:30', '2026-11-22 15:04:05.1-05',
                    '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00',
                    '1970-01-01 00:00:00+00', 'infinity', '-infinity']::timestamptz[]) v;

select 'bigint,text', a, b, hash_record_extended(row(a, b), 0)
  from unnest('{0,1,-1,77,9223372036854775807}'::int8[]) a, unnest('{"",a,tenant-7,Ä}'::text[]) b;
select 'text,bigint', b, a, hash_record_extended(row(b, a), 0)
  from unnest('{0,1,-1}'::int8[]) a, unnest('{a,tenant-7}'::text[]) b;
select 'smallint,integer,bigint', a, b, c, hash_record_extended(row(a, b, c), 0)
  from unnest('{1,-2}'::int2[]) a, unnest('{3,-4}'::int4[]) b, unnest('{5,-6}'::int8[]) c;
select 'uuid,date,timestamptz,bytea,varchar', u, d, t, b, v,
       hash_record_extended(row(u, d, t, b, v), 0)
  from (values (md5('1')::uuid, '2026-11-22'::date, '2026-11-22 10:00:00+00'::timestamptz,
                '\x0102'::bytea, 'x'::varchar),
               (md5('2')::uuid, 'infinity', '-infinity', '', '')) t(u, d, t, b, v);
