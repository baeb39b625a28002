//! Expressions (language 5.4): read and evaluated in one pass; both sides of `and` and `or` are read,
//! and mistakes count only on a side that matters.

use crate::yaml::Value;

/// A mistake in an expression: its class and what is wrong.
pub(crate) type Fault = (&'static str, String);

/// Gives the value of a dotted name.
pub(crate) trait Names {
    /// The value, or why there is none.
    fn value(&mut self, name: &str) -> Result<Value, Fault>;

    /// Whether a text as a whole matches a pattern, or what is wrong with the pattern.
    fn matches(&mut self, pattern: &str, text: &str) -> Result<bool, String>;
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Int(i64),
    Str(String),
    Regex(String),
    Name(String),
    Op(&'static str),
}

fn fault(message: impl Into<String>) -> Fault {
    ("E_EXPR", message.into())
}

fn lex(text: &str) -> Result<Vec<Token>, Fault> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied();
    let mut tokens = Vec::new();
    let mut i = 0;
    while let Some(c) = at(i) {
        let pair = (c, at(i + 1));
        let two = match pair {
            ('=', Some('=')) => Some("=="),
            ('!', Some('=')) => Some("!="),
            ('>', Some('=')) => Some(">="),
            ('<', Some('=')) => Some("<="),
            _ => None,
        };
        if c.is_whitespace() {
            i += 1;
        } else if let Some(op) = two {
            tokens.push(Token::Op(op));
            i += 2;
        } else if let Some(op) = match c {
            '>' => Some(">"),
            '<' => Some("<"),
            '!' => Some("not"),
            '(' => Some("("),
            ')' => Some(")"),
            _ => None,
        } {
            tokens.push(Token::Op(op));
            i += 1;
        } else if c == '"' || c == '/' {
            let (body, next) = quoted(&chars, i, c)?;
            tokens.push(if c == '"' {
                Token::Str(body)
            } else {
                Token::Regex(body)
            });
            i = next;
        } else if c.is_ascii_digit() || (c == '-' && pair.1.is_some_and(|d| d.is_ascii_digit())) {
            let start = i;
            i += 1;
            while at(i).is_some_and(|d| d.is_ascii_digit()) {
                i += 1;
            }
            let digits: String = chars.iter().skip(start).take(i - start).collect();
            let n = digits
                .parse()
                .map_err(|_| fault(format!("{digits} is no 64-bit integer")))?;
            tokens.push(Token::Int(n));
        } else if c.is_ascii_alphabetic() {
            let start = i;
            while at(i).is_some_and(|d| d.is_ascii_alphanumeric() || matches!(d, '_' | '-' | '.')) {
                i += 1;
            }
            let name: String = chars.iter().skip(start).take(i - start).collect();
            tokens.push(match name.as_str() {
                "and" | "AND" => Token::Op("and"),
                "or" | "OR" => Token::Op("or"),
                "not" => Token::Op("not"),
                "starts-with" => Token::Op("starts-with"),
                "contains" => Token::Op("contains"),
                "matches" => Token::Op("matches"),
                _ => Token::Name(name),
            });
        } else {
            let hint = match c {
                '&' => ": write `and`",
                '|' => ": write `or`",
                '\'' => ": strings stand in double quotes",
                _ => "",
            };
            return Err(fault(format!(
                "Expected valid identifier, found `{c}`{hint}"
            )));
        }
    }
    Ok(tokens)
}

/// Words that are no names although they look like them.
const WORDS: [&str; 10] = [
    "and",
    "AND",
    "or",
    "OR",
    "not",
    "starts-with",
    "contains",
    "matches",
    "true",
    "false",
];

/// Whether an expression is nothing but a name.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(fits)
        && !WORDS.contains(&text)
}

fn quoted(chars: &[char], start: usize, quote: char) -> Result<(String, usize), Fault> {
    let mut body = String::new();
    let mut i = start + 1;
    while let Some(c) = chars.get(i).copied() {
        if c == quote {
            return Ok((body, i + 1));
        }
        if c == '\\' {
            let next = chars.get(i + 1).copied();
            match next {
                Some(next) if next == quote || (quote == '"' && next == '\\') => body.push(next),
                Some(next) => {
                    body.push('\\');
                    body.push(next);
                }
                None => body.push('\\'),
            }
            i += 2;
        } else {
            body.push(c);
            i += 1;
        }
    }
    Err(fault(format!("a {quote} is never closed")))
}

struct Reader<'a, N> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    names: &'a mut N,
    depth: u32,
}

/// The value of an expression.
pub(crate) fn evaluate(text: &str, names: &mut impl Names) -> Result<Value, Fault> {
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Err(fault("Expected expression"));
    }
    let mut reader = Reader {
        tokens: tokens.into_iter().peekable(),
        names,
        depth: 0,
    };
    let value = reader.or()?;
    match reader.tokens.next() {
        None => value,
        Some(token) => Err(fault(format!(
            "unexpected {} after the expression",
            shown(&token)
        ))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Int(n) => n.to_string(),
        Token::Str(text) => format!("\"{text}\""),
        Token::Regex(text) => format!("/{text}/"),
        Token::Name(text) => text.clone(),
        Token::Op(op) => (*op).to_owned(),
    }
}

/// Truth in expressions: zero and the empty string are true.
pub(crate) fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false) | Value::Bad)
}

/// Outer: cannot be read. Inner: cannot be evaluated, which an unused side of `and` or `or` may.
type Read = Result<Result<Value, Fault>, Fault>;

impl<N: Names> Reader<'_, N> {
    fn take(&mut self, ops: &[&str]) -> Option<&'static str> {
        match self.tokens.peek() {
            Some(Token::Op(op)) if ops.contains(op) => {
                let op = *op;
                self.tokens.next();
                Some(op)
            }
            _ => None,
        }
    }

    fn or(&mut self) -> Read {
        let mut left = self.and()?;
        while self.take(&["or"]).is_some() {
            let right = self.and()?;
            left = match left {
                Ok(value) if truthy(&value) => Ok(value),
                Ok(_) => right,
                Err(fault) => Err(fault),
            };
        }
        Ok(left)
    }

    fn and(&mut self) -> Read {
        let mut left = self.comparison()?;
        while self.take(&["and"]).is_some() {
            let right = self.comparison()?;
            left = match left {
                Ok(value) if !truthy(&value) => Ok(value),
                Ok(_) => right,
                Err(fault) => Err(fault),
            };
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Read {
        let mut left = self.order()?;
        while let Some(op) = self.take(&["==", "!=", "starts-with", "contains", "matches"]) {
            let right = self.order()?;
            left = match (left, right) {
                (Ok(left), Ok(right)) => compare(op, &left, &right, self.names),
                (Err(fault), _) | (_, Err(fault)) => Err(fault),
            };
        }
        Ok(left)
    }

    fn order(&mut self) -> Read {
        let mut left = self.unary()?;
        while let Some(op) = self.take(&[">=", "<=", ">", "<"]) {
            let right = self.unary()?;
            left = left.and_then(|left| right.and_then(|right| order(op, &left, &right)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read {
        // Parentheses and `not` are the only ways to nest.
        self.depth += 1;
        if self.depth > 100 {
            return Err(fault("the expression is nested too deep"));
        }
        let value = match self.tokens.next() {
            Some(Token::Op("not")) => self.unary()?.map(|value| Value::Bool(!truthy(&value))),
            Some(Token::Op("(")) => {
                let value = self.or()?;
                if self.take(&[")"]).is_none() {
                    return Err(fault("a `(` is never closed"));
                }
                value
            }
            Some(Token::Int(n)) => Ok(Value::Int(n)),
            Some(Token::Str(text)) => Ok(Value::Str(text.into())),
            Some(Token::Regex(text)) if text.len() > 245 || !text.is_ascii() => {
                return Err(fault(
                    "pattern too long: a pattern holds at most 245 ASCII characters",
                ));
            }
            Some(Token::Regex(text)) => Ok(Value::Str(text.into())),
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => self.names.value(&name),
            },
            Some(token) => {
                return Err(fault(format!(
                    "Expected expression, found `{}`",
                    shown(&token)
                )));
            }
            None => return Err(fault("Expected expression at the end")),
        };
        self.depth -= 1;
        Ok(value)
    }
}

fn compare(op: &str, left: &Value, right: &Value, names: &mut impl Names) -> Result<Value, Fault> {
    if matches!(left, Value::Null | Value::Bad) || matches!(right, Value::Null | Value::Bad) {
        return Ok(Value::Null);
    }
    if left.is_large() || right.is_large() {
        return Err(fault("a list or a map this large cannot be compared"));
    }
    match (op, left.open(), right.open()) {
        ("==", _, _) => Ok(Value::Bool(left.same(right))),
        ("!=", _, _) => Ok(Value::Bool(!left.same(right))),
        ("starts-with", Value::Str(a), Value::Str(b)) => Ok(Value::Bool(a.starts_with(b.as_str()))),
        ("contains", Value::Str(a), Value::Str(b)) => Ok(Value::Bool(a.contains(b.as_str()))),
        ("matches", Value::Str(a), Value::Str(b)) => names
            .matches(b, a)
            .map(Value::Bool)
            .map_err(|why| ("E_REGEX", why)),
        _ => Err(fault(format!(
            "`{op}` compares strings, not {} and {}",
            left.kind(),
            right.kind()
        ))),
    }
}

fn order(op: &str, left: &Value, right: &Value) -> Result<Value, Fault> {
    match (left, right) {
        (Value::Null | Value::Bad, _) | (_, Value::Null | Value::Bad) => Ok(Value::Null),
        (Value::Int(a), Value::Int(b)) => Ok(Value::Bool(match op {
            ">=" => a >= b,
            "<=" => a <= b,
            ">" => a > b,
            _ => a < b,
        })),
        _ => Err(fault(format!(
            "`{op}` compares integers, not {} and {}",
            left.kind(),
            right.kind()
        ))),
    }
}
