//! Rules as they are written: the tree of a parsed rule, and its text again.

use std::cmp::Ordering;
use std::fmt;

use super::schema::Scope;

/// A part of a rule. Two parts are equal if they say the same, wherever they stand.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// Where it begins, in bytes.
    pub(super) at: usize,
    /// Of the tree below, this node included.
    pub(super) depth: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeKind {
    Number(f64),
    Bool(bool),
    Text(String),
    /// Of numbers or of texts; never empty.
    List(Vec<Node>),
    Column(Scope, String),
    Now,
    Negate(Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    Has(Box<Node>, Box<Node>),
    IsMissing(Box<Node>),
    Not(Box<Node>),
    /// Two or more.
    And(Vec<Node>),
    /// Two or more.
    Or(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Default,
    AgeDays,
}

impl Arithmetic {
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

impl Comparison {
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether it holds of two values that are there. NaN stands for a missing number: nothing holds of it, not
    /// even that it is another.
    #[inline]
    pub(super) fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left.partial_cmp(&right).is_some_and(Ordering::is_ne),
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Function {
    pub(super) const ALL: [Self; 2] = [Self::Default, Self::AgeDays];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AgeDays => "age_days",
        }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Node {
    pub(super) fn new(kind: NodeKind, at: usize) -> Self {
        let depth = 1 + match &kind {
            NodeKind::Number(_)
            | NodeKind::Bool(_)
            | NodeKind::Text(_)
            | NodeKind::Column(..)
            | NodeKind::Now => 0,
            NodeKind::Negate(one) | NodeKind::IsMissing(one) | NodeKind::Not(one) => one.depth,
            NodeKind::Arithmetic(_, left, right)
            | NodeKind::Compare(_, left, right)
            | NodeKind::In(left, right)
            | NodeKind::Has(left, right) => left.depth.max(right.depth),
            NodeKind::List(nodes)
            | NodeKind::Call(_, nodes)
            | NodeKind::And(nodes)
            | NodeKind::Or(nodes) => nodes.iter().map(|node| node.depth).max().unwrap_or(0),
        };
        Self { kind, at, depth }
    }

    fn strength(&self) -> Strength {
        match &self.kind {
            NodeKind::Or(_) => Strength::Or,
            NodeKind::And(_) => Strength::And,
            NodeKind::Not(_) => Strength::Not,
            NodeKind::Compare(..)
            | NodeKind::In(..)
            | NodeKind::Has(..)
            | NodeKind::IsMissing(_) => Strength::Compare,
            NodeKind::Arithmetic(Arithmetic::Add | Arithmetic::Subtract, ..) => Strength::Sum,
            NodeKind::Arithmetic(..) => Strength::Product,
            NodeKind::Negate(_) => Strength::Sign,
            _ => Strength::Whole,
        }
    }

    /// Writes it in parentheses if it binds less than the place asks for.
    fn write(&self, f: &mut fmt::Formatter<'_>, least: Strength) -> fmt::Result {
        if self.strength() < least {
            f.write_str("(")?;
            self.write_bare(f)?;
            return f.write_str(")");
        }
        self.write_bare(f)
    }

    fn write_bare(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Number(number) => write_number(f, *number),
            NodeKind::Bool(is) => write!(f, "{is}"),
            NodeKind::Text(text) => write_text(f, text),
            NodeKind::List(nodes) => {
                f.write_str("[")?;
                write_joined(f, nodes, ", ", Strength::Whole)?;
                f.write_str("]")
            }
            NodeKind::Column(scope, name) => write_column(f, *scope, name),
            NodeKind::Now => f.write_str("now"),
            NodeKind::Negate(one) => {
                f.write_str("-")?;
                // "-5" is the number -5, "-(5)" is 5 negated.
                let is_number = matches!(one.kind, NodeKind::Number(n) if n.is_sign_positive());
                one.write(f, if is_number { Strength::Never } else { Strength::Sign })
            }
            NodeKind::Arithmetic(operation, left, right) => {
                // From left to right: what stands right must bind more.
                let (own, above) = match operation {
                    Arithmetic::Add | Arithmetic::Subtract => (Strength::Sum, Strength::Product),
                    Arithmetic::Multiply | Arithmetic::Divide => {
                        (Strength::Product, Strength::Sign)
                    }
                };
                left.write(f, own)?;
                write!(f, " {} ", operation.sign())?;
                right.write(f, above)
            }
            NodeKind::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                write_joined(f, arguments, ", ", Strength::Or)?;
                f.write_str(")")
            }
            NodeKind::Compare(comparison, left, right) => {
                write_pair(f, left, comparison.sign(), right)
            }
            NodeKind::In(left, right) => write_pair(f, left, "in", right),
            NodeKind::Has(left, right) => write_pair(f, left, "has", right),
            NodeKind::IsMissing(one) => {
                one.write(f, Strength::Sum)?;
                f.write_str(" is missing")
            }
            NodeKind::Not(one) => {
                f.write_str("not ")?;
                one.write(f, Strength::Not)
            }
            NodeKind::And(nodes) => write_joined(f, nodes, " and ", Strength::Not),
            NodeKind::Or(nodes) => write_joined(f, nodes, " or ", Strength::And),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Strength::Or)
    }
}

/// How much a part binds, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Sign,
    Whole,
    /// More than anything: always in parentheses.
    Never,
}

fn write_pair(f: &mut fmt::Formatter<'_>, left: &Node, sign: &str, right: &Node) -> fmt::Result {
    left.write(f, Strength::Sum)?;
    write!(f, " {sign} ")?;
    right.write(f, Strength::Sum)
}

fn write_joined(
    f: &mut fmt::Formatter<'_>,
    nodes: &[Node],
    between: &str,
    least: Strength,
) -> fmt::Result {
    for (place, node) in nodes.iter().enumerate() {
        if place > 0 {
            f.write_str(between)?;
        }
        node.write(f, least)?;
    }
    Ok(())
}

fn write_number(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    // Both are the shortest text that reads back as the same number.
    if number == 0.0 || (1e-5..1e15).contains(&number.abs()) {
        write!(f, "{number}")
    } else {
        write!(f, "{number:e}")
    }
}

pub(super) fn write_text(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_str("\"")
}

/// `item.price`, or `item["Größe (cm)"]` where the name is not a word.
pub(super) fn write_column(f: &mut impl fmt::Write, scope: Scope, name: &str) -> fmt::Result {
    if is_word(name) {
        return write!(f, "{scope}.{name}");
    }
    write!(f, "{scope}[")?;
    write_text(f, name)?;
    f.write_str("]")
}

/// Whether a name can stand without quotes.
fn is_word(name: &str) -> bool {
    name.starts_with(begins_word) && name.chars().all(continues_word)
}

pub(super) fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
