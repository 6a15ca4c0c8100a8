//! The outline of a GraphQL document: which operations it defines (specification of September 2025, §2.2 to §2.4).
//!
//! Only what stands outside of all brackets is read; within brackets it is enough that they match. Depth is bounded and counted
//! in an array, so no nesting overflows the stack.

use smallvec::SmallVec;

use super::lexer::{Lexer, NoToken, Token};

/// Brackets within brackets. Queries that people write stay below twenty.
const MOST_DEPTH: usize = 256;
/// Operations of one document; one is usual.
const MOST_OPERATIONS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation<'text> {
    pub(super) kind: Kind,
    pub(super) name: Option<&'text str>,
}

/// The text is no executable document, or one beyond the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoDocument;

impl From<NoToken> for NoDocument {
    fn from(_: NoToken) -> Self {
        Self
    }
}

/// The operations a document defines, in its order. Fragments are read over.
pub(super) fn operations(text: &str) -> Result<SmallVec<[Operation<'_>; 2]>, NoDocument> {
    let mut operations = SmallVec::new();
    let mut lexer = Lexer::new(text);
    let mut described = false;
    while let Some(token) = lexer.advance()? {
        let operation = match token {
            Token::Text if !described => {
                described = true;
                continue;
            }
            Token::Open(b'}') if !described => {
                selection(&mut lexer)?;
                Some(Operation { kind: Kind::Query, name: None })
            }
            Token::Name("query") => Some(operation(&mut lexer, Kind::Query)?),
            Token::Name("mutation") => Some(operation(&mut lexer, Kind::Mutation)?),
            Token::Name("subscription") => Some(operation(&mut lexer, Kind::Subscription)?),
            Token::Name("fragment") => {
                fragment(&mut lexer)?;
                None
            }
            _ => return Err(NoDocument),
        };
        described = false;
        operations.extend(operation);
        if operations.len() > MOST_OPERATIONS {
            return Err(NoDocument);
        }
    }
    if described { Err(NoDocument) } else { Ok(operations) }
}

/// What follows the keyword: name, variables, directives, selection set; only the last must be there.
fn operation<'text>(lexer: &mut Lexer<'text>, kind: Kind) -> Result<Operation<'text>, NoDocument> {
    let name = match lexer.peek()? {
        Some(Token::Name(name)) => {
            lexer.advance()?;
            Some(name)
        }
        _ => None,
    };
    if lexer.peek()? == Some(Token::Open(b')')) {
        lexer.advance()?;
        group(lexer, b')')?;
    }
    directives_and_selection(lexer)?;
    Ok(Operation { kind, name })
}

fn fragment(lexer: &mut Lexer<'_>) -> Result<(), NoDocument> {
    let (name, on, condition) = (lexer.advance()?, lexer.advance()?, lexer.advance()?);
    match (name, on, condition) {
        (Some(Token::Name(name)), Some(Token::Name("on")), Some(Token::Name(_))) if name != "on" => {
            directives_and_selection(lexer)
        }
        _ => Err(NoDocument),
    }
}

fn directives_and_selection(lexer: &mut Lexer<'_>) -> Result<(), NoDocument> {
    loop {
        match lexer.advance()? {
            Some(Token::Open(b'}')) => return selection(lexer),
            Some(Token::At) => {}
            _ => return Err(NoDocument),
        }
        if !matches!(lexer.advance()?, Some(Token::Name(_))) {
            return Err(NoDocument);
        }
        if lexer.peek()? == Some(Token::Open(b')')) {
            lexer.advance()?;
            group(lexer, b')')?;
        }
    }
}

/// What follows a `{`: a field or `...` is first, so that JSON is not taken for a document.
fn selection(lexer: &mut Lexer<'_>) -> Result<(), NoDocument> {
    match lexer.peek()? {
        Some(Token::Name(_) | Token::Other) => group(lexer, b'}'),
        _ => Err(NoDocument),
    }
}

/// Reads to the bracket that closes the one just read.
fn group(lexer: &mut Lexer<'_>, close: u8) -> Result<(), NoDocument> {
    let mut open = [0; MOST_DEPTH];
    open[0] = close;
    let mut depth = 1;
    while depth > 0 {
        match lexer.advance()?.ok_or(NoDocument)? {
            Token::Open(close) => {
                *open.get_mut(depth).ok_or(NoDocument)? = close;
                depth += 1;
            }
            Token::Close(close) if close == open[depth - 1] => depth -= 1,
            Token::Close(_) => return Err(NoDocument),
            Token::Name(_) | Token::Text | Token::At | Token::Other => {}
        }
    }
    Ok(())
}
