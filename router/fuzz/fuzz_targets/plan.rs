//! Planner: no panic; a read has no writing word outside of quotes; and what shares a place in
//! the plan cache shares its plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgmanifold_router::facts::Facts;
use pgmanifold_router::fingerprint::Scan;
use pgmanifold_router::golden;
use pgmanifold_router::lexer::{Dialect, Lexer, TokenKind};
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::planner::plan;
use pgmanifold_router::plan_cache::PlanCache;
use pgmanifold_router::route::{SessionView, Target, route};
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

static FACTS: LazyLock<Facts> = LazyLock::new(|| golden::facts().unwrap());

thread_local! {
    static CACHE: RefCell<PlanCache> = RefCell::new(PlanCache::default());
}

fn has_writing_word(sql: &[u8], dialect: Dialect) -> bool {
    let Ok(mut lexer) = Lexer::new(sql, dialect) else { return true };
    loop {
        match lexer.next_token() {
            Ok(Some(token)) if token.kind == TokenKind::Word => {
                let word = token.text(sql).to_ascii_lowercase();
                if [&b"insert"[..], b"update", b"delete", b"merge", b"into", b"share"]
                    .contains(&word.as_slice())
                {
                    return true;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&flags, sql)) = data.split_first() else { return };
    let dialect =
        Dialect { standard_conforming_strings: flags & 1 == 0, ..Dialect::default() };
    let seen: Plan = plan(sql, &FACTS, dialect);
    if seen.effect == Effect::Read {
        assert!(!has_writing_word(sql, dialect), "{seen}");
    } else {
        assert_eq!(route(&seen, SessionView::default()).target, Target::Primary);
    }
    let mut scan = Scan::new(3);
    if scan.scan(sql, dialect).is_ok() && scan.cacheable() {
        CACHE.with_borrow_mut(|cache| match cache.get(&scan, dialect.bits()) {
            Some(cached) => assert_eq!(*cached, seen),
            None => cache.insert(&scan, dialect.bits(), Arc::new(seen)),
        });
    }
});
