//! `circleci env subst`: variables in a text, in the forms that shells and `envsubst` programs share.

/// How deep defaults may hold defaults.
const DEEPEST: usize = 50;

/// Puts in the variables. `find` tells the value of one that is set.
pub(crate) fn substitute(
    text: &str,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    within(text, find, 0)
}

type Find<'a> = &'a dyn Fn(&str) -> Option<String>;

fn within(text: &str, find: Find<'_>, depth: usize) -> Result<String, String> {
    if depth > DEEPEST {
        return Err(String::from("too many variables within variables"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        // `$$` is a dollar that is meant as one.
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            let (name, after) = name(after);
            out.push_str(name);
            rest = after;
            continue;
        }
        if let Some(inside) = after.strip_prefix('{') {
            let end = closing(inside).ok_or_else(|| {
                let start: String = after.chars().take(20).collect();
                format!("a closing brace is missing after ${start}")
            })?;
            let (expression, after) = inside.split_at(end);
            out.push_str(&expand(expression, find, depth)?);
            rest = after.strip_prefix('}').unwrap_or(after);
            continue;
        }
        let (name, after) = name(after);
        match name {
            "" => out.push('$'),
            name => out.push_str(&find(name).unwrap_or_default()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A name at the start of a text, and what comes after it.
fn name(text: &str) -> (&str, &str) {
    let letter = |at: usize, letter: char| {
        letter == '_' || letter.is_ascii_alphabetic() || (at > 0 && letter.is_ascii_digit())
    };
    let end = text
        .char_indices()
        .find(|(at, found)| !letter(*at, *found))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// Where the braces that are open at the start close.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut previous = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = letter;
    }
    None
}

/// What is between braces: a name and perhaps what to do with it.
fn expand(expression: &str, find: Find<'_>, depth: usize) -> Result<String, String> {
    if let Some(counted) = expression.strip_prefix('#') {
        let value = find(counted).unwrap_or_default();
        return Ok(value.chars().count().to_string());
    }
    let (name, rest) = name(expression);
    if name.is_empty() {
        return Err(format!("${{{expression}}} names no variable"));
    }
    let value = find(name);
    // With a colon an empty value is as good as none.
    let filled = value.clone().filter(|value| !value.is_empty());
    let word = |at: usize| within(rest.get(at..).unwrap_or_default(), find, depth + 1);
    let or = |value: Option<String>, at: usize| value.map_or_else(|| word(at), Ok);
    let need = |value: Option<String>, at: usize| {
        let said = word(at)?;
        value.ok_or_else(|| match said.as_str() {
            "" => format!("{name}: the variable is not set"),
            said => format!("{name}: {said}"),
        })
    };
    let mut letters = rest.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Ok(value.unwrap_or_default()),
        (Some(':'), Some('-' | '=')) => or(filled, 2),
        (Some('-' | '='), _) => or(value, 1),
        (Some(':'), Some('+')) => filled.map_or_else(|| Ok(String::new()), |_| word(2)),
        (Some('+'), _) => value.map_or_else(|| Ok(String::new()), |_| word(1)),
        (Some(':'), Some('?')) => need(filled, 2),
        (Some('?'), _) => need(value, 1),
        (Some(':'), _) => part(
            &value.unwrap_or_default(),
            rest.get(1..).unwrap_or_default(),
        )
        .ok_or_else(|| format!("${{{expression}}} has no part that is counted in numbers")),
        _ => Err(format!("${{{expression}}} is in a form that is not known")),
    }
}

/// `offset` or `offset:length` of a value; a negative offset counts from the end.
fn part(value: &str, which: &str) -> Option<String> {
    let (offset, length) = match which.split_once(':') {
        Some((offset, length)) => (offset, Some(length.trim().parse::<usize>().ok()?)),
        None => (which, None),
    };
    let count = value.chars().count();
    let offset: i64 = offset.trim().parse().ok()?;
    let back = usize::try_from(offset.unsigned_abs()).ok()?;
    let start = if offset < 0 {
        count.checked_sub(back).unwrap_or(count)
    } else {
        back
    };
    let letters = value.chars().skip(start);
    Some(match length {
        Some(length) => letters.take(length).collect(),
        None => letters.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Option<String> {
        let value = match name {
            "A" => "1",
            "E" => "",
            "LONG" => "abcdef",
            "U" => "äöü",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn every_form_gives_what_shells_give() {
        for (text, expected) in [
            ("x=$A y=${B:-d} z=$C", "x=1 y=d z="),
            ("$A$A ${A}b $A-b", "11 1b 1-b"),
            ("${B-d} ${E-d} ${E:-d} ${A:-d}", "d  d 1"),
            ("${B:=d} ${B=d} ${E:=d}", "d d d"),
            ("${A:+x} ${E:+x} ${E+x} ${B+x}", "x  x "),
            ("${A:?no} ${E?no}", "1 "),
            ("${#LONG} ${#B} ${#U}", "6 0 3"),
            (
                "${LONG:2} ${LONG:1:3} ${LONG:9} ${LONG: -2} ${U:1:1}",
                "cdef bcd  ef ö",
            ),
            ("${B:-${A}} ${B:-$LONG-${C:-x}}", "1 abcdef-x"),
            ("$$A $$ $${A}", "$A $ ${A}"),
            ("100% $ 5$, $1 \\$A", "100% $ 5$, $1 \\1"),
            ("", ""),
            ("{\"a\": \"$A\"}", "{\"a\": \"1\"}"),
        ] {
            assert_eq!(substitute(text, &find).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_its_place() {
        for (text, why) in [
            ("a ${A b", "closing brace is missing after ${A b"),
            ("${}", "names no variable"),
            ("${1}", "names no variable"),
            ("${B:?must be there}", "B: must be there"),
            ("${B?}", "B: the variable is not set"),
            ("${A/x/y}", "form that is not known"),
            ("${A:x}", "counted in numbers"),
        ] {
            let error = substitute(text, &find).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = "${B:-".repeat(100) + &"}".repeat(100);
        assert!(substitute(&deep, &find).is_err());
    }

    #[test]
    fn values_are_not_read_again() {
        let find = |_: &str| Some(String::from("$A ${B"));
        assert_eq!(substitute("$X", &find).unwrap(), "$A ${B");
    }
}
