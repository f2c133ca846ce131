-- All maps of the catalog. One statement sees one state: no transaction is needed around it.
select what, database, fields from (
    select 0, 'catalog', '', 0, array[id::text, version::text] from pgm.catalog
    union all
    select 1, 'cluster', database, 0, array[epoch::text, home] from pgm.cluster
    union all
    select 2, 'shard', database, place, array[name] from pgm.shard
    union all
    select 3, 'distribution', database, place, array[name, kind, home] || key_types
      from pgm.distribution
    union all
    select 4, 'range', r.database, d.place,
           array[d.name, r.shard, pg_catalog.lower(r.hashes)::text, r.starts]
      from pgm.key_range r join pgm.distribution d on d.id = r.distribution
    union all
    select 5, 'value', v.database, d.place, array[d.name, v.shard, v.value]
      from pgm.list_value v join pgm.distribution d on d.id = v.distribution
    union all
    select 6, 'moving', m.database, d.place,
           array[d.name, m.move::text, m.source, m.target, m.paused::text, m.starts, m.ends]
           || coalesce(m.list_values, '{}')
      from pgm.moving m join pgm.distribution d on d.id = m.distribution
    union all
    select 7, 'table', database, place, array[schema_name, table_name, distribution,
           unchecked_unique::text] || key_columns
      from pgm.sharded_table
) as rows (kind, what, database, place, fields)
order by database, kind, place
