//! The pruned path tree: only the paths some column wants, so one pass over a document touches nothing else twice.

use std::collections::HashMap;

use super::path::{self, Step};
use crate::json::{Cursor, Literal};

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Where this node stands, as a path's text: the key in `_extra`.
    pub path: String,
    /// Columns that take this very value.
    pub leaves: Vec<usize>,
    /// The value is stored elsewhere (`_id` in the key columns): neither a column nor `_extra` takes it.
    pub ignore: bool,
    /// The array whose elements are rows.
    pub explode: bool,
    pub children: Vec<Child>,
    pub elements: Vec<(usize, usize)>,
    /// Names to children, for nodes too wide to search one by one.
    wide: HashMap<Box<[u8]>, usize>,
}

#[derive(Debug)]
pub(super) struct Child {
    pub name: Box<[u8]>,
    /// The name as a text probably has it.
    pub literal: Option<Literal>,
    pub node: usize,
}

const WIDE: usize = 24;

#[derive(Debug)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl Tree {
    pub(super) const ROOT: usize = 0;

    /// The node of a path, made when it is not there.
    pub(super) fn insert(&mut self, steps: &[Step]) -> usize {
        steps.iter().fold(Self::ROOT, |at, step| match step {
            Step::Name(name) => self.child(at, name),
            Step::Index(index) => self.element(at, *index),
        })
    }

    fn child(&mut self, at: usize, name: &str) -> usize {
        if let Some(child) = self.nodes[at]
            .children
            .iter()
            .find(|c| *c.name == *name.as_bytes())
        {
            return child.node;
        }
        let mut text = self.nodes[at].path.clone();
        path::push_name(&mut text, name);
        let node = self.push(text);
        let literal = Literal::of_name(name);
        let name: Box<[u8]> = name.as_bytes().into();
        let parent = &mut self.nodes[at];
        // Children are found fastest in the order of a document's members, and MongoDB keeps `_id` first.
        let place = match at == Self::ROOT && *name == *b"_id" {
            true => 0,
            false => parent.children.len(),
        };
        for later in parent.wide.values_mut().filter(|later| **later >= place) {
            *later += 1;
        }
        parent.wide.insert(name.clone(), place);
        parent.children.insert(place, Child { name, literal, node });
        node
    }

    fn element(&mut self, at: usize, index: usize) -> usize {
        if let Some((_, node)) = self.nodes[at].elements.iter().find(|(i, _)| *i == index) {
            return *node;
        }
        let mut text = self.nodes[at].path.clone();
        path::push_index(&mut text, index);
        let node = self.push(text);
        self.nodes[at].elements.push((index, node));
        node
    }

    fn push(&mut self, path: String) -> usize {
        self.nodes.push(Node {
            path,
            ..Node::default()
        });
        self.nodes.len() - 1
    }
}

/// What is to be done with a value that is no more than one thing.
pub(super) enum Wants {
    Nothing,
    Leaf(usize),
}

impl Node {
    #[inline]
    pub(super) fn wants(&self) -> Option<Wants> {
        match self.leaves[..] {
            _ if self.ignore => Some(Wants::Nothing),
            [leaf] if self.is_leaf() && !self.explode => Some(Wants::Leaf(leaf)),
            _ => None,
        }
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.children.is_empty() && self.elements.is_empty()
    }

    /// The child whose turn it is, when the text goes on with its name (which is consumed, colon included).
    #[inline]
    pub(super) fn next(&self, cursor: &mut Cursor<'_>, hint: &mut usize) -> Option<usize> {
        let child = self.children.get(*hint)?;
        if !cursor.take(child.literal.as_ref()?) {
            return None;
        }
        *hint += 1;
        Some(child.node)
    }

    /// The child of a name. Documents repeat their field order, so the search begins where the last one ended.
    #[inline]
    pub(super) fn find(&self, name: &[u8], hint: &mut usize) -> Option<usize> {
        let children = &self.children;
        if let Some(child) = children.get(*hint)
            && *child.name == *name
        {
            *hint += 1;
            return Some(child.node);
        }
        let found = if children.len() > WIDE {
            self.wide.get(name).copied()
        } else {
            children.iter().position(|child| *child.name == *name)
        }?;
        *hint = found + 1;
        Some(children[found].node)
    }
}
