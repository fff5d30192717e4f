//! Types: from the tree of a rule to one in which every column exists and every operation fits.

use super::error::{RuleError, RuleErrorKind};
use super::schema::{Schema, Scope};
use super::syntax::{Comparison, Function, Node, NodeKind, write_column};
use super::typed::{Typed, TypedKind};
use super::value::Value;
use crate::catalog::{ColumnType, nearest, time};

/// Checks a rule against a schema.
pub(super) struct Checker<'a> {
    pub(super) schema: &'a Schema,
    /// For errors.
    pub(super) source: &'a str,
}

impl Checker<'_> {
    /// A part that must be true or false.
    pub(super) fn condition(&self, node: &Node) -> Result<Typed, RuleError> {
        let typed = self.check(node)?;
        if typed.column_type == ColumnType::Bool {
            return Ok(typed);
        }
        let hint = match typed.column_type {
            ColumnType::Number => "compare it: item.price < 100",
            ColumnType::Text => "compare it: item.brand == \"Acme\"",
            ColumnType::Texts => "ask what it has: item.tags has \"sale\"",
            ColumnType::Path => "ask what it has: item.category has \"Books\"",
            ColumnType::Time => "compare it: item.published_at > \"2026-01-01\"",
            ColumnType::Bool => "",
        };
        Err(self.wrong_type(node, "a condition", &typed, hint))
    }

    fn fail(&self, kind: RuleErrorKind, node: &Node) -> RuleError {
        RuleError::new(kind, self.source, node.at)
    }

    fn wrong_type(
        &self,
        node: &Node,
        expected: &'static str,
        typed: &Typed,
        hint: &'static str,
    ) -> RuleError {
        let found = typed.column_type.in_words();
        self.fail(RuleErrorKind::Type { expected, found, hint }, node)
    }

    fn check(&self, node: &Node) -> Result<Typed, RuleError> {
        let conditions = |nodes: &[Node]| {
            nodes.iter().map(|node| self.condition(node)).collect::<Result<_, _>>()
        };
        let constant = |value: Value| Typed::new(value.value_type(), TypedKind::Constant(value));
        Ok(match &node.kind {
            NodeKind::Number(number) => constant(Value::Number(*number)),
            NodeKind::Bool(is) => constant(Value::Bool(*is)),
            NodeKind::Text(text) => constant(Value::Text(text.clone())),
            NodeKind::List(nodes) => constant(Value::Texts(self.texts(nodes)?)),
            NodeKind::Column(scope, name) => self.column(*scope, name, node)?,
            NodeKind::Now => Typed::new(ColumnType::Time, TypedKind::Now),
            NodeKind::Negate(one) => {
                Typed::new(ColumnType::Number, TypedKind::Negate(self.number(one)?.into()))
            }
            NodeKind::Arithmetic(operation, left, right) => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                let kind = TypedKind::Arithmetic(*operation, left.into(), right.into());
                Typed::new(ColumnType::Number, kind)
            }
            NodeKind::Call(function, arguments) => self.call(*function, arguments, node)?,
            NodeKind::Compare(comparison, left, right) => self.compare(*comparison, left, right)?,
            NodeKind::In(one, list) => self.is_in(one, list)?,
            NodeKind::Has(list, one) => self.has(list, one)?,
            NodeKind::IsMissing(one) => Typed::bool(TypedKind::IsMissing(self.check(one)?.into())),
            NodeKind::Not(one) => Typed::bool(TypedKind::Not(self.condition(one)?.into())),
            NodeKind::And(nodes) => Typed::bool(TypedKind::And(conditions(nodes)?)),
            NodeKind::Or(nodes) => Typed::bool(TypedKind::Or(conditions(nodes)?)),
        })
    }

    fn column(&self, scope: Scope, name: &str, node: &Node) -> Result<Typed, RuleError> {
        if let Some(column_type) = self.schema.column_type(scope, name) {
            return Ok(Typed::new(column_type, TypedKind::Column(scope, name.into())));
        }
        let written = |scope: Scope, name: &str| {
            let mut written = String::new();
            write_column(&mut written, scope, name).map(|()| written).ok()
        };
        // The same name of somebody else is nearer than another name.
        let elsewhere =
            Scope::ALL.into_iter().find(|s| self.schema.column_type(*s, name).is_some());
        let nearest = match elsewhere {
            Some(scope) => written(scope, name),
            None => nearest(name, self.schema.names(scope)).and_then(|name| written(scope, &name)),
        };
        Err(self.fail(RuleErrorKind::UnknownColumn { scope, name: name.into(), nearest }, node))
    }

    fn number(&self, node: &Node) -> Result<Typed, RuleError> {
        let typed = self.check(node)?;
        let hint = match typed.column_type {
            ColumnType::Number => return Ok(typed),
            ColumnType::Time => "age_days(item.published_at) is a number of days",
            ColumnType::Text => "a number stands without quotes: 100",
            _ => "only numbers are added, subtracted, multiplied and divided",
        };
        Err(self.wrong_type(node, "a number", &typed, hint))
    }

    /// A time; a text that writes one becomes one.
    fn time(&self, node: &Node) -> Result<Typed, RuleError> {
        if let NodeKind::Text(text) = &node.kind {
            let bad = || self.fail(RuleErrorKind::BadTime { found: text.clone() }, node);
            let time_ms = time::of_text(text).ok_or_else(bad)?;
            return Ok(Typed::new(ColumnType::Time, TypedKind::Constant(Value::Time(time_ms))));
        }
        let typed = self.check(node)?;
        if typed.column_type == ColumnType::Time {
            return Ok(typed);
        }
        let hint = "write now, a time such as item.published_at, or \"2026-05-01\"";
        Err(self.wrong_type(node, "a time", &typed, hint))
    }

    fn call(
        &self,
        function: Function,
        arguments: &[Node],
        node: &Node,
    ) -> Result<Typed, RuleError> {
        let wrong = |expected: &'static str| {
            let (function, found) = (function.name(), arguments.len());
            self.fail(RuleErrorKind::Arguments { function, expected, found }, node)
        };
        match function {
            Function::AgeDays => {
                let [time] = arguments else { return Err(wrong("one time")) };
                let time = self.time(time)?;
                Ok(Typed::new(ColumnType::Number, TypedKind::AgeDays(time.into())))
            }
            Function::Default => {
                let [one, other] = arguments else {
                    return Err(wrong("a column and what stands for it where it is missing"));
                };
                let typed = self.check(one)?;
                let other = match typed.column_type {
                    ColumnType::Time => self.time(other)?,
                    ColumnType::Texts | ColumnType::Path => {
                        let hint = "a list that is missing has nothing; ask is missing";
                        return Err(self.wrong_type(one, "a single value", &typed, hint));
                    }
                    column_type => self.of_type(other, column_type)?,
                };
                let column_type = typed.column_type;
                Ok(Typed::new(column_type, TypedKind::Default(typed.into(), other.into())))
            }
        }
    }

    /// A part of the type of the other side.
    fn of_type(&self, node: &Node, column_type: ColumnType) -> Result<Typed, RuleError> {
        let typed = self.check(node)?;
        if typed.column_type == column_type {
            return Ok(typed);
        }
        let hint = match (column_type, typed.column_type) {
            (ColumnType::Number, ColumnType::Text) => "a number stands without quotes: 100",
            (ColumnType::Text, ColumnType::Number) => "a text stands in quotes: \"100\"",
            (ColumnType::Bool, _) => "write true or false, or the column alone: item.in_stock",
            (_, ColumnType::Texts | ColumnType::Path) => {
                "ask what a list has: item.tags has \"sale\""
            }
            (_, ColumnType::Time) => "times are compared with times: now, or \"2026-05-01\"",
            _ => "both sides must be of one type",
        };
        Err(self.wrong_type(node, column_type.in_words(), &typed, hint))
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: &Node,
        right: &Node,
    ) -> Result<Typed, RuleError> {
        let (mut one, mut other) = (self.check(left)?, self.check(right)?);
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        match (one.column_type, other.column_type) {
            (ColumnType::Time, _) => other = self.time(right)?,
            (_, ColumnType::Time) => one = self.time(left)?,
            (ColumnType::Number, ColumnType::Number) => {}
            (ColumnType::Path, ColumnType::Text) if is_equality => {
                return Ok(path_is(one, other, comparison));
            }
            (ColumnType::Text, ColumnType::Path) if is_equality => {
                return Ok(path_is(other, one, comparison));
            }
            (ColumnType::Texts | ColumnType::Path, _) => {
                let hint = "ask what a list has: item.tags has \"sale\"";
                return Err(self.wrong_type(left, "a single value", &one, hint));
            }
            (_, ColumnType::Texts | ColumnType::Path) => {
                let hint = "ask whether it is in the list: item.brand in [\"Acme\", \"Bolt\"]";
                return Err(self.wrong_type(right, "a single value", &other, hint));
            }
            (ColumnType::Text | ColumnType::Bool, _) if !is_equality => {
                let hint = "texts, true and false have no order: use == or !=";
                return Err(self.wrong_type(left, "a number or a time", &one, hint));
            }
            (column_type, _) => other = self.of_type(right, column_type)?,
        }
        Ok(Typed::bool(TypedKind::Compare(comparison, one.into(), other.into())))
    }

    fn is_in(&self, one: &Node, list: &Node) -> Result<Typed, RuleError> {
        if let NodeKind::List(nodes) = &list.kind
            && nodes.iter().any(|node| matches!(node.kind, NodeKind::Number(_)))
        {
            let number = self.of_type(one, ColumnType::Number)?;
            return Ok(Typed::bool(TypedKind::OneOf(number.into(), self.numbers(nodes)?)));
        }
        let in_list = self.check(list)?;
        match in_list.column_type {
            ColumnType::Texts | ColumnType::Path => self.share(one, list),
            _ => {
                let hint = "write a list: item.brand in [\"Acme\", \"Bolt\"]";
                Err(self.wrong_type(list, "a list", &in_list, hint))
            }
        }
    }

    fn has(&self, list: &Node, one: &Node) -> Result<Typed, RuleError> {
        let typed = self.check(list)?;
        match typed.column_type {
            ColumnType::Texts | ColumnType::Path => self.share(list, one),
            _ => {
                let hint = "only lists have something: item.tags has \"sale\"; \
                            a single value is compared: item.brand == \"Acme\"";
                Err(self.wrong_type(list, "a list of texts", &typed, hint))
            }
        }
    }

    /// Whether two of a text, a list or a path have something in common.
    fn share(&self, left: &Node, right: &Node) -> Result<Typed, RuleError> {
        let sides = [(left, self.check(left)?), (right, self.check(right)?)];
        for (node, typed) in &sides {
            use ColumnType::{Path, Text, Texts};
            if !matches!(typed.column_type, Text | Texts | Path) {
                let hint = "lists hold texts, in quotes: [\"Acme\", \"Bolt\"]";
                return Err(self.wrong_type(node, "a text", typed, hint));
            }
        }
        let [(_, one), (_, other)] = sides;
        let kind = match (one.column_type, other.column_type) {
            (ColumnType::Path, ColumnType::Path) => {
                let hint = "compare a path with texts: item.category in [\"Books\", \"Toys\"]";
                return Err(self.wrong_type(right, "a text or a list of texts", &other, hint));
            }
            (ColumnType::Path, _) => TypedKind::PathHas { path: one.into(), texts: other.into() },
            (_, ColumnType::Path) => TypedKind::PathHas { path: other.into(), texts: one.into() },
            _ => TypedKind::Share(one.into(), other.into()),
        };
        Ok(Typed::bool(kind))
    }

    fn numbers(&self, nodes: &[Node]) -> Result<Vec<f64>, RuleError> {
        let number = |node: &Node| match node.kind {
            NodeKind::Number(number) => Ok(number),
            _ => self.of_type(node, ColumnType::Number).map(|_| f64::NAN),
        };
        nodes.iter().map(number).collect()
    }

    fn texts(&self, nodes: &[Node]) -> Result<Vec<String>, RuleError> {
        let text = |node: &Node| match &node.kind {
            NodeKind::Text(text) => Ok(text.clone()),
            _ => self.of_type(node, ColumnType::Text).map(|_| String::new()),
        };
        nodes.iter().map(text).collect()
    }
}

fn path_is(path: Typed, text: Typed, comparison: Comparison) -> Typed {
    let is_denied = comparison == Comparison::NotEqual;
    Typed::bool(TypedKind::PathIs { path: path.into(), text: text.into(), is_denied })
}
