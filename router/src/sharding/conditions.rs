//! Owns what a condition says about single columns: which of its conjuncts are exactly a
//! comparison of a column with constants or with another column. What has any other form says
//! nothing. Names get no meaning here.

use super::query::{self, Span, keyword, split_commas};
use super::{Condition, Operand};
use crate::key::KeyType;
use crate::lexer::TokenKind;
use crate::planner::{Text, keywords};

mod constant;

/// Most conjuncts of a condition that are looked at; more only leave it less restricted.
const MAX_CONJUNCTS: usize = 4_000;
/// Literals beyond this many in a text are not known.
const MAX_LITERAL: usize = u16::MAX as usize;

/// A column as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) qualifier: Option<Box<str>>,
    pub(crate) name: Box<str>,
}

/// A condition and the type its constants were cast to, which must be the column's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) condition: Condition,
    pub(crate) casts: Vec<KeyType>,
}

/// What a conjunct says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// About one column.
    Limited(Named, Limited),
    /// Two columns are equal.
    Equal(Named, Named),
    /// The column is among the rows of the sub-select whose parenthesis is this token.
    Among(Named, usize),
    /// It is not.
    NotAmong(Named, usize),
}

/// A text with the places of its literals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) text: &'a Text<'a>,
    literals: &'a [u32],
}

/// The tokens that are literals, in order.
pub(crate) fn literals(text: &Text<'_>) -> Vec<u32> {
    let is_literal = |at: &usize| text.kind(*at).is_some_and(TokenKind::is_literal);
    // Token indices fit: there are no more than MAX_TOKENS.
    (0..text.len()).filter(is_literal).map(|at| at as u32).collect()
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a Text<'a>, literals: &'a [u32]) -> Self {
        Self { text, literals }
    }

    /// The literal's place among all literals of the text.
    pub(crate) fn literal_at(&self, token: usize) -> Option<u16> {
        let index = self.literals.binary_search(&u32::try_from(token).ok()?).ok()?;
        (index < MAX_LITERAL).then_some(index as u16)
    }

    /// What holds for every row that meets the condition.
    pub(crate) fn facts(&self, condition: Span) -> Vec<Fact> {
        let mut facts = Vec::new();
        for conjunct in self.conjuncts(condition) {
            self.conjunct(conjunct, &mut facts);
        }
        facts
    }

    /// The parts of a condition that all must hold.
    fn conjuncts(&self, condition: Span) -> Vec<Span> {
        let mut conjuncts = Vec::new();
        let mut pending = vec![condition];
        while let Some(span) = pending.pop() {
            let span = query::unwrapped(self.text, span);
            let parts = match self.splits(span.clone(), "or").len() {
                1 => self.splits(span.clone(), "and"),
                _ => vec![span],
            };
            if let [only] = parts.as_slice() {
                conjuncts.push(only.clone());
            } else {
                pending.extend(parts.into_iter().rev());
            }
            if conjuncts.len() + pending.len() > MAX_CONJUNCTS {
                return Vec::new();
            }
        }
        conjuncts
    }

    /// What stands between words AND or OR outside of parentheses, CASE and BETWEEN.
    fn splits(&self, at: Span, word: &str) -> Vec<Span> {
        let text = self.text;
        let (mut parts, mut start, mut here) = (Vec::new(), at.start, at.start);
        let (mut cases, mut betweens) = (0_usize, 0_usize);
        while here < at.end {
            match text.kind(here) {
                Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                    here = text.partner(here).unwrap_or(here);
                }
                Some(TokenKind::Word) if text.kind_before(here) != Some(TokenKind::Dot) => {
                    match text.word(here) {
                        "case" => cases += 1,
                        "end" => cases = cases.saturating_sub(1),
                        "between" if cases == 0 => betweens += 1,
                        "and" if cases == 0 && betweens > 0 => betweens -= 1,
                        found if cases == 0 && found == word => {
                            parts.push(start..here);
                            start = here + 1;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
            here += 1;
        }
        parts.push(start..at.end);
        parts
    }

    fn conjunct(&self, at: Span, facts: &mut Vec<Fact>) {
        let branches = self.splits(at.clone(), "or");
        if branches.len() > 1 {
            facts.extend(self.any_of(&branches));
            return;
        }
        let text = self.text;
        let mut here = at.start;
        while here < at.end {
            match text.kind(here) {
                Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                    here = text.partner(here).unwrap_or(here);
                }
                Some(TokenKind::Operator) if !self.is_sign(&at, here) => {
                    self.comparison(at.start..here, text.raw(here), here + 1..at.end, facts);
                    return;
                }
                Some(TokenKind::Word) => match keyword(text, here) {
                    "in" => return self.in_list(at.start..here, here + 1..at.end, facts),
                    "between" => return self.between(at.start..here, here + 1..at.end, facts),
                    "not" if here > at.start && keyword(text, here + 1) == "in" => {}
                    "not" | "is" | "case" | "like" | "isnull" | "notnull" => return,
                    _ => {}
                },
                _ => {}
            }
            here += 1;
        }
    }

    /// A minus that begins an operand.
    fn is_sign(&self, at: &Span, here: usize) -> bool {
        here == at.start && self.text.raw(here) == b"-"
    }

    /// Branches that each say which values the same column may have.
    fn any_of(&self, branches: &[Span]) -> Option<Fact> {
        let mut of: Option<(Named, Vec<Operand>, Vec<KeyType>)> = None;
        for branch in branches {
            let found =
                self.facts_without_or(branch.clone()).into_iter().find_map(|fact| match fact {
                    Fact::Limited(
                        column,
                        Limited { condition: Condition::OneOf(operands), casts },
                    ) if of.as_ref().is_none_or(|(known, ..)| *known == column) => {
                        Some((column, operands, casts))
                    }
                    _ => None,
                })?;
            match &mut of {
                None => of = Some(found),
                Some((_, operands, casts)) => {
                    operands.extend(found.1);
                    casts.extend(found.2);
                }
            }
        }
        let (column, operands, casts) = of?;
        Some(Fact::Limited(column, Limited { condition: Condition::OneOf(operands), casts }))
    }

    /// The facts of a branch of OR; a branch within it says nothing.
    fn facts_without_or(&self, at: Span) -> Vec<Fact> {
        let mut facts = Vec::new();
        for conjunct in self.conjuncts(at) {
            if self.splits(conjunct.clone(), "or").len() == 1 {
                self.conjunct(conjunct, &mut facts);
            }
        }
        facts
    }

    fn comparison(&self, left: Span, operator: &[u8], right: Span, facts: &mut Vec<Fact>) {
        let text = self.text;
        let (left, right) = (query::unwrapped(text, left), self.unwrapped_row(right));
        if operator == b"=" {
            if let (Some(left), Some(right)) = (self.row(left.clone()), self.row(right.clone())) {
                if left.len() == right.len() {
                    for (left, right) in left.into_iter().zip(right) {
                        self.equality(left, right, facts);
                    }
                }
                return;
            }
            return self.equality(left, right, facts);
        }
        let (column, constant, mirrored) =
            match (self.column(left.clone()), self.column(right.clone())) {
                (Some(column), None) => (column, self.constant(right), false),
                (None, Some(column)) => (column, self.constant(left), true),
                _ => return,
            };
        let Some((operand, casts)) = constant else { return };
        let condition = match (operator, mirrored) {
            (b"<" | b"<=", false) | (b">" | b">=", true) => Condition::Between(None, Some(operand)),
            (b">" | b">=", false) | (b"<" | b"<=", true) => Condition::Between(Some(operand), None),
            _ => return,
        };
        let casts = casts.into_iter().collect();
        facts.push(Fact::Limited(column, Limited { condition, casts }));
    }

    /// Parentheses around one operand; a row keeps its own.
    fn unwrapped_row(&self, at: Span) -> Span {
        let inner = query::unwrapped(self.text, at.clone());
        match split_commas(self.text, inner.clone()).len() {
            1 => inner,
            _ => at,
        }
    }

    fn equality(&self, left: Span, right: Span, facts: &mut Vec<Fact>) {
        let text = self.text;
        let (left, right) = (query::unwrapped(text, left), query::unwrapped(text, right));
        match (self.column(left.clone()), self.column(right.clone())) {
            (Some(left), Some(right)) => facts.push(Fact::Equal(left, right)),
            (Some(column), None) => {
                let limited = self.one(right.clone()).or_else(|| self.any_array(right.clone()));
                match limited {
                    Some(limited) => facts.push(Fact::Limited(column, limited)),
                    None => facts.extend(self.any_query(column, &right)),
                }
            }
            (None, Some(column)) => {
                facts.extend(self.one(left).map(|limited| Fact::Limited(column, limited)));
            }
            (None, None) => {}
        }
    }

    fn one(&self, at: Span) -> Option<Limited> {
        let (operand, cast) = self.constant(at)?;
        let condition = Condition::OneOf(vec![operand]);
        Some(Limited { condition, casts: cast.into_iter().collect() })
    }

    /// `ANY (SELECT …)`
    fn any_query(&self, column: Named, at: &Span) -> Option<Fact> {
        let is_any = matches!(keyword(self.text, at.start), "any" | "some");
        let open = at.start + 1;
        let whole = self.text.partner(open) == at.end.checked_sub(1);
        (is_any && whole && query::opens(self.text, open)).then_some(Fact::Among(column, open))
    }

    /// `ANY ($1)`, `ANY ('{…}'::type[])`, `ANY (ARRAY[…])`
    fn any_array(&self, at: Span) -> Option<Limited> {
        let text = self.text;
        let open = at.start + 1;
        if !matches!(keyword(text, at.start), "any" | "some")
            || !text.is_kind(open, TokenKind::OpenParen)
            || text.partner(open) != at.end.checked_sub(1)
        {
            return None;
        }
        let inside = query::unwrapped(text, open + 1..at.end - 1);
        let (value, cast) = self.cast(inside)?;
        let cast = match cast {
            None => None,
            Some(ty) => Some(self.array_type(ty)?),
        };
        if keyword(text, value.start) == "array" {
            let open = value.start + 1;
            if !text.is_kind(open, TokenKind::OpenBracket)
                || text.partner(open) != value.end.checked_sub(1)
            {
                return None;
            }
            let mut limited = self.list(open + 1..value.end - 1)?;
            limited.casts.extend(cast);
            return Some(limited);
        }
        let value = query::unwrapped(text, value);
        let operand = match text.kind(value.start) {
            Some(TokenKind::Parameter) if value.len() == 1 => self.parameter(value.start)?,
            Some(kind) if constant::is_string(kind) && value.len() == 1 => {
                Operand::Literal { at: self.literal_at(value.start)?, negative: false }
            }
            _ => return None,
        };
        let condition = Condition::InArray(operand);
        Some(Limited { condition, casts: cast.into_iter().collect() })
    }

    fn in_list(&self, left: Span, right: Span, facts: &mut Vec<Fact>) {
        let text = self.text;
        let open = right.start;
        if !text.is_kind(open, TokenKind::OpenParen)
            || text.partner(open) != right.end.checked_sub(1)
        {
            return;
        }
        if text.is(left.end.wrapping_sub(1), "not") {
            let column = self.column(left.start..left.end - 1).filter(|_| query::opens(text, open));
            facts.extend(column.map(|column| Fact::NotAmong(column, open)));
            return;
        }
        let left = query::unwrapped(text, left);
        if query::opens(text, open) {
            facts.extend(self.column(left).map(|column| Fact::Among(column, open)));
            return;
        }
        let inside = open + 1..right.end - 1;
        if let Some(column) = self.column(left.clone()) {
            facts.extend(self.list(inside).map(|limited| Fact::Limited(column, limited)));
            return;
        }
        let Some(columns) = self.row(left) else { return };
        let rows: Option<Vec<_>> =
            split_commas(text, inside).into_iter().map(|item| self.row(item)).collect();
        let Some(rows) = rows else { return };
        for (index, column) in columns.into_iter().enumerate() {
            let Some(column) = self.column(column) else { continue };
            let items: Option<Vec<_>> = rows.iter().map(|row| row.get(index).cloned()).collect();
            let limited = items.and_then(|items| self.constants(items));
            facts.extend(limited.map(|limited| Fact::Limited(column, limited)));
        }
    }

    fn between(&self, left: Span, right: Span, facts: &mut Vec<Fact>) {
        if self.text.is(left.end.wrapping_sub(1), "not") {
            return;
        }
        let and = right.clone().find(|&at| self.text.is(at, "and"));
        let (Some(and), Some(column)) = (and, self.column(query::unwrapped(self.text, left)))
        else {
            return;
        };
        let (from, to) = (self.constant(right.start..and), self.constant(and + 1..right.end));
        let (Some((from, first)), Some((to, second))) = (from, to) else { return };
        let condition = Condition::Between(Some(from), Some(to));
        let casts = first.into_iter().chain(second).collect();
        facts.push(Fact::Limited(column, Limited { condition, casts }));
    }

    fn list(&self, at: Span) -> Option<Limited> {
        self.constants(split_commas(self.text, at))
    }

    fn constants(&self, items: Vec<Span>) -> Option<Limited> {
        let (mut operands, mut casts) = (Vec::new(), Vec::new());
        for item in items {
            let (operand, cast) = self.constant(item)?;
            operands.push(operand);
            if let Some(cast) = cast.filter(|cast| !casts.contains(cast)) {
                casts.push(cast);
            }
        }
        Some(Limited { condition: Condition::OneOf(operands), casts })
    }

    /// The parts of `(a, b)` or `ROW(a, b)`; two at least.
    fn row(&self, at: Span) -> Option<Vec<Span>> {
        let text = self.text;
        let mut at = at;
        if keyword(text, at.start) == "row" {
            at.start += 1;
        }
        let whole = text.is_kind(at.start, TokenKind::OpenParen)
            && text.partner(at.start) == at.end.checked_sub(1);
        if whole && query::opens(text, at.start) {
            return None;
        }
        let inside = if whole { at.start + 1..at.end - 1 } else { at };
        let parts = split_commas(text, inside);
        (parts.len() > 1).then_some(parts)
    }

    /// `a` or `t.a`.
    pub(crate) fn column(&self, at: Span) -> Option<Named> {
        let text = self.text;
        let at = query::unwrapped(text, at);
        if at.clone().any(|here| text.is_foreign_name(here)) {
            return None;
        }
        let (qualifier, name) = match at.len() {
            1 => (None, at.start),
            3 if text.is_kind(at.start + 1, TokenKind::Dot) => (Some(at.start), at.start + 2),
            _ => return None,
        };
        let first = text.word(at.start);
        if !first.is_empty() && keywords::is_reserved_name(first) {
            return None;
        }
        let qualifier = match qualifier {
            Some(qualifier) => Some((*text.name(qualifier)?).into()),
            None => None,
        };
        Some(Named { qualifier, name: (*text.name(name)?).into() })
    }
}
