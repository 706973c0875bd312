//! ALTER TABLE.

use super::ast::*;
use super::lex::{Cursor, SyntaxError};
use super::parse_table::{column, column_type, distribution, index, object_name, properties};

pub fn alter_table(c: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let name = object_name(c)?;
    let mut clauses = vec![alter_clause(c)?];
    while c.take_symbol(",") {
        clauses.push(alter_clause(c)?);
    }
    if c.take("PROPERTIES") {
        let timeout = properties(c)?.remove("timeout").and_then(|t| t.parse().ok());
        clauses.push(timeout.map(AlterClause::Timeout).into_iter().collect());
    }
    Ok(Statement::AlterTable {
        name,
        clauses: clauses.into_iter().flatten().collect(),
    })
}

/// One clause; `ADD COLUMN (a …, b …)` is several.
fn alter_clause(c: &mut Cursor<'_>) -> Result<Vec<AlterClause>, SyntaxError> {
    if c.take("ADD COLUMN") {
        if c.at_symbol("(") {
            let columns = c.list(column)?;
            return Ok(columns
                .into_iter()
                .map(|column| AlterClause::AddColumn {
                    column,
                    position: None,
                })
                .collect());
        }
        let column = column(c)?;
        return Ok(vec![AlterClause::AddColumn {
            column,
            position: position(c)?,
        }]);
    }
    Ok(vec![if c.take("DROP COLUMN") {
        AlterClause::DropColumn(c.identifier()?)
    } else if c.take("MODIFY COLUMN") {
        modify(c)?
    } else if c.take("RENAME COLUMN") {
        let from = c.identifier()?;
        c.expect("TO")?;
        AlterClause::RenameColumn {
            from,
            to: c.identifier()?,
        }
    } else if c.take("RENAME") {
        AlterClause::RenameTable(c.identifier()?)
    } else if c.take("SWAP WITH") {
        AlterClause::SwapWith(c.identifier()?)
    } else if c.take("COMMENT") {
        c.expect_symbol("=")?;
        AlterClause::Comment(c.text()?)
    } else if c.take("SET") {
        AlterClause::SetProperties(properties(c)?)
    } else {
        heavy(c)?
    }])
}

fn modify(c: &mut Cursor<'_>) -> Result<AlterClause, SyntaxError> {
    let at = c.position();
    let name = c.identifier()?;
    if c.take("COMMENT") {
        return Ok(AlterClause::ModifyComment {
            column: name,
            comment: c.text()?,
        });
    }
    if c.take("ADD FIELD") {
        field_path(c)?;
        column_type(c)?;
        position(c)?;
        return Ok(AlterClause::Unsupported("MODIFY COLUMN ... ADD FIELD"));
    }
    if c.take("DROP FIELD") {
        field_path(c)?;
        return Ok(AlterClause::Unsupported("MODIFY COLUMN ... DROP FIELD"));
    }
    c.rewind(at);
    let column = column(c)?;
    Ok(AlterClause::ModifyColumn {
        column,
        position: position(c)?,
    })
}

/// `a.[*].b`
fn field_path(c: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    loop {
        if c.take_symbol("[") {
            c.expect_symbol("*")?;
            c.expect_symbol("]")?;
        } else {
            c.identifier()?;
        }
        if !c.take_symbol(".") {
            return Ok(());
        }
    }
}

fn position(c: &mut Cursor<'_>) -> Result<Option<Position>, SyntaxError> {
    if c.take("FIRST") {
        return Ok(Some(Position::First));
    }
    if c.take("AFTER") {
        c.identifier().map(|name| Some(Position::After(name)))
    } else {
        Ok(None)
    }
}

/// What a later issue runs as jobs: the grammar is checked, running it is refused.
fn heavy(c: &mut Cursor<'_>) -> Result<AlterClause, SyntaxError> {
    if c.take("ORDER BY") {
        c.list(Cursor::identifier)?;
        return Ok(AlterClause::Unsupported("ALTER TABLE ... ORDER BY"));
    }
    if c.take("DISTRIBUTED BY") {
        distribution(c)?;
        return Ok(AlterClause::Unsupported("ALTER TABLE ... DISTRIBUTED BY"));
    }
    if c.at_words("ADD INDEX") {
        c.expect("ADD")?;
        index(c)?;
        return Ok(AlterClause::Unsupported("ALTER TABLE ... ADD INDEX"));
    }
    if c.take("DROP INDEX") {
        c.identifier()?;
        return Ok(AlterClause::Unsupported("ALTER TABLE ... DROP INDEX"));
    }
    for words in [
        "ADD PARTITIONS",
        "ADD PARTITION",
        "DROP PARTITIONS",
        "DROP PARTITION",
        "ADD TEMPORARY PARTITION",
    ] {
        if c.take(words) {
            while !c.at_end() && !c.at_symbol(";") {
                c.advance();
            }
            return Ok(AlterClause::Unsupported("ALTER TABLE ... PARTITION"));
        }
    }
    Err(c.unexpected("'ADD', 'DROP', 'MODIFY', 'RENAME', 'SWAP', 'SET', 'COMMENT', 'ORDER', 'DISTRIBUTED'"))
}
