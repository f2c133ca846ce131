//! Owns the proof that a tree of joins can be answered by every shard for its own rows.

use super::{JoinKind, Levels, Node, Rows, Tie};

const NOT_TIED: &str = "Rows are joined whose shard keys are not compared for equality, so that \
                        they may be on different shards.";
const KEPT: &str = "An outer join keeps rows that every shard has, and each shard would keep them.";

impl Levels<'_> {
    /// Rows of FROM and WHERE of a level.
    pub(super) fn joined_rows(&self, scope: usize) -> Rows {
        let Some(scope) = self.references.scopes.get(scope) else { return Rows::Same };
        let ties: Vec<&Tie> = self.references.ties.iter().filter(|t| t.node.is_none()).collect();
        let mut ties = ties;
        let mut parts = Vec::new();
        for root in &scope.roots {
            self.inner_parts(*root, &mut ties, &mut parts);
        }
        self.together(&parts, &ties)
    }

    /// What is joined by nothing but inner joins, with the equalities of their ON.
    fn inner_parts<'t>(&'t self, node: usize, ties: &mut Vec<&'t Tie>, parts: &mut Vec<usize>) {
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            match self.references.nodes.get(node) {
                Some(Node::Join { kind: JoinKind::Inner, left, right, .. }) => {
                    ties.extend(self.references.ties.iter().filter(|tie| tie.node == Some(node)));
                    pending.extend([*right, *left]);
                }
                _ => parts.push(node),
            }
        }
    }

    /// Rows of parts that are joined with each other under these equalities.
    fn together(&self, parts: &[usize], ties: &[&Tie]) -> Rows {
        let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for part in parts {
            if self.is_lateral_of(*part, &groups) {
                continue;
            }
            match self.node_rows(*part, ties) {
                Rows::Same => {}
                whole @ Rows::Whole(..) => return whole,
                Rows::Spread { refs, sure } => groups.push((refs, sure)),
            }
        }
        while groups.len() > 1 {
            let Some((refs, sure)) = groups.pop() else { break };
            let tied = |group: &&mut (Vec<usize>, Vec<usize>)| {
                group.0.iter().any(|a| refs.iter().any(|b| self.references.tied(*a, *b, ties)))
            };
            match groups.iter_mut().find(tied) {
                Some(group) => {
                    group.0.extend(refs);
                    group.1.extend(sure);
                }
                None => return Rows::Whole("join-not-colocated", NOT_TIED.to_string()),
            }
        }
        match groups.pop() {
            Some((refs, sure)) => Rows::Spread { refs, sure },
            None => Rows::Same,
        }
    }

    /// A LATERAL sub-select that only reads rows of the shard of what stands before it.
    fn is_lateral_of(&self, node: usize, groups: &[(Vec<usize>, Vec<usize>)]) -> bool {
        let Some(Node::Leaf(leaf)) = self.references.nodes.get(node) else { return false };
        let Some(level) = self.inner_level(*leaf) else { return false };
        !level.bases.is_empty()
            && self.lateral.contains(leaf)
            && groups.iter().any(|(refs, _)| self.all_tied(refs, &level.bases))
    }

    fn node_rows(&self, node: usize, above: &[&Tie]) -> Rows {
        let (kind, left, right) = match self.references.nodes.get(node) {
            Some(Node::Leaf(leaf)) => return self.leaf_rows(*leaf),
            Some(Node::Join { kind, left, right, .. }) => (*kind, *left, *right),
            None => return Rows::Same,
        };
        let own: Vec<&Tie> =
            self.references.ties.iter().filter(|tie| tie.node == Some(node)).collect();
        let both: Vec<&Tie> = above.iter().copied().chain(own.iter().copied()).collect();
        // Equalities of WHERE hold on the side that is kept, those of ON on the other side.
        let (for_left, for_right): (&[&Tie], &[&Tie]) = match kind {
            JoinKind::Inner => (&both, &both),
            JoinKind::Left => (above, &own),
            JoinKind::Right => (&own, above),
            JoinKind::Full => (&[], &[]),
        };
        let first = self.side_rows(left, for_left);
        let second = match (&first, kind) {
            (Rows::Spread { refs, sure }, JoinKind::Inner | JoinKind::Left)
                if self.is_lateral_of(right, &[(refs.clone(), sure.clone())]) =>
            {
                Rows::Same
            }
            _ => self.side_rows(right, for_right),
        };
        let ties = if kind == JoinKind::Inner { &both } else { &own };
        match (first, second) {
            (whole @ Rows::Whole(..), _) | (_, whole @ Rows::Whole(..)) => whole,
            (Rows::Same, Rows::Same) => Rows::Same,
            (spread, Rows::Same) if matches!(kind, JoinKind::Inner | JoinKind::Left) => spread,
            (Rows::Same, spread) if matches!(kind, JoinKind::Inner | JoinKind::Right) => spread,
            (Rows::Same, _) | (_, Rows::Same) => Rows::Whole("outer-join", KEPT.to_string()),
            (Rows::Spread { refs, sure }, Rows::Spread { refs: others, sure: other_sure }) => {
                let tied =
                    refs.iter().any(|a| others.iter().any(|b| self.references.tied(*a, *b, ties)));
                if !tied {
                    return Rows::Whole("join-not-colocated", NOT_TIED.to_string());
                }
                let sure = match kind {
                    JoinKind::Inner => [sure, other_sure].concat(),
                    JoinKind::Left => sure,
                    JoinKind::Right => other_sure,
                    JoinKind::Full => Vec::new(),
                };
                Rows::Spread { refs: [refs, others].concat(), sure }
            }
        }
    }

    /// One side of a join: inner joins in it need not be tied one by one.
    fn side_rows(&self, node: usize, ties: &[&Tie]) -> Rows {
        let mut ties = ties.to_vec();
        let mut parts = Vec::new();
        self.inner_parts(node, &mut ties, &mut parts);
        match parts.as_slice() {
            [only] => self.node_rows(*only, &ties),
            _ => self.together(&parts, &ties),
        }
    }
}
