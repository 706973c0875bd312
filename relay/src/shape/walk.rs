//! One pass over a document's text, in which every column finds its value and `_extra` the rest.

use tributary_crds::relay::OnError;

use super::compile::Level;
use super::convert::{self, Converted};
use super::tree::{Node, Wants};
use super::{Refused, Scratch, Shaped, bson, fast, path};
use crate::json::{Cursor, Kind};

/// Where the cursor stands after the usual members.
enum Usual {
    /// In front of a member.
    Member,
    /// Behind one.
    Behind,
}

/// One pass over one document.
pub(super) struct Walk<'m, 's> {
    pub level: &'m Level,
    pub scratch: &'s mut Scratch,
    pub shaped: &'s mut Shaped,
    pub out: &'s mut Vec<u8>,
    /// Where each leaf's text stands in `out`, for whoever puts the row together afterwards.
    pub spans: Option<&'s mut Vec<(u32, u32)>>,
}

impl<'m> Walk<'m, '_> {
    fn node(&self, at: usize) -> &'m Node {
        &self.level.tree.nodes[at]
    }

    /// Columns the document had no value for.
    pub(super) fn absent_leaves(&mut self) -> Result<(), Refused> {
        for (i, leaf) in self.level.leaves.iter().enumerate() {
            if self.scratch.seen[i / 64] & (1 << (i % 64)) == 0 {
                let before = self.out.len();
                leaf.absent.write(&leaf.name, self.out)?;
                self.span(i, before);
            }
        }
        Ok(())
    }

    #[inline]
    fn span(&mut self, leaf: usize, before: usize) {
        if let Some(spans) = &mut self.spans {
            spans[leaf] = (before as u32, self.out.len() as u32);
        }
    }

    /// Walks an object's members. `covered`: a column holds the whole object, so nothing of it belongs in `_extra`.
    pub(super) fn object(
        &mut self,
        at: usize,
        cursor: &mut Cursor<'_>,
        covered: bool,
    ) -> Result<(), Refused> {
        let node = self.node(at);
        let mut hint = 0;
        let mut more = cursor.open_object()?;
        while more {
            if let Usual::Behind = self.usual(node, cursor, &mut hint) {
                more = cursor.next_member()?;
                continue;
            }
            if let Some(child) = node.next(cursor, &mut hint) {
                self.value(child, cursor, covered)?;
                more = cursor.next_member()?;
                continue;
            }
            let name = cursor.name()?;
            let plain = name.value()?;
            match node.find(&plain, &mut hint) {
                Some(child) => self.value(child, cursor, covered)?,
                None if covered => cursor.skip()?,
                None => {
                    self.scratch.path.clear();
                    self.scratch.path.push_str(&node.path);
                    path::push_name(&mut self.scratch.path, &String::from_utf8_lossy(&plain));
                    self.scratch.extra.take(&self.scratch.path, cursor)?;
                }
            }
            more = cursor.next_member()?;
        }
        Ok(())
    }

    /// Takes members for as long as they come in the columns' order and their values in a column's usual form; whatever is
    /// different is left to the general way.
    #[inline]
    fn usual(&mut self, node: &Node, cursor: &mut Cursor<'_>, hint: &mut usize) -> Usual {
        if cursor.quoted() {
            self.usual_members::<fast::Quoted>(node, cursor, hint)
        } else {
            self.usual_members::<fast::Plain>(node, cursor, hint)
        }
    }

    fn usual_members<F: fast::Form>(
        &mut self,
        node: &Node,
        cursor: &mut Cursor<'_>,
        hint: &mut usize,
    ) -> Usual {
        let text = cursor.rest();
        let mut at = text;
        let stands = loop {
            let Some(rest) = self.usual_member::<F>(node, at, *hint) else {
                break Usual::Member;
            };
            *hint += 1;
            let Some(next) = rest.strip_prefix(b",") else {
                at = rest;
                break Usual::Behind;
            };
            at = next;
        };
        cursor.advance(text.len() - at.len());
        stands
    }

    /// What follows the member, when it is the one whose turn it is.
    #[inline]
    fn usual_member<'t, F: fast::Form>(
        &mut self,
        node: &Node,
        text: &'t [u8],
        hint: usize,
    ) -> Option<&'t [u8]> {
        let child = node.children.get(hint)?;
        let value = text.strip_prefix(F::name(child.literal.as_ref()?))?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let index = match self.node(child.node).wants()? {
            Wants::Nothing => return fast::object_id::<F>(value).map(|(_, rest)| rest),
            Wants::Leaf(index) => index,
        };
        let (word, bit) = (index / 64, 1u64 << (index % 64));
        if self.scratch.seen[word] & bit != 0 {
            return None;
        }
        let leaf = &self.level.leaves[index];
        let before = self.out.len();
        self.out.extend_from_slice(&leaf.prefix);
        let Some(rest) = fast::column::<F>(value, &leaf.ty, self.out) else {
            self.out.truncate(before);
            return None;
        };
        self.scratch.seen[word] |= bit;
        self.span(index, before);
        Some(rest)
    }

    fn array(&mut self, at: usize, cursor: &mut Cursor<'_>, covered: bool) -> Result<(), Refused> {
        let node = self.node(at);
        let mut index = 0;
        let mut more = cursor.open_array()?;
        while more {
            match node.elements.iter().find(|(i, _)| *i == index) {
                Some((_, element)) => self.value(*element, cursor, covered)?,
                None if covered => cursor.skip()?,
                None => {
                    self.scratch.path.clear();
                    self.scratch.path.push_str(&node.path);
                    path::push_index(&mut self.scratch.path, index);
                    self.scratch.extra.take(&self.scratch.path, cursor)?;
                }
            }
            more = cursor.next_element()?;
            index += 1;
        }
        Ok(())
    }

    /// A value that some path leads to or through.
    pub(super) fn value(&mut self, at: usize, cursor: &mut Cursor<'_>, covered: bool) -> Result<(), Refused> {
        let node = self.node(at);
        if node.ignore {
            return match fast::skip_object_id(cursor) {
                Some(()) => Ok(()),
                None => Ok(cursor.skip()?),
            };
        }
        cursor.peek()?;
        let start = cursor.at();
        let mut covered = covered;
        if node.explode {
            cursor.skip()?;
            self.scratch.exploded = Some((start, cursor.at()));
            covered = true;
        }
        for leaf in &node.leaves {
            cursor.seek(start);
            covered |= self.leaf(*leaf, node, cursor)?;
        }
        if node.is_leaf() {
            return match node.leaves.is_empty() && !node.explode {
                // The root of an element that no column reads into.
                true if covered => Ok(cursor.skip()?),
                true => Ok(self.scratch.extra.take(&node.path, cursor)?),
                false => Ok(()),
            };
        }
        cursor.seek(start);
        match cursor.kind()? {
            // An empty one has no parts to keep, but is not the same as none at all.
            Kind::Object if !node.children.is_empty() && cursor.clone().open_object()? => {
                self.object(at, cursor, covered)
            }
            Kind::Array if !node.elements.is_empty() && cursor.clone().open_array()? => {
                self.array(at, cursor, covered)
            }
            _ if covered => Ok(cursor.skip()?),
            _ => Ok(self.scratch.extra.take(&node.path, cursor)?),
        }
    }

    /// Writes one column. Consumes the value; `true` when the column (or `_extra`) holds it.
    fn leaf(&mut self, index: usize, node: &Node, cursor: &mut Cursor<'_>) -> Result<bool, Refused> {
        let leaf = &self.level.leaves[index];
        let start = cursor.at();
        let (word, bit) = (index / 64, 1u64 << (index % 64));
        if self.scratch.seen[word] & bit != 0 {
            // BSON allows a name twice; the column has the first, `_extra` the second.
            self.scratch.extra.take(&node.path, cursor)?;
            return Ok(true);
        }
        let before = self.out.len();
        self.out.extend_from_slice(&leaf.prefix);
        let converted = match fast::convert(cursor, &leaf.ty, self.out) {
            Some(()) => Converted::Written,
            None => convert::convert(cursor, &leaf.ty, self.out)?,
        };
        match converted {
            Converted::Written => {
                self.scratch.seen[word] |= bit;
                self.span(index, before);
                return Ok(true);
            }
            Converted::Null => {
                self.out.truncate(before);
                return Ok(true);
            }
            Converted::Unfit => self.out.truncate(before),
        }
        cursor.seek(start);
        let keep = match leaf.on_error {
            OnError::Overflow => true,
            OnError::SetNull => false,
            OnError::Reject => {
                return Err(Refused::Reject {
                    column: leaf.name.clone(),
                    path: node.path.clone(),
                    found: bson::read(cursor)?.type_name(),
                    ty: leaf.ty.to_string(),
                });
            }
        };
        // The default is for an absent or null value; what did not fit is NULL.
        leaf.unfit.write(&leaf.name, self.out)?;
        self.scratch.seen[word] |= bit;
        self.span(index, before);
        if keep {
            self.shaped.overflowed += 1;
            self.scratch.extra.take(&node.path, cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(true)
    }
}
