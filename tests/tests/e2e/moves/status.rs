//! Moves as the catalog has them, seen from another terminal.

use super::sides::Sides;
use pgmanifold_rebalancer::connect;
use pgmanifold_rebalancer::status::{self, Options};
use pgmanifold_tests::run;

#[test]
fn status_shows_moves_of_all_states() {
    run(60, async {
        let sides = Sides::new("status", 0);
        let catalog = connect::primary(&sides.config.catalog, "catalog").await;
        let catalog = catalog.unwrap_or_else(|error| panic!("{error}"));
        let fill = "begin; insert into pgm.cluster (database, epoch, home) \
             values ('app', 1, 'north'), ('other', 1, 'north'); \
             insert into pgm.shard values ('app', 'north', 0), ('other', 'north', 0); commit; \
             insert into pgm.move (database, distribution, mode, starts, ends, source, target, \
              state, rows_total, rows_copied, bytes_copied, rows_per_s, journal, ended_at) \
             select d, 'k', 'online', null, '9', 'north', 'south', s, 1000, 250, 5000, 50, \
              '{\"waiting\": \"replica r lags\"}'::jsonb, case when s = 'done' then now() end \
             from (values ('app', 'copying'), ('other', 'ready')) v (d, s) \
             union all select 'app', 'k', 'offline', null, null, 'north', 'south', 'done', 1, 1, \
              1, 1, '{}', now() from generate_series(1, 8); \
             insert into pgm.move_event (move, state, note) values (1, 'planned', 'by hand')";
        catalog.run(fill).await.unwrap_or_else(|error| panic!("{error}"));
        let look = async |all: bool, events: bool| {
            let options = Options { all, events, ..Options::default() };
            let moves = status::look(&catalog, "app", &options).await;
            moves.unwrap_or_else(|error| panic!("{error}"))
        };
        let few = look(false, true).await;
        assert!(!few.working);
        assert_eq!(few.moves.len(), 6, "one under way and the last five");
        let first = &few.moves[0];
        assert_eq!((first.id, first.keys.as_str()), (1, "[beginning, 9)"));
        assert_eq!((first.percent, first.seconds_left), (Some(25.0), Some(15.0)));
        assert_eq!(first.waiting, None, "nobody works on it");
        assert!(first.next.starts_with("no rebalancer is at work"), "{}", first.next);
        let events = first.events.as_deref().unwrap_or_default();
        assert_eq!(events[0].note, "by hand");
        println!("{few}");
        // Somebody takes the lease, as the rebalancer does.
        let holder = connect::primary(&sides.config.catalog, "catalog").await;
        let holder = holder.unwrap_or_else(|error| panic!("{error}"));
        let lease = "select pg_advisory_lock(hashtextextended('pgmanifold-rebalancer app', 0))";
        holder.run(lease).await.unwrap_or_else(|error| panic!("{error}"));
        let all = look(true, false).await;
        assert!(all.working && all.moves.len() == 9, "{all}");
        assert!(all.moves[0].next.starts_with("a rebalancer is at work"), "{all}");
        assert_eq!(all.moves[0].waiting.as_deref(), Some("replica r lags"));
        let json = serde_json::to_value(&all).expect("it is JSON");
        assert_eq!(json["moves"][8]["state"], "done");
        assert_eq!(json["moves"][8]["move"], 10);
    });
}
