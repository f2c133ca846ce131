-- Statements the console refuses although PostgreSQL answers them, and in which words.

select distinct on (database) id from clients;
0A000: DISTINCT ON is not supported in the console

select now() - interval '1 hour';
0A000: arithmetic of times is not supported in the console

select now()::timestamptz;
0A000: type timestamptz is not supported in the console

select id from clients for update;
0A000: locking rows is not supported in the console

select c from clients c;
0A000: a whole row as a value is not supported in the console

insert into clients values (1);
0A000: this statement is not supported in the console

select * from clients, lateral (select clients.id) x;
0A000: LATERAL is not supported in the console

select 'a' collate "de_DE";
0A000: collation "de_DE" is not supported in the console

select regexp_replace('foobar', 'foo|foobar', '');
0A000: alternation or lazy repetition where text is taken out is not supported in the console

select 'NaN'::float8;
0A000: NaN is not supported in the console

select array[1] || 2;
0A000: joining arrays is not supported in the console

select random();
0A000: random() is not supported in the console

select count(*) from clients group by rollup (database);
0A000: grouping sets is not supported in the console

select pg_terminate_backend(1);
0A000: ending sessions by a function is not supported in the console

select sum(mean) over () from clients;
0A000: sum() of this type over a window is not supported in the console

select sqrt(2.0);
0A000: this function of numeric is not supported in the console

select percentile_cont(0.5) within group (order by id) from clients;
0A000: this form of percentile_cont() is not supported in the console

select string_agg(distinct database, ',') from clients;
0A000: DISTINCT with ORDER BY or more than one argument is not supported in the console

select id from clients where (database, "user") = ('app', 'ann');
0A000: a row of values here is not supported in the console

select to_char(1, '9');
0A000: to_char() is not supported in the console

select 1 from clients having true;
0A000: HAVING without GROUP BY or an aggregate is not supported in the console
