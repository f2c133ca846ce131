//! Owns what WHERE and the equalities of columns say of keys.

use super::{Clause, Fact, Found, Level, Levels, Named, Span, Tie};

impl Levels<'_> {
    /// What WHERE says of the references of its level.
    pub(super) fn filter(&mut self, filter: Span, scope: usize, nested: &[(usize, Clause, Level)]) {
        for fact in self.reader.facts(filter) {
            match fact {
                Fact::Limited(column, limited) => {
                    if let Found::Key { columns, above: 0, .. } =
                        self.references.find(scope, &column)
                    {
                        columns.iter().for_each(|key| self.references.limit(*key, &limited));
                    }
                }
                Fact::Equal(a, b) => {
                    let found = (self.references.find(scope, &a), self.references.find(scope, &b));
                    self.equal(found, None, &|_| true);
                }
                Fact::Among(column, open) => self.among(&column, open, scope, nested, true),
                Fact::NotAmong(column, open) => self.among(&column, open, scope, nested, false),
            }
        }
    }

    /// Two columns are equal at a join, or in WHERE. `restricts` says whether rows under a leaf
    /// that do not meet the condition are left out.
    pub(super) fn equal(
        &mut self,
        found: (Found, Found),
        node: Option<usize>,
        restricts: &dyn Fn(usize) -> bool,
    ) {
        let (
            Found::Key { columns: first, leaf: x, above: i },
            Found::Key { columns: second, leaf: y, above: j },
        ) = found
        else {
            return;
        };
        for &a in &first {
            for &b in &second {
                if !self.references.comparable(a, b) {
                    continue;
                }
                if j == 0 && restricts(y) {
                    self.references.flows.push((a, b));
                }
                if i == 0 && restricts(x) {
                    self.references.flows.push((b, a));
                }
                if i == 0 && j == 0 {
                    self.references.ties.push(Tie { a, b, node });
                }
            }
        }
    }

    /// `column IN (SELECT key …)`
    fn among(
        &mut self,
        column: &Named,
        open: usize,
        scope: usize,
        nested: &[(usize, Clause, Level)],
        positive: bool,
    ) {
        let Some((_, _, inner)) = nested.iter().find(|(at, ..)| *at == open) else { return };
        let Found::Key { columns, above: 0, .. } = self.references.find(scope, column) else {
            return;
        };
        if !positive && !inner.strict {
            return;
        }
        for &key in &columns {
            for &other in &inner.only {
                if self.references.comparable(key, other) {
                    self.references.flows.push((key, other));
                    if positive {
                        self.references.flows.push((other, key));
                    }
                }
            }
        }
    }
}
