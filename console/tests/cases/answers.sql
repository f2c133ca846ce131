-- Statements over the fixture's tables, with PostgreSQL 15's answers: `cargo test -p
-- pgmanifold-console --test engine renew -- --ignored` writes them.

select 1;
: ?column? int4
1

select 1, 'a', null, true, 1.50, 10000000000, -2147483648, 1e3;
: ?column? int4, ?column? text, ?column? text, ?column? bool, ?column? numeric, ?column? int8, ?column? int4, ?column? numeric
1|a|NULL|t|1.50|10000000000|-2147483648|1000

select 'a''b' as q, E'a\nb' is null, E'tab\\x', 'C:\new', $$dollar 'x'$$;
: q text, ?column? bool, ?column? text, ?column? text, ?column? text
a'b|f|tab\x|C:\new|dollar 'x'

select * from clients order by id;
: type text, user text, database text, state text, addr text, port int4, connect_time text, wait_us int8, total numeric, mean float8, tls bool, id int4
C|ann|app|active|10.0.0.1|5432|2026-11-22 17:13:41 UTC|1500|12.50|0.1|t|1
C|bob|app|waiting|10.0.0.2|5433|2026-11-22 17:14:00 UTC|250000|3|2.5|f|2
C|ann|shop|idle|10.0.0.3|NULL|2026-11-21 09:00:00 UTC|NULL|0.125|1e-07|t|3
C|Zoe|shop|active|unix|6432|2026-11-22 18:00:01 UTC|7|-4.75|1.2345678901234568e+17|NULL|4
S|NULL|app|active|10.0.1.1|5432|2026-01-01 00:00:00 UTC|0|100|-1.5|f|5
S|éva|NULL|%a_b|10.0.1.2|5434|NULL|9000000000|12.5|NULL|t|6

select c.* from clients c where c.id = 1;
: type text, user text, database text, state text, addr text, port int4, connect_time text, wait_us int8, total numeric, mean float8, tls bool, id int4
C|ann|app|active|10.0.0.1|5432|2026-11-22 17:13:41 UTC|1500|12.50|0.1|t|1

select id, port from clients order by port, id;
: id int4, port int4
1|5432
5|5432
2|5433
6|5434
4|6432
3|NULL

select id, port from clients order by port desc, id;
: id int4, port int4
3|NULL
4|6432
6|5434
2|5433
1|5432
5|5432

select id, port from clients order by port nulls first, id;
: id int4, port int4
3|NULL
1|5432
5|5432
2|5433
6|5434
4|6432

select id, port from clients order by port desc nulls last, id desc;
: id int4, port int4
4|6432
6|5434
2|5433
5|5432
1|5432
3|NULL

select id from clients order by total;
: id int4
4
3
2
1
6
5

select id, total from clients order by total desc;
: id int4, total numeric
5|100
1|12.50
6|12.5
2|3
3|0.125
4|-4.75

select id from clients order by mean;
: id int4
5
3
1
2
4
6

select "user" from clients order by 1;
: user text
Zoe
ann
ann
bob
éva
NULL

select "user", database from clients order by database, "user" desc;
: user text, database text
NULL|app
bob|app
ann|app
ann|shop
Zoe|shop
éva|NULL

select distinct database from clients order by database;
: database text
app
shop
NULL

select distinct total from clients where id in (1, 6);
: total numeric
12.50

select count(*) from clients;
: count int8
6

select count(*), count(port), count(distinct database) from clients;
: count int8, count int8, count int8
6|5|2

select count(distinct total) from clients;
: count int8
5

select database, count(*) from clients group by database order by 1;
: database text, count int8
app|3
shop|2
NULL|1

select database, count(*) as n from clients group by database having count(*) > 1 order by n desc, database;
: database text, n int8
app|3
shop|2

select database, state, count(*) from clients group by 1, 2 order by 1, 2;
: database text, state text, count int8
app|active|2
app|waiting|1
shop|active|1
shop|idle|1
NULL|%a_b|1

select upper(database) as d, count(*) from clients group by d order by d;
: d text, count int8
APP|3
SHOP|2
NULL|1

select upper(database), count(*) from clients group by upper(database) order by upper(database);
: upper text, count int8
APP|3
SHOP|2
NULL|1

select total, count(*) from clients group by total order by total;
: total numeric, count int8
-4.75|1
0.125|1
3|1
12.50|2
100|1

select sum(port), sum(wait_us), sum(total), sum(mean) from clients;
: sum int8, sum numeric, sum numeric, sum float8
28163|9000251507|123.375|1.2345678901234568e+17

select avg(port), avg(wait_us), avg(total) from clients;
: avg numeric, avg numeric, avg numeric
5632.6000000000000000|1800050301.40000000|20.5625000000000000

select avg(mean) from clients where mean < 10;
: avg float8
0.275000025

select min(port), max(port), min(total), max(total), min("user"), max("user"), min(mean) from clients;
: min int4, max int4, min numeric, max numeric, min text, max text, min float8
5432|6432|-4.75|100|Zoe|éva|-1.5

select bool_and(tls), bool_or(tls), every(tls) from clients;
: bool_and bool, bool_or bool, every bool
f|t|f

select bool_and(tls), sum(port), avg(port), min(port), count(*) from clients where false;
: bool_and bool, sum int8, avg numeric, min int4, count int8
NULL|NULL|NULL|NULL|0

select string_agg("user", ',' order by "user") from clients;
: string_agg text
Zoe,ann,ann,bob,éva

select string_agg("user", ',' order by id desc) filter (where id > 2) from clients;
: string_agg text
éva,Zoe,ann

select array_agg(id order by id desc), array_agg(state order by id) from clients;
: array_agg text, array_agg text
{6,5,4,3,2,1}|{active,waiting,idle,active,active,%a_b}

select array_agg("user" order by id) from clients;
: array_agg text
{ann,bob,ann,Zoe,NULL,éva}

select count(*) filter (where tls), count(*) filter (where not tls) from clients;
: count int8, count int8
3|2

select sum(wait_us) filter (where database = 'app') from clients;
: sum numeric
251500

select sum(distinct port) from clients;
: sum int8
22731

select max(count(*)) from clients group by database;
! 42803

select database from clients group by state;
! 42803

select database, port from clients group by database;
! 42803

select count(*) from clients where count(*) > 1;
! 42803

select id from clients where sum(id) > 1;
! 42803

select 7 / 2, -7 / 2, 7 % 3, -7 % 3, 7.0 / 2, 7 / 2.0, 1 / 3.0;
: ?column? int4, ?column? int4, ?column? int4, ?column? int4, ?column? numeric, ?column? numeric, ?column? numeric
3|-3|1|-1|3.5000000000000000|3.5000000000000000|0.33333333333333333333

select 1 / 0;
! 22012

select 1 % 0;
! 22012

select 1.0 / 0;
! 22012

select mean / 0 from clients;
! 22012

select 2147483647 + 1;
! 22003

select 2147483647 + 1::int8;
: ?column? int8
2147483648

select 9223372036854775807 + 1;
! 22003

select -9223372036854775808;
: ?column? int8
-9223372036854775808

select 100000 * 100000;
! 22003

select 100000::int8 * 100000;
: ?column? int8
10000000000

select 1.5 + 2, 1.5 * 1.5, 1.50 - 0.5, 10 / 4.0, 2.0 ^ 3::float8, 5.5 % 2;
: ?column? numeric, ?column? numeric, ?column? numeric, ?column? numeric, ?column? float8, ?column? numeric
3.5|2.25|1.00|2.5000000000000000|8|1.5

select 2 ^ 10;
: ?column? float8
1024

select -port, +port, abs(-port), abs(-1.5), abs(-1.5::float8) from clients where id = 1;
: ?column? int4, ?column? int4, abs int4, abs numeric, abs float8
-5432|5432|5432|1.5|1.5

select round(2.5), round(-2.5), round(2.567, 2), round(1234.5, -2), round(2.5::float8), round(3.5::float8);
: round numeric, round numeric, round numeric, round numeric, round float8, round float8
3|-3|2.57|1200|2|4

select floor(2.7), floor(-2.7), ceil(2.1), ceiling(-2.1), trunc(2.7), trunc(-2.789, 1), sign(-2), sign(0.0);
: floor numeric, floor numeric, ceil numeric, ceiling numeric, trunc numeric, trunc numeric, sign float8, sign numeric
2|-3|3|-2|2|-2.7|-1|0

select floor(2.7::float8), ceil(2.1::float8), trunc(-2.7::float8), sqrt(16), power(2, 3), exp(0), ln(1), log(100);
: floor float8, ceil float8, trunc float8, sqrt float8, power float8, exp float8, ln float8, log float8
2|3|-2|4|8|1|0|2

select mod(7, 3), div(7, 2), mod(7.5, 2);
: mod int4, div numeric, mod numeric
1|3|1.5

select 1 & 3, 1 | 2, 5 # 1, 6 & 3::int8;
: ?column? int4, ?column? int4, ?column? int4, ?column? int8
1|3|4|2

select avg(total) * 2, round(avg(total), 2), avg(total)::int from clients;
: ?column? numeric, round numeric, avg int4
41.1250000000000000|20.56|21

select sum(total) / count(*), sum(port) / count(port) from clients;
: ?column? numeric, ?column? int8
20.5625000000000000|5632

select 1.0 = 1.00, 1 = 1.0, 1 = 1.0::float8, 2 > 1.5, '2' > 1, 10 > '9';
: ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool
t|t|t|t|t|t

select total = 12.5, total > 3, total in (3, 100) from clients order by id;
: ?column? bool, ?column? bool, ?column? bool
t|t|f
f|f|t
f|f|f
f|f|f
f|t|t
t|t|f

select id from clients where total between 3 and 12.5 order by id;
: id int4
1
2
6

select id from clients where total not between 3 and 12.5 order by id;
: id int4
3
4
5

select greatest(1, 2, null), least(3, 2), greatest(1.5, 2), greatest('a', 'b'), least(null, null);
: greatest int4, least int4, greatest numeric, greatest text, least text
2|2|2|b|NULL

select greatest(total, 10), least(port, 5432) from clients order by id;
: greatest numeric, least int4
12.50|5432
10|5432
10|5432
10|5432
100|5432
12.5|5432

select coalesce(port, 0), coalesce("user", 'none'), coalesce(null, 'x') from clients order by id;
: coalesce int4, coalesce text, coalesce text
5432|ann|x
5433|bob|x
0|ann|x
6432|Zoe|x
5432|none|x
5434|éva|x

select coalesce(port, 1.5) from clients order by id;
: coalesce numeric
5432
5433
1.5
6432
5432
5434

select nullif(port, 5432), nullif(database, 'app'), nullif(1.0, 1.00) from clients order by id;
: nullif int4, nullif text, nullif numeric
NULL|NULL|NULL
5433|NULL|NULL
NULL|shop|NULL
6432|shop|NULL
NULL|NULL|NULL
5434|NULL|NULL

select case when port is null then 'none' when port = 5432 then 'std' else port::text end from clients order by id;
: port text
std
5433
none
6432
std
5434

select case state when 'active' then 1 when 'idle' then 2.5 end from clients order by id;
: case numeric
1
NULL
2.5
1
1
NULL

select case when true then 1 else 2.5 end, case when false then 1 end;
: case numeric, case int4
1|NULL

select id from clients where state = 'active' and database = 'app' order by id;
: id int4
1
5

select id from clients where not tls order by id;
: id int4
2
5

select id from clients where tls is not true order by id;
: id int4
2
4
5

select id from clients where tls is null or tls order by id;
: id int4
1
3
4
6

select tls is true, tls is false, tls is unknown, tls = true, tls <> false from clients order by id;
: ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool
t|f|f|t|t
f|t|f|f|f
t|f|f|t|t
f|f|t|NULL|NULL
f|t|f|f|f
t|f|f|t|t

select id from clients where port is distinct from 5432 order by id;
: id int4
2
3
4
6

select port is not distinct from null from clients order by id;
: ?column? bool
f
f
t
f
f
f

select id from clients where "user" like 'a%' order by id;
: id int4
1
3

select id from clients where "user" like 'A%';
: id int4

select id from clients where "user" ilike 'Z%';
: id int4
4

select id from clients where "user" ilike 'É%';
: id int4

select id from clients where state like '\%a\_b';
: id int4
6

select id from clients where state like '#%a#_%' escape '#';
: id int4
6

select id from clients where state like '%a_b';
: id int4
6

select id from clients where state not like '%e%' order by id;
: id int4
2
6

select 'abc' like '_b_', 'abc' like '%', '' like '%', 'a%c' like 'a\%c', 'abc' like 'a', 'a' like '';
: ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool
t|t|t|t|f|f

select id from clients where "user" ~ '^[ab]' order by id;
: id int4
1
2
3

select id from clients where "user" !~ 'n' order by id;
: id int4
2
4
6

select id from clients where "user" ~* '^z' order by id;
: id int4
4

select 'foo.bar' ~ 'o\.b', 'ab12' ~ '\d+$', 'x' ~ '[[:alpha:]]', 'x]' ~ '[]]', 'a|b' ~ 'a\|b', 'abc' ~ 'b|z';
: ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool, ?column? bool
t|t|t|t|t|t

select regexp_replace('foobarbaz', 'b..', 'X'), regexp_replace('foobarbaz', 'b(..)', 'X\1Y', 'g'), regexp_replace('Abc', 'a', '', 'i');
: regexp_replace text, regexp_replace text, regexp_replace text
fooXbaz|fooXarYXazY|bc

select regexp_match('foobar', 'o(b)(a)'), regexp_match('foo', 'x'), regexp_match('foobar', 'b.');
: regexp_match text, regexp_match text, regexp_match text
{b,a}|NULL|{ba}

select substring('foobar' from 'o.b'), substring('foobar' from 2 for 3), substring('foobar', 0, 3), substring('x' from 5);
: substring text, substring text, substring text, substring text
oob|oob|fo|

select length('éva'), octet_length('éva'), lower('ÀB'), upper('éb'), initcap('hello wORLD-x'), reverse('abc');
: length int4, octet_length int4, lower text, upper text, initcap text, reverse text
3|4|Àb|éB|Hello World-X|cba

select left('abcdef', 2), left('abcdef', -2), right('abcdef', 2), right('abcdef', -2), left('é', 1);
: left text, left text, right text, right text, left text
ab|abcd|ef|cdef|é

select lpad('7', 3, '0'), rpad('a', 3), lpad('abcdef', 3), rpad('ab', 5, 'xy'), repeat('ab', 3), repeat('a', -1);
: lpad text, rpad text, lpad text, rpad text, repeat text, repeat text
007|a  |abc|abxyx|ababab|

select replace('abcabc', 'b', 'XX'), translate('12345', '143', 'ax'), split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), split_part('abc', ',', 2);
: replace text, translate text, split_part text, split_part text, split_part text
aXXcaXXc|a2x5|b|c|

select strpos('hello', 'll'), position('l' in 'hello'), position('' in 'x'), strpos('a', 'b');
: strpos int4, position int4, position int4, strpos int4
3|3|1|0

select trim('  x '), ltrim('xxay', 'x'), rtrim('axx', 'x'), btrim('xyax', 'xy'), trim(both 'x' from 'xax'), trim(leading 'a' from 'aab');
: btrim text, ltrim text, rtrim text, btrim text, btrim text, ltrim text
x|ay|a|a|a|b

select 'a' || 'b', 'a' || 1, 1 || 'a', 'a' || null, 'a' || 1.50, 'a' || true, 'x' || 2.5::float8;
: ?column? text, ?column? text, ?column? text, ?column? text, ?column? text, ?column? text, ?column? text
ab|a1|1a|NULL|a1.50|atrue|x2.5

select 1 || 2;
! 42883

select concat('a', 1, null, true, 2.50), concat_ws(',', 'a', null, 'b', 3);
: concat text, concat_ws text
a1t2.50|a,b,3

select format('%s-%I-%L-%%', 'a', 'B c', 'd''e'), format('%2$s %1$s', 'a', 'b');
: format text, format text
a-"B c"-'d''e'-%|b a

select quote_ident('abc'), quote_ident('Abc'), quote_ident('user'), quote_literal('a''b'), quote_nullable(null), quote_literal(5);
: quote_ident text, quote_ident text, quote_ident text, quote_literal text, quote_nullable text, quote_literal text
abc|"Abc"|"user"|'a''b'|NULL|'5'

select ascii('é'), chr(233), starts_with('abc', 'ab'), to_hex(255), 'abc' ^@ 'a';
: ascii int4, chr text, starts_with bool, to_hex text, ?column? bool
233|é|t|ff|t

select array_to_string(array['a', null, 'c'], ','), array_to_string(array['a', null, 'c'], ',', '-'), string_to_array('a,b', ',');
: array_to_string text, array_to_string text, string_to_array text
a,c|a,-,c|{a,b}

select array[1, 2, 3], array['a b', 'c"d', null, ''], '{1,2}'::int[];
: array text, array text, int4 text
{1,2,3}|{"a b","c\"d",NULL,""}|{1,2}

select (array['a', 'b'])[2],  cardinality(array[1, 2]), array_length(array[1, 2], 1), array_upper(array['a'], 1);
: array text, cardinality int4, array_length int4, array_upper int4
b|2|2|1

select id from clients where state = any(array['idle', 'waiting']) order by id;
: id int4
2
3

select id from clients where state = any('{idle,waiting}') order by id;
: id int4
2
3

select id from clients where port <> all(array[5432, 5433]) order by id;
: id int4
4
6

select id from clients where state like any(array['a%', 'w%']) order by id;
: id int4
1
2
4
5

select id from clients where port in (select port from databases) order by id;
: id int4
1
2
5

select id from clients where port not in (select port from databases) order by id;
: id int4
4
6

select id from clients where port > any(array[5432, 6000]) order by id;
: id int4
2
4
6

select name, (select count(*) from clients c where c.database = d.name) from databases d order by 1;
: name text, count int8
app|3
logs|0
shop|2

select name from databases d where exists (select 1 from clients c where c.database = d.name) order by 1;
: name text
app
shop

select name from databases d where not exists (select 1 from clients c where c.database = d.name) order by 1;
: name text
logs

select (select max(port) from clients), (select name from databases where name = 'x');
: max int4, name text
6432|NULL

select (select name from databases);
! 21000

select array(select name from databases order by name), array(select 1 where false);
: array text, array text
{app,logs,shop}|{}

select c.id, p.cl_active from clients c join pools p on p.database = c.database and p."user" = c."user" order by 1;
: id int4, cl_active int4
1|3
2|1
3|2

select c.id, p.cl_active from clients c left join pools p using (database, "user") order by 1;
: id int4, cl_active int4
1|3
2|1
3|2
4|NULL
5|NULL
6|NULL

select * from pools p join databases d on d.name = p.database order by 1, 2;
: database text, user text, cl_active int4, sv_idle int4, bytes numeric, name text, port int4
app|ann|3|0|1000000000000|app|5432
app|bob|1|2|5.5|app|5432
logs|NULL|0|1|0|logs|5433
shop|ann|2|7|NULL|shop|5432

select * from (select database, "user", id from clients) c join pools using (database) order by 3, 4;
: database text, user text, id int4, user text, cl_active int4, sv_idle int4, bytes numeric
app|ann|1|ann|3|0|1000000000000
app|ann|1|bob|1|2|5.5
app|bob|2|ann|3|0|1000000000000
app|bob|2|bob|1|2|5.5
shop|ann|3|ann|2|7|NULL
shop|Zoe|4|ann|2|7|NULL
app|NULL|5|ann|3|0|1000000000000
app|NULL|5|bob|1|2|5.5

select database, count(*) from clients c full join pools p using (database) group by database order by 1;
: database text, count int8
app|6
logs|1
shop|2
NULL|1

select p.database, c.id from clients c right join pools p on c.database = p.database and c.state = 'idle' order by 1, 2, p."user";
: database text, id int4
app|NULL
app|NULL
logs|NULL
shop|3

select * from databases natural join (select 'app' as name, 5 as x) s;
: name text, port int4, x int4
app|5432|5

select a.name, b.name from databases a, databases b where a.name < b.name order by 1, 2;
: name text, name text
app|logs
app|shop
logs|shop

select a.name, b.name from databases a cross join databases b order by 1, 2 limit 3;
: name text, name text
app|app
app|logs
app|shop

select count(*) from clients a, (clients b join databases d on d.name = b.database);
: count int8
30

select name from databases, clients where databases.name = clients.database and clients.id = 3;
: name text
shop

select port from clients, databases;
! 42702

select x from clients;
! 42703

select clients.x from clients;
! 42703

select z.id from clients;
! 42P01

select id from clients c, pools c;
! 42712

select c.id from clients;
! 42P01

select * from nothing;
! 42P01

select nothing(1);
! 42883

select id from clients limit 2 offset 1;
: id int4
2
3

select id from clients order by id offset 4;
: id int4
5
6

select id from clients order by id fetch first 2 rows only;
: id int4
1
2

select id from clients order by id limit all offset 5;
: id int4
6

select id from clients order by id limit null;
: id int4
1
2
3
4
5
6

select id from clients limit -1;
! 2201W

select id as a, -id as b from clients order by b limit 2;
: a int4, b int4
6|-6
5|-5

select id from clients order by 2;
! 42P10

select id from clients order by -id limit 2;
: id int4
6
5

select distinct database from clients order by id;
! 42P10

select distinct database, port from clients order by port, database;
: database text, port int4
app|5432
app|5433
NULL|5434
shop|6432
shop|NULL

select state as id from clients order by id limit 1;
: id text
%a_b

select 1 union select 2 union select 1 order by 1;
: ?column? int4
1
2

select 1 union all select 1;
: ?column? int4
1
1

select 'a' union select null order by 1;
: ?column? text
a
NULL

select null union select 1 order by 1;
: ?column? int4
1
NULL

select '1' union select 2 order by 1;
: ?column? int4
1
2

select 1 union select 'x';
! 22P02

select database from clients intersect select name from databases order by 1;
: database text
app
shop

select name from databases except select database from clients;
: name text
logs

select 1 union select 2 intersect select 2 order by 1;
: ?column? int4
1
2

(select 1 union select 2) intersect select 2;
: ?column? int4
2

(select id from clients order by id desc limit 2) union all select 0 order by 1;
: id int4
0
5
6

select name, port from databases union all select 'x', null order by 2, 1;
: name text, port int4
app|5432
shop|5432
logs|5433
x|NULL

values (1, 'a'), (2, 'b');
: column1 int4, column2 text
1|a
2|b

values (1), (2.5);
: column1 numeric
1
2.5

select * from (values (1, 'a'), (2, null)) as v(n, t) order by n desc;
: n int4, t text
2|NULL
1|a

table databases order by name;
: name text, port int4
app|5432
logs|5433
shop|5432

with a as (select database, count(*) as n from clients group by 1) select d.name, a.n from databases d left join a on a.database = d.name order by 1;
: name text, n int8
app|3
logs|NULL
shop|2

with a as (select 1 as x), b as (select x + 1 as x from a) select a.x, b.x from a, b;
: x int4, x int4
1|2

with recursive n(x) as (select 1 union all select x + 1 from n where x < 5) select sum(x), count(*) from n;
: sum int8, count int8
15|5

with recursive t(a, b) as (values (1, 'a') union all select a + 1, b || 'x' from t where a < 3) select * from t order by a;
: a int4, b text
1|a
2|ax
3|axx

with clients as (select 1 as id) select id from clients;
: id int4
1

select row_number() over (order by id), id from clients order by id;
: row_number int8, id int4
1|1
2|2
3|3
4|4
5|5
6|6

select id, rank() over (partition by database order by port), dense_rank() over (order by database) from clients order by id;
: id int4, rank int8, dense_rank int8
1|1|1
2|3|1
3|2|2
4|1|2
5|1|1
6|1|3

select id, sum(wait_us) over (order by id), count(*) over () from clients order by id;
: id int4, sum numeric, count int8
1|1500|6
2|251500|6
3|251500|6
4|251507|6
5|251507|6
6|9000251507|6

select id, avg(total) over (order by id rows between 1 preceding and current row) from clients order by id;
: id int4, avg numeric
1|12.5000000000000000
2|7.7500000000000000
3|1.5625000000000000
4|-2.3125000000000000
5|47.6250000000000000
6|56.2500000000000000

select id, lag(id) over (order by id), lead(state, 1, 'none') over (order by id), first_value(id) over (order by id desc) from clients order by id;
: id int4, lag int4, lead text, first_value int4
1|NULL|waiting|6
2|1|idle|6
3|2|active|6
4|3|active|6
5|4|%a_b|6
6|5|none|6

select id, ntile(2) over (order by id), percent_rank() over (order by id) from clients order by id;
: id int4, ntile int4, percent_rank float8
1|1|0
2|1|0.2
3|1|0.4
4|2|0.6
5|2|0.8
6|2|1

select database, sum(count(*)) over (order by database) from clients group by database order by 1;
: database text, sum numeric
app|3
shop|5
NULL|6

select id from clients where row_number() over () = 1;
! 42P20

select id, max(total) over (partition by database) from clients order by id;
: id int4, max numeric
1|100
2|100
3|0.125
4|0.125
5|100
6|12.5

select s from generate_series(1, 3) s;
: s int4
1
2
3

select s.n * 2 from generate_series(1, 6, 2) as s(n);
: ?column? int4
2
6
10

select * from generate_series(3, 1, -1);
: generate_series int4
3
2
1

select generate_series(1, 3);
: generate_series int4
1
2
3

select id, generate_series(1, id) from clients where id < 3 order by 1, 2;
: id int4, generate_series int4
1|1
2|1
2|2

select unnest(array['a', 'b']), generate_series(1, 3);
: unnest text, generate_series int4
a|1
b|2
NULL|3

select * from unnest(array['x', 'y']) with ordinality;
: unnest text, ordinality int8
x|1
y|2

select c.id, s from clients c, generate_series(1, c.id) s where c.id <= 2 order by 1, 2;
: id int4, s int4
1|1
2|1
2|2

select regexp_split_to_table('a b  c', '\s+');
: regexp_split_to_table text
a
b
c

select '5'::int, '5'::int8 + 1, 5::text || 'x', '1.50'::numeric, '1e2'::float8, 't'::bool, 'off'::bool;
: int4 int4, ?column? int8, ?column? text, numeric numeric, float8 float8, bool bool, bool bool
5|6|5x|1.50|100|t|f

select 'x'::int;
! 22P02

select '3000000000'::int;
! 22003

select ' 5 '::int, '+7'::int;
: int4 int4, int4 int4
5|7

select ''::int;
! 22P02

select 2.5::int, 3.5::int, -2.5::int, 2.5::float8::int, 3.5::float8::int, 1e10::int8;
: int4 int4, int4 int4, ?column? int4, int4 int4, int4 int4, int8 int8
3|4|-3|2|4|10000000000

select 1e10::int;
! 22003

select 5::bool, true::int, false::text, 1::text::int;
: bool bool, int4 int4, text text, int4 int4
t|1|false|1

select cast('12.345' as numeric(5, 2)), 12.345::numeric(4, 1), 7::numeric(5, 2);
: numeric numeric, numeric numeric, numeric numeric
12.35|12.3|7.00

select 1234.5::numeric(5, 2);
! 22003

select 'abcdef'::varchar(3), 'abc'::name, cast(5 as varchar);
: varchar text, name text, varchar text
abc|abc|5

select 1::float8, 0.1::float8, 1e20::float8, 1e-5::float8, 0.0001::float8, 123456789012345::float8, 1e15::float8, 'Infinity'::float8, 1.0::float8 / 3;
: float8 float8, float8 float8, float8 float8, float8 float8, float8 float8, float8 float8, float8 float8, float8 float8, ?column? float8
1|0.1|1e+20|1e-05|0.0001|123456789012345|1e+15|Infinity|0.3333333333333333

select 1.1::float8::numeric, 1e-7::float8::numeric, 123456789.123456789::float8::numeric;
: numeric numeric, numeric numeric, numeric numeric
1.1|0.0000001|123456789.123457

select mean, mean::text, mean * 2 from clients order by id;
: mean float8, mean text, ?column? float8
0.1|0.1|0.2
2.5|2.5|5
1e-07|1e-07|2e-07
1.2345678901234568e+17|1.2345678901234568e+17|2.4691357802469136e+17
-1.5|-1.5|-3
NULL|NULL|NULL

select wait_us / 1000, wait_us / 1000.0, wait_us::float8 / 1000 from clients order by id;
: ?column? int8, ?column? numeric, ?column? float8
1|1.5000000000000000|1.5
250|250.0000000000000000|250
NULL|NULL|NULL
0|0.00700000000000000000|0.007
0|0.00000000000000000000|0
9000000|9000000.000000000000|9000000

select round(wait_us / 1000.0, 1) from clients order by id;
: round numeric
1.5
250.0
NULL
0.0
0.0
9000000.0

select pg_size_pretty(wait_us), pg_size_pretty(10240::int8), pg_size_pretty(10239::int8), pg_size_pretty(-5000000::int8), pg_size_pretty(1500000000000::int8) from clients order by id;
: pg_size_pretty text, pg_size_pretty text, pg_size_pretty text, pg_size_pretty text, pg_size_pretty text
1500 bytes|10 kB|10239 bytes|-4883 kB|1397 GB
244 kB|10 kB|10239 bytes|-4883 kB|1397 GB
NULL|10 kB|10239 bytes|-4883 kB|1397 GB
7 bytes|10 kB|10239 bytes|-4883 kB|1397 GB
0 bytes|10 kB|10239 bytes|-4883 kB|1397 GB
8583 MB|10 kB|10239 bytes|-4883 kB|1397 GB

select pg_typeof(1), pg_typeof(1.5), pg_typeof('x'::text), pg_typeof(count(*)), pg_typeof(true) from clients;
: pg_typeof text, pg_typeof text, pg_typeof text, pg_typeof text, pg_typeof text
integer|numeric|text|bigint|boolean

select id + '1' from clients where id = 1;
: ?column? int4
2

select id from clients where id = '3';
: id int4
3

select id from clients where id = 'x';
! 22P02

select id from clients where state = 5;
! 42883

select id from clients where port = state;
! 42883

select id || state from clients where id = 1;
: ?column? text
1active

select 'a' < 'B', 'a' > 'B', 'é' > 'z', 'a' = 'A';
: ?column? bool, ?column? bool, ?column? bool, ?column? bool
f|t|t|f

select "user" from clients where "user" > 'Z' order by "user";
: user text
Zoe
ann
ann
bob
éva

select 1 where 'x';
! 22P02

select 1 where 5;
! 42804

select not null, null and false, null or true, null = null;
: ?column? bool, ?column? bool, ?column? bool, ?column? bool
NULL|f|t|NULL

select 1 in (1, null), 2 in (1, null), 2 not in (1, null);
: ?column? bool, ?column? bool, ?column? bool
t|NULL|NULL

select true and 'f', not 'true';
: ?column? bool, ?column? bool
f|f

select state from clients where id = 1 order by "state" collate "C";
: state text
active

select 'a' collate pg_catalog.default;
: ?column? text
a

select id from clients where clients.id operator(pg_catalog.=) 1;
: id int4
1

select count(*) as "Count", 1 as "a b" from clients;
: Count int8, a b int4
6|1

select "ID" from clients;
! 42703

select ID, Port from CLIENTS where Id = 1;
: id int4, port int4
1|5432

select sum(total::numeric(10,1)) from clients;
: sum numeric
123.3

select min(tls) from clients;
! 42883

select avg(state) from clients;
! 42883

select database, count(*), round(avg(wait_us), 1), max(wait_us) from clients group by database order by max(wait_us) desc nulls last;
: database text, count int8, round numeric, max int8
NULL|1|9000000000.0|9000000000
app|3|83833.3|250000
shop|2|7.0|7

select database || '/' || coalesce("user", '?') as who, count(*) from clients where database is not null group by database, "user" order by who;
: who text, count int8
app/?|1
app/ann|1
app/bob|1
shop/Zoe|1
shop/ann|1

select count(*) from clients having count(*) > 100;
: count int8

select id from clients group by id, state having state = 'active' order by id;
: id int4
1
4
5

select max(id) + 1, max(id + 1) from clients;
: ?column? int4, max int4
7|7

select count(*) from (select distinct state, tls from clients) s;
: count int8
6

select a.x from (select id as x from clients) a where a.x > 4 order by a.x;
: x int4
5
6

select sum(x) from (select wait_us as x from clients union all select 1) t;
: sum numeric
9000251508

select id, (select count(*) from clients b where b.id < a.id) from clients a order by id;
: id int4, count int8
1|0
2|1
3|2
4|3
5|4
6|5

select d.name from databases d where d.port = (select min(port) from databases) order by 1;
: name text
app
shop

select exists (select 1 from clients), exists (select 1 from clients where false);
: exists bool, exists bool
t|f

select 0.1 + 0.2, 0.1::float8 + 0.2::float8, 3.0, 3.10 * 2, 1000000000000000000000.5;
: ?column? numeric, ?column? float8, ?column? numeric, ?column? numeric, ?column? numeric
0.3|0.30000000000000004|3.0|6.20|1000000000000000000000.5

select 10.0 / 3, 1 / 7.0, 100000 / 3.0, 0.001 / 3, 1e10 / 3, 2.0 / 3.000;
: ?column? numeric, ?column? numeric, ?column? numeric, ?column? numeric, ?column? numeric, ?column? numeric
3.3333333333333333|0.14285714285714285714|33333.333333333333|0.00033333333333333333|3333333333.33333333|0.66666666666666666667

select sum(bytes), avg(bytes), max(bytes) from pools;
: sum numeric, avg numeric, max numeric
1000000000005.5|333333333335.16666667|1000000000000

select -(-5), - 5 + 3, 2 - -2, 5 - 3 - 1, 2 + 3 * 4, (2 + 3) * 4, 2 * 3 % 4;
: ?column? int4, ?column? int4, ?column? int4, ?column? int4, ?column? int4, ?column? int4, ?column? int4
5|-2|4|1|14|20|2

select pg_catalog.lower('X'), "lower"('X');
: lower text, lower text
x|x

select all 1;
: ?column? int4
1

select 'a' 'b';
! 42601

select "current_user"() is null;
: ?column? bool
f

select position('b' in 'abc') + 1, char_length('abc'), character_length('ab');
: ?column? int4, char_length int4, character_length int4
3|3|2

select string_to_array('', ','), string_to_array('abc', null), array_to_string(string_to_array('a b c', ' '), '-');
: string_to_array text, string_to_array text, array_to_string text
{}|{a,b,c}|a-b-c

select count(id) over (partition by tls order by id) from clients order by 1;
: count int8
1
1
1
2
2
3

select 1.5::int8 + 1, 'true'::bool = tls from clients where id = 1;
: ?column? int8, ?column? bool
3|t

select lower(state), count(*) from clients group by state order by 2 desc, 1;
: lower text, count int8
active|3
%a_b|1
idle|1
waiting|1

select max(case when tls then port end), sum(case when tls then 1 else 0 end) from clients;
: max int4, sum int8
5434|3

select sum(1), sum(1.0), sum(id::int8), sum(id) + 1 from clients;
: sum int8, sum numeric, sum numeric, ?column? int8
6|6.0|21|22

