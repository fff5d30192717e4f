//! From the text of a rule to its tree.
//!
//! ```text
//! boost      = "boost" number "if" or
//! or         = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | comparison
//! comparison = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum
//!                  | ["not"] "in" sum | "has" sum | "is" ["not"] "missing" ]
//! sum        = product { ("+" | "-") product }
//! product    = signed { ("*" | "/") signed }
//! signed     = "-" signed | whole
//! whole      = number | text | "true" | "false" | "now" | column | function "(" or { "," or } ")"
//!            | "[" constant { "," constant } "]" | "(" or ")"
//! column     = ("item" | "user" | "context") ("." word | "[" text "]")
//! ```

use super::error::{RuleError, RuleErrorKind};
use super::lexer::{Token, tokens};
use super::schema::Scope;
use super::syntax::{Arithmetic, Comparison, Function, Node, NodeKind};
use super::{MAX_DEPTH, MAX_RULE_BYTES};
use crate::catalog::{FIELDS, nearest};

const WORDS: [&str; 12] = [
    "and",
    "or",
    "not",
    "in",
    "has",
    "is missing",
    "true",
    "false",
    "now",
    "item",
    "user",
    "context",
];

/// Reads a condition.
pub(super) fn parse_condition(source: &str) -> Result<Node, RuleError> {
    let mut parser = Parser::new(source)?;
    let node = parser.or()?;
    parser.end()?;
    Ok(node)
}

/// Reads `boost FACTOR if CONDITION`; the factor is finite and above 0.
pub(super) fn parse_boost(source: &str) -> Result<(f64, Node), RuleError> {
    let mut parser = Parser::new(source)?;
    parser.expect_word("boost", "\"boost\", as in: boost 1.2 if item.margin > 0.3")?;
    let at = parser.at();
    let is_negative = parser.take_sign("-");
    let Token::Number(number) = *parser.token() else {
        return Err(parser.unexpected("the factor of the boost, such as 1.2"));
    };
    parser.next();
    let factor = if is_negative { -number } else { number };
    if factor <= 0.0 {
        return Err(parser.fail(RuleErrorKind::BadFactor { found: factor }, at));
    }
    parser.expect_word("if", "\"if\", as in: boost 1.2 if item.margin > 0.3")?;
    let node = parser.or()?;
    parser.end()?;
    Ok((factor, node))
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<(Token<'a>, usize)>,
    place: usize,
    /// Of parentheses, denials and signs that are open.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Result<Self, RuleError> {
        if source.len() > MAX_RULE_BYTES {
            let kind = RuleErrorKind::TooLong { n_bytes: source.len(), limit: MAX_RULE_BYTES };
            return Err(RuleError::new(kind, source, 0));
        }
        if source.trim().is_empty() {
            return Err(RuleError::new(RuleErrorKind::Empty, source, 0));
        }
        Ok(Self { source, tokens: tokens(source)?, place: 0, depth: 0 })
    }

    fn token(&self) -> &Token<'a> {
        &self.tokens[self.place].0
    }

    fn after(&self) -> &Token<'a> {
        &self.tokens[(self.place + 1).min(self.tokens.len() - 1)].0
    }

    fn at(&self) -> usize {
        self.tokens[self.place].1
    }

    /// Goes on; the end stays the end.
    fn next(&mut self) {
        self.place = (self.place + 1).min(self.tokens.len() - 1);
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.token(), Token::Word(found) if *found == word);
        if is_it {
            self.next();
        }
        is_it
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.token(), Token::Sign(found) if *found == sign);
        if is_it {
            self.next();
        }
        is_it
    }

    fn expect_word(&mut self, word: &str, expected: &'static str) -> Result<(), RuleError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn expect_sign(&mut self, sign: &str, expected: &'static str) -> Result<(), RuleError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn fail(&self, kind: RuleErrorKind, at: usize) -> RuleError {
        RuleError::new(kind, self.source, at)
    }

    fn unexpected(&self, expected: &'static str) -> RuleError {
        let hint = match self.token() {
            Token::Sign(";") => Some("write each rule on its own"),
            Token::Word("AND" | "OR" | "IN" | "HAS" | "IS" | "NOT") => {
                Some("words are written small: and, or, not, in, has, is missing")
            }
            Token::Sign("==" | "!=" | "<" | "<=" | ">" | ">=") => {
                Some("a comparison has two sides: join two comparisons by and")
            }
            _ => None,
        };
        let kind = RuleErrorKind::Unexpected { expected, found: self.token().in_words(), hint };
        self.fail(kind, self.at())
    }

    fn end(&self) -> Result<(), RuleError> {
        match self.token() {
            Token::End => Ok(()),
            _ => Err(self.unexpected("and, or, or the end of the rule")),
        }
    }

    /// A node, if its tree is not too deep: whatever walks trees later needs no limit of its own.
    fn node(&self, kind: NodeKind, at: usize) -> Result<Node, RuleError> {
        let node = Node::new(kind, at);
        if node.depth > MAX_DEPTH {
            return Err(self.fail(RuleErrorKind::TooDeep { limit: MAX_DEPTH }, at));
        }
        Ok(node)
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, RuleError>,
    ) -> Result<T, RuleError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(RuleErrorKind::TooDeep { limit: MAX_DEPTH }, self.at()));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn or(&mut self) -> Result<Node, RuleError> {
        self.joined("or", Self::and, NodeKind::Or)
    }

    fn and(&mut self) -> Result<Node, RuleError> {
        self.joined("and", Self::not, NodeKind::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: impl Fn(&mut Self) -> Result<Node, RuleError>,
        join: impl FnOnce(Vec<Node>) -> NodeKind,
    ) -> Result<Node, RuleError> {
        let at = self.at();
        let first = part(self)?;
        if !matches!(self.token(), Token::Word(found) if *found == word) {
            return Ok(first);
        }
        let mut nodes = vec![first];
        while self.take_word(word) {
            nodes.push(part(self)?);
        }
        self.node(join(nodes), at)
    }

    fn not(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        if self.take_word("not") {
            let denied = self.deeper(Self::not)?;
            return self.node(NodeKind::Not(denied.into()), at);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        let left = self.sum()?;
        let comparison = match self.token() {
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::NotEqual,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            Token::Word("in" | "has" | "is" | "not") => return self.word_comparison(left, at),
            _ => return Ok(left),
        };
        self.next();
        let right = self.sum()?;
        self.node(NodeKind::Compare(comparison, left.into(), right.into()), at)
    }

    fn word_comparison(&mut self, left: Node, at: usize) -> Result<Node, RuleError> {
        if self.take_word("has") {
            let right = self.sum()?;
            return self.node(NodeKind::Has(left.into(), right.into()), at);
        }
        if self.take_word("is") {
            let is_denied = self.take_word("not");
            self.expect_word("missing", "\"missing\" or \"not missing\"")?;
            let node = self.node(NodeKind::IsMissing(left.into()), at)?;
            return self.denied(node, is_denied);
        }
        let is_denied = self.take_word("not");
        self.expect_word("in", "\"in\"")?;
        let right = self.sum()?;
        let node = self.node(NodeKind::In(left.into(), right.into()), at)?;
        self.denied(node, is_denied)
    }

    fn denied(&self, node: Node, is_denied: bool) -> Result<Node, RuleError> {
        let at = node.at;
        if is_denied { self.node(NodeKind::Not(node.into()), at) } else { Ok(node) }
    }

    fn sum(&mut self) -> Result<Node, RuleError> {
        let operation = |token: &Token<'_>| match token {
            Token::Sign("+") => Some(Arithmetic::Add),
            Token::Sign("-") => Some(Arithmetic::Subtract),
            _ => None,
        };
        self.chain(operation, Self::product)
    }

    fn product(&mut self) -> Result<Node, RuleError> {
        let operation = |token: &Token<'_>| match token {
            Token::Sign("*") => Some(Arithmetic::Multiply),
            Token::Sign("/") => Some(Arithmetic::Divide),
            _ => None,
        };
        self.chain(operation, Self::signed)
    }

    /// From left to right.
    fn chain(
        &mut self,
        operation: impl Fn(&Token<'_>) -> Option<Arithmetic>,
        part: impl Fn(&mut Self) -> Result<Node, RuleError>,
    ) -> Result<Node, RuleError> {
        let at = self.at();
        let mut left = part(self)?;
        while let Some(operation) = operation(self.token()) {
            self.next();
            let right = part(self)?;
            left = self.node(NodeKind::Arithmetic(operation, left.into(), right.into()), at)?;
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        if !self.take_sign("-") {
            return self.whole();
        }
        if let Token::Number(number) = *self.token() {
            self.next();
            return self.node(NodeKind::Number(-number), at);
        }
        let negated = self.deeper(Self::signed)?;
        self.node(NodeKind::Negate(negated.into()), at)
    }

    fn whole(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        match self.token().clone() {
            Token::Word(word) => self.word(word, at),
            Token::Sign("(") => {
                self.next();
                let inside = self.deeper(Self::or)?;
                self.expect_sign(")", "\")\"")?;
                Ok(inside)
            }
            Token::Sign("[") => self.list(),
            Token::Number(_) | Token::Text(_) => self.constant(),
            _ => Err(self.unexpected("a column, a value, not or a parenthesis")),
        }
    }

    fn word(&mut self, word: &'a str, at: usize) -> Result<Node, RuleError> {
        match word {
            "true" | "false" => return self.constant(),
            "now" => {
                self.next();
                return self.node(NodeKind::Now, at);
            }
            _ => {}
        }
        if let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.as_str() == word) {
            self.next();
            return self.column(scope, at);
        }
        if let Some(function) = Function::ALL.into_iter().find(|f| f.name() == word) {
            self.next();
            return self.call(function, at);
        }
        let is_call = matches!(self.after(), Token::Sign("("));
        let functions = Function::ALL.map(Function::name);
        let known: &[&str] = if is_call { &functions } else { &WORDS };
        let nearest = match word {
            "null" | "none" | "nil" | "NULL" | "None" => Some("is missing".into()),
            "AND" | "OR" | "NOT" | "IN" | "True" | "False" => Some(word.to_lowercase()),
            _ if FIELDS.iter().any(|(field, _)| *field == word) => Some(format!("item.{word}")),
            _ => nearest(word, known.iter().copied()),
        };
        Err(self.fail(RuleErrorKind::UnknownWord { found: word.into(), nearest }, at))
    }

    fn column(&mut self, scope: Scope, at: usize) -> Result<Node, RuleError> {
        let name = if self.take_sign(".") {
            match *self.token() {
                Token::Word(name) => name.to_owned(),
                _ => return Err(self.unexpected("the name of a column")),
            }
        } else {
            self.expect_sign("[", "\".\" and the name of a column, as in item.price")?;
            match self.token() {
                Token::Text(name) => name.clone(),
                _ => return Err(self.unexpected("the name of a column in quotes")),
            }
        };
        let is_quoted = matches!(self.token(), Token::Text(_));
        self.next();
        if is_quoted {
            self.expect_sign("]", "\"]\"")?;
        }
        self.node(NodeKind::Column(scope, name), at)
    }

    fn call(&mut self, function: Function, at: usize) -> Result<Node, RuleError> {
        self.expect_sign("(", "\"(\" and what the function is asked about")?;
        let arguments = self.separated(")", "\",\" or \")\"", |parser| parser.deeper(Self::or))?;
        self.node(NodeKind::Call(function, arguments), at)
    }

    fn list(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        self.next();
        let constants = self.separated("]", "\",\" or \"]\"", Self::constant)?;
        self.node(NodeKind::List(constants), at)
    }

    /// One or more, with commas, up to the closing sign.
    fn separated(
        &mut self,
        close: &str,
        expected: &'static str,
        part: impl Fn(&mut Self) -> Result<Node, RuleError>,
    ) -> Result<Vec<Node>, RuleError> {
        let mut nodes = vec![part(self)?];
        while !self.take_sign(close) {
            self.expect_sign(",", expected)?;
            nodes.push(part(self)?);
        }
        Ok(nodes)
    }

    fn constant(&mut self) -> Result<Node, RuleError> {
        let at = self.at();
        let is_negative = self.take_sign("-");
        let kind = match (self.token(), is_negative) {
            (Token::Number(number), true) => NodeKind::Number(-number),
            (Token::Number(number), false) => NodeKind::Number(*number),
            (Token::Text(text), false) => NodeKind::Text(text.clone()),
            (Token::Word("true"), false) => NodeKind::Bool(true),
            (Token::Word("false"), false) => NodeKind::Bool(false),
            _ => return Err(self.unexpected("a number or a text in quotes")),
        };
        self.next();
        self.node(kind, at)
    }
}
